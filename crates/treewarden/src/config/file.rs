//! From a file, or its text, to a tree.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;
use treewarden_store::placed;

use super::against::{self, Checked, Declared, Look};
use super::check::Checker;
use super::custom::ChildTypes;
use super::error::{ConfigError, Faults, TOLD};
use super::read::Reader;
use super::resolve::Resolver;
use super::source::values_in_line;
use super::spec::TreeSpec;

/// Files larger than this are refused: no tree is that large by hand.
const LIMIT: u64 = 16 * 1024 * 1024;

/// How long a pipe may say nothing: one that nobody writes would be waited for without end, and no signal ends that.
const SILENCE: Duration = Duration::from_secs(60);

/// Reads a file.
///
/// # Errors
///
/// [`ConfigError`] with everything that is wrong with it.
pub fn load(path: impl AsRef<Path>) -> Result<TreeSpec, ConfigError> {
    load_with(path, &ChildTypes::default())
}

/// Reads a file for one who must not wait for it, such as a running tree: what is no regular file is refused, since a pipe may
/// never end.
///
/// # Errors
///
/// As [`load`], and if there is a pipe, a device or a folder.
pub fn load_regular(path: impl AsRef<Path>) -> Result<TreeSpec, ConfigError> {
    let path = path.as_ref();
    read_with(path, placed::read_elsewhere(path, LIMIT), &ChildTypes::default())
}

/// Reads a file that may have children of these types as well.
///
/// # Errors
///
/// As [`load`].
pub fn load_with(path: impl AsRef<Path>, types: &ChildTypes) -> Result<TreeSpec, ConfigError> {
    let path = path.as_ref();
    read_with(path, open(path), types)
}

/// Reads a file as [`load`] does, and holds what it names against a machine: folders, programs, files, variables.
///
/// What the machine has is asked of `look`; [`Here`](super::Here) looks at this one. Nothing is started. A disk that does not answer
/// is waited for.
///
/// # Errors
///
/// [`ConfigError`] if it cannot be read. What is wrong with it is in [`Checked::faults`], beside the warnings: of a file that is
/// refused, the sessions with which nothing is wrong are held against the machine as well.
///
/// # Examples
///
/// ```
/// use treewarden::config::{ChildTypes, Here, check};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("treewarden.toml");
/// std::fs::write(&file, "[[child]]\nname = \"a\"\ncwd = \"no-such-folder\"")?;
/// let checked = check(&file, &ChildTypes::default(), &Here)?;
/// assert!(checked.tree.is_some() && checked.faults.is_none());
/// assert!(checked.warnings.to_string().contains("there is no such folder"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check(path: impl AsRef<Path>, types: &ChildTypes, look: &dyn Look) -> Result<Checked, ConfigError> {
    let path = path.as_ref();
    check_text(&text(path, open(path))?, path, types, look)
}

/// Holds the text of a file against a machine.
pub(super) fn check_text(
    text: &str,
    path: &Path,
    types: &ChildTypes,
    look: &dyn Look,
) -> Result<Checked, ConfigError> {
    let mut faults = Faults::new(text);
    let mut declared = Vec::new();
    let tree = resolved(text, path, types, &mut faults, Some(&mut declared))?;
    // Also of a file that is refused: it is to be mended in one go.
    against::hold(&declared, look, &mut faults);
    let (faults, warnings) = faults.into_findings(path);
    Ok(Checked { tree, faults, warnings })
}

/// Whatever is there, a pipe too, up to the limit: a wrong path must not fill the memory.
fn open(path: &Path) -> io::Result<Vec<u8>> {
    placed::read_patiently(path, LIMIT, SILENCE)
}

fn read_with(path: &Path, bytes: io::Result<Vec<u8>>, types: &ChildTypes) -> Result<TreeSpec, ConfigError> {
    parse_with(&text(path, bytes)?, path, types)
}

fn text(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<String, ConfigError> {
    let unreadable = |message: String| ConfigError::unreadable(path, message);
    let bytes = bytes.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        unreadable(format!("line {} is not UTF-8", line + 1))
    })
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
    let mut faults = Faults::new(text);
    let tree = resolved(text, path, types, &mut faults, None)?;
    tree.ok_or_else(|| faults.into_error(path))
}

/// The tree, or `None` if there are faults; `declared` gets its sessions and templates, each with where it stands.
fn resolved(
    text: &str,
    path: &Path,
    types: &ChildTypes,
    faults: &mut Faults<'_>,
    declared: Option<&mut Vec<Declared>>,
) -> Result<Option<TreeSpec>, ConfigError> {
    let absolute = std::path::absolute(path).map_err(|error| {
        ConfigError::unreadable(path, format!("cannot be made an absolute path: {error}"))
    })?;
    let base = absolute.parent().unwrap_or_else(|| Path::new("/"));
    let (table, errors) = DeTable::parse_recoverable(text);
    let found = errors.len();
    // Each takes a look at its line, which may be as long as the file.
    for error in errors.into_iter().take(TOLD) {
        let span = error.span().unwrap_or(0..0);
        // What stands in a line that cannot be parsed may be secret.
        faults.source.hide(values_in_line(text, span.start));
        let message = error.message().trim_end().replace('\n', "; ");
        let what = text.get(span.clone()).filter(|_| message == "duplicate key");
        faults.add(&span, what.map_or_else(|| message.clone(), |key| format!("{message} `{key}`")));
    }
    faults.found_besides(found.saturating_sub(TOLD));
    if !faults.is_empty() {
        // What was recovered of the tables is a guess, and faults in a guess would only confuse.
        return Ok(None);
    }
    let raw = Reader { checker: Checker { faults: &mut *faults, base }, types }.tree(table.get_ref());
    let defaults = raw.defaults.clone();
    let mut resolver = Resolver { faults, types, defaults, sessions: HashMap::new(), declared };
    let tree = resolver.tree(raw);
    Ok(resolver.faults.is_empty().then_some(tree))
}
