//! From a file, or its text, to a tree.

use std::collections::HashMap;
use std::path::Path;

use toml::de::DeTable;

use super::check::Checker;
use super::custom::ChildTypes;
use super::error::{ConfigError, Faults};
use super::read::Reader;
use super::resolve::Resolver;
use super::source::values_in_line;
use super::spec::TreeSpec;

/// Files larger than this are refused: no tree is that large by hand.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Reads a file.
///
/// # Errors
///
/// [`ConfigError`] with everything that is wrong with it.
pub fn load(path: impl AsRef<Path>) -> Result<TreeSpec, ConfigError> {
    load_with(path, &ChildTypes::default())
}

/// Reads a file that may have children of these types as well.
///
/// # Errors
///
/// As [`load`].
pub fn load_with(path: impl AsRef<Path>, types: &ChildTypes) -> Result<TreeSpec, ConfigError> {
    let path = path.as_ref();
    let unreadable = |message: String| ConfigError::unreadable(path, message);
    // Asked before it is read: a wrong path must not fill the memory.
    match std::fs::metadata(path) {
        Ok(meta) if meta.len() > LIMIT => {
            return Err(unreadable(format!("the file is larger than {LIMIT} bytes")));
        }
        _ => {}
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        unreadable(format!("line {} is not UTF-8", line + 1))
    })?;
    parse_with(&text, path, types)
}

/// Reads the text of a file; `path` is its place, for messages and relative paths.
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, path: &Path) -> Result<TreeSpec, ConfigError> {
    parse_with(text, path, &ChildTypes::default())
}

/// Reads the text of a file that may have children of these types as well.
///
/// # Errors
///
/// As [`load`].
pub fn parse_with(text: &str, path: &Path, types: &ChildTypes) -> Result<TreeSpec, ConfigError> {
    let absolute = std::path::absolute(path).map_err(|error| {
        ConfigError::unreadable(path, format!("cannot be made an absolute path: {error}"))
    })?;
    let base = absolute.parent().unwrap_or_else(|| Path::new("/"));
    let mut faults = Faults::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        // What stands in a line that cannot be parsed may be secret.
        faults.source.hide(values_in_line(text, span.start));
        let message = error.message().trim_end().replace('\n', "; ");
        let what = text.get(span.clone()).filter(|_| message == "duplicate key");
        faults.add(&span, what.map_or_else(|| message.clone(), |key| format!("{message} `{key}`")));
    }
    if !faults.is_empty() {
        // What was recovered of the tables is a guess, and faults in a guess would only confuse.
        return Err(faults.into_error(path));
    }
    let raw = Reader { checker: Checker { faults: &mut faults, base }, types }.tree(table.get_ref());
    let defaults = raw.defaults.clone();
    let tree = Resolver { faults: &mut faults, types, defaults, sessions: HashMap::new() }.tree(raw);
    if faults.is_empty() { Ok(tree) } else { Err(faults.into_error(path)) }
}
