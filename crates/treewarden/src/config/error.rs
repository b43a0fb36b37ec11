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
///
/// # Examples
///
/// ```
/// let text = "[[child]]\nname = \"a\"\nmodle = \"sonnet\"\ntimeout = 3";
/// let error = treewarden::config::parse(text, "/etc/treewarden.toml".as_ref()).expect_err("two keys are wrong");
/// let lines: Vec<_> = error.faults().iter().filter_map(|fault| Some(fault.place.as_ref()?.line)).collect();
/// assert_eq!(lines, [3, 4], "all that is wrong is told at once");
/// assert!(error.to_string().contains("modle") && error.more() == 0);
/// ```
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
        self.write(f, "")
    }
}

impl ConfigError {
    /// Writes each fault behind a word that says what it is.
    fn write(&self, f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(word)?;
            self.fault(f, fault)?;
        }
        match self.more {
            0 => Ok(()),
            more => {
                write!(f, "\n\n{}: {more} more, which are told once these are mended", self.path.display())
            }
        }
    }

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

/// What is to be said of a config file that can be used all the same.
///
/// Its `Display` is that of a [`ConfigError`], each with `warning: ` before it, and is empty if there is nothing to be said.
#[derive(Debug, Clone)]
pub struct Warnings(ConfigError);

impl Warnings {
    /// Whether there is nothing to be said.
    pub fn is_empty(&self) -> bool {
        self.0.faults.is_empty()
    }

    /// What is to be said, in the order of the lines: everything, or a hundred things.
    pub fn all(&self) -> &[Fault] {
        &self.0.faults
    }
}

impl fmt::Display for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, "warning: ")
    }
}

/// So many faults are told. To find a place, and what was meant, takes a look at the text and at every key; a file can hold a
/// million faults, and a daemon reads it while it serves.
pub(super) const TOLD: usize = 100;

/// Collects faults while a file is read, and what is to be said of it besides.
#[derive(Debug)]
pub(super) struct Faults<'a> {
    pub(super) source: Source<'a>,
    faults: List,
    warnings: List,
}

/// The first of many, and how many there are besides.
#[derive(Debug, Default)]
struct List {
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

impl List {
    fn is_full(&self) -> bool {
        self.noted.len() >= TOLD
    }

    fn add(&mut self, span: &Range<usize>, message: String) -> Note<'_> {
        let noted = Noted { span: span.clone(), message, help: None, related: None };
        if self.is_full() {
            self.more += 1;
            self.besides = noted;
            return Note(&mut self.besides);
        }
        self.noted.push(noted);
        Note(self.noted.last_mut().expect("one was pushed just now"))
    }

    /// The places are looked up now, when everything that must be hidden is known.
    fn told(self, source: &Source<'_>, path: &Path) -> ConfigError {
        let fault = |noted: Noted| Fault {
            place: Some(source.place(&noted.span)),
            message: noted.message,
            help: noted.help,
            related: noted.related.map(|(span, what)| (source.place(&span), what)),
        };
        ConfigError::new(path, self.noted.into_iter().map(fault).collect(), self.more)
    }
}

impl<'a> Faults<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { source: Source::new(text), faults: List::default(), warnings: List::default() }
    }

    /// Whether what is found from now on is counted and not told: what was meant needs not be guessed.
    pub(super) fn is_full(&self) -> bool {
        self.faults.is_full()
    }

    pub(super) fn add(&mut self, span: &Range<usize>, message: impl Into<String>) -> Note<'_> {
        self.faults.add(span, message.into())
    }

    /// Notes something that keeps nobody from using the file.
    pub(super) fn warn(&mut self, span: &Range<usize>, message: impl Into<String>) -> Note<'_> {
        self.warnings.add(span, message.into())
    }

    /// Counts faults that are not told.
    pub(super) fn found_besides(&mut self, more: usize) {
        self.faults.more += more;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.faults.noted.is_empty()
    }

    /// Ends the collection; what is no fault is of no use beside one.
    pub(super) fn into_error(self, path: &Path) -> ConfigError {
        self.faults.told(&self.source, path)
    }

    /// Ends the collection with all that was found, if there are faults, and what else is to be said.
    pub(super) fn into_findings(self, path: &Path) -> (Option<ConfigError>, Warnings) {
        let Self { source, faults, warnings } = self;
        let found = !faults.noted.is_empty();
        (found.then(|| faults.told(&source, path)), Warnings(warnings.told(&source, path)))
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
