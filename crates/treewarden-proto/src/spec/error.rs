//! What can be wrong with a spec: all of it at once, each fault with the names of its options.

use std::fmt;
use std::path::Path;

use super::values::is_json_text;

/// Options that contradict each other, or a value that no CLI can take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecError {
    faults: Vec<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    options: Vec<String>,
    text: String,
}

impl SpecError {
    /// The names of the options at fault, in the order of the faults.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.faults.iter().flat_map(|fault| fault.options.iter().map(String::as_str))
    }

    /// Every fault as one line of text.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.by_option().map(|(_, text)| text)
    }

    /// Every fault as one line of text, and the first option that is at fault: a variable of `env` is `env.NAME`.
    pub fn by_option(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        self.faults.iter().map(|fault| (fault.options.first().map(String::as_str), fault.text.as_str()))
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid session options: ")?;
        for (i, fault) in self.faults.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "; " })?;
            f.write_str(&fault.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecError {}

/// Collects faults while a spec is checked.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// Notes that these options are at fault, and why.
    pub(super) fn add(&mut self, options: &[&str], text: impl fmt::Display) {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        self.0.push(Fault { options, text: text.to_string() });
    }

    /// Notes a text option that is set and empty.
    pub(super) fn empty(&mut self, option: &str, value: Option<&str>) {
        if value.is_some_and(|value| value.trim().is_empty()) {
            // An empty text is hardly meant, and to the CLI it is a value like any other and not its default.
            self.add(&[option], format_args!("`{option}` is empty: leave it out to use the default"));
        }
    }

    /// Notes a text with a NUL in it, which no argument or variable can carry.
    pub(super) fn nul(&mut self, option: &str, value: &str) {
        if value.contains('\0') {
            // An argument ends at a NUL, so that the spawn would be refused, without a word about which
            // option it was.
            self.add(&[option], format_args!("`{option}` holds a NUL character"));
        }
    }

    /// Notes a path that is empty, or that no call of the system can carry.
    pub(super) fn path(&mut self, option: &str, path: &Path) {
        self.empty(option, path.to_str());
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            self.add(&[option], format_args!("`{option}` is {}, which holds a NUL character", Shown(path)));
        }
    }

    /// Does what [`Self::path`] does for a path that becomes a part of an argument, which is text.
    pub(super) fn path_in_text(&mut self, option: &str, path: &Path) {
        self.path(option, path);
        if path.to_str().is_none() {
            // Written as text it would be another path, and the CLI would be let into that.
            let path = Shown(path);
            let text = format_args!("`{option}` is {path}, which is not UTF-8: the CLI cannot be told of it");
            self.add(&[option], text);
        }
    }

    pub(super) fn into_result(self) -> Result<(), SpecError> {
        if self.0.is_empty() { Ok(()) } else { Err(SpecError { faults: self.0 }) }
    }
}

/// A path as a fault may show it: what is JSON in the place of one may be secret.
struct Shown<'p>(&'p Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_json_text(self.0) { f.write_str("JSON text") } else { write!(f, "{:?}", self.0) }
    }
}
