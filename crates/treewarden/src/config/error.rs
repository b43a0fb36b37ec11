//! What is wrong with a config file: all of it, each fault with its place and what to do.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::source::{SHOWN, Source};

/// A place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// How many characters of the line belong to it.
    pub(super) width: usize,
    /// The line, with values that may be secret as dots.
    pub(super) excerpt: String,
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Where it is; `None` if it concerns the file as a whole.
    pub place: Option<Place>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Another place that has to do with it, and what it has.
    pub related: Option<(Place, String)>,
}

/// A config file that cannot be used.
///
/// Its `Display` names every fault as `file:line:column: what`, with the line and what to do; of more than a hundred it names the
/// first hundred that were found, and says how many there are besides.
#[derive(Debug, Clone)]
pub struct ConfigError {
    path: PathBuf,
    faults: Vec<Fault>,
    more: usize,
}

impl ConfigError {
    pub(super) fn new(path: &Path, mut faults: Vec<Fault>, more: usize) -> Self {
        // Two steps find faults in an order of their own, and one value may be refused in both.
        faults.sort_by_key(|fault| fault.place.as_ref().map(|place| (place.line, place.column)));
        faults.dedup();
        Self { path: path.to_owned(), faults, more }
    }

    /// A file that cannot be read at all.
    pub(super) fn unreadable(path: &Path, message: String) -> Self {
        Self::new(path, vec![Fault { place: None, message, help: None, related: None }], 0)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it, in the order of the lines: everything, or a hundred faults.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many faults were found besides.
    pub fn more(&self) -> usize {
        self.more
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            self.fault(f, fault)?;
        }
        match self.more {
            0 => Ok(()),
            more => {
                write!(f, "\n\n{}: {more} more, which are told once these are mended", self.path.display())
            }
        }
    }
}

impl ConfigError {
    fn fault(&self, f: &mut fmt::Formatter<'_>, fault: &Fault) -> fmt::Result {
        let path = self.path.display();
        let Some(place) = &fault.place else {
            write!(f, "{path}: {}", fault.message)?;
            return fault.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"));
        };
        write!(f, "{path}:{}:{}: {}", place.line, place.column, fault.message)?;
        let related = fault.related.as_ref();
        let gutter = related.map_or(0, |(place, _)| place.line).max(place.line).to_string().len();
        excerpt(f, place, gutter, '^')?;
        if let Some((place, what)) = related {
            write!(f, "\n{:gutter$} = {path}:{}:{}: {what}", "", place.line, place.column)?;
            excerpt(f, place, gutter, '-')?;
        }
        if let Some(help) = &fault.help {
            write!(f, "\n{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

fn excerpt(f: &mut fmt::Formatter<'_>, place: &Place, gutter: usize, mark: char) -> fmt::Result {
    let Place { line, column, width, excerpt } = place;
    // A mark behind the end of the excerpt would stand under nothing.
    if column + width > SHOWN {
        return Ok(());
    }
    let marks: String = std::iter::repeat_n(mark, *width).collect();
    write!(f, "\n{line:gutter$} | {excerpt}\n{:gutter$} | {:skip$}{marks}", "", "", skip = column - 1)
}

impl std::error::Error for ConfigError {}

/// So many faults are told. To find a place, and what was meant, takes a look at the text and at every key; a file can hold a
/// million faults, and a daemon reads it while it serves.
pub(super) const TOLD: usize = 100;

/// Collects faults while a file is read.
#[derive(Debug)]
pub(super) struct Faults<'a> {
    pub(super) source: Source<'a>,
    noted: Vec<Noted>,
    /// The last one that was found behind those.
    besides: Noted,
    more: usize,
}

#[derive(Debug, Default)]
struct Noted {
    span: Range<usize>,
    message: String,
    help: Option<String>,
    related: Option<(Range<usize>, String)>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { source: Source::new(text), noted: Vec::new(), besides: Noted::default(), more: 0 }
    }

    /// Whether what is found from now on is counted and not told: what was meant needs not be guessed.
    pub(super) fn is_full(&self) -> bool {
        self.noted.len() >= TOLD
    }

    pub(super) fn add(&mut self, span: &Range<usize>, message: impl Into<String>) -> Note<'_> {
        let noted = Noted { span: span.clone(), message: message.into(), help: None, related: None };
        if self.is_full() {
            self.more += 1;
            self.besides = noted;
            return Note(&mut self.besides);
        }
        self.noted.push(noted);
        Note(self.noted.last_mut().expect("one was pushed just now"))
    }

    /// Counts faults that are not told.
    pub(super) fn found_besides(&mut self, more: usize) {
        self.more += more;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    /// Ends the collection: the places are looked up now, when everything that must be hidden is known.
    pub(super) fn into_error(self, path: &Path) -> ConfigError {
        let Self { source, noted, more, .. } = self;
        let fault = |noted: Noted| Fault {
            place: Some(source.place(&noted.span)),
            message: noted.message,
            help: noted.help,
            related: noted.related.map(|(span, what)| (source.place(&span), what)),
        };
        ConfigError::new(path, noted.into_iter().map(fault).collect(), more)
    }
}

/// A fault that was just noted, to be added to.
pub(super) struct Note<'n>(&'n mut Noted);

impl Note<'_> {
    /// Adds what to do.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds what to do, if something is known.
    pub(super) fn maybe_help(self, help: Option<String>) -> Self {
        self.0.help = help;
        self
    }

    /// Adds another place that has to do with it.
    pub(super) fn related(self, span: &Range<usize>, what: impl Into<String>) -> Self {
        self.0.related = Some((span.clone(), what.into()));
        self
    }
}
