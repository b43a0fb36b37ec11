//! Where the CLI keeps its files.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use treewarden_proto::SessionId;
use unicode_normalization::UnicodeNormalization;

/// A CLI whose configuration directory cannot be known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "find where the CLI keeps its conversations: it gets neither CLAUDE_CONFIG_DIR nor HOME, and {why}; \
     let it have one of the two (`env`, `inherit_env`)"
)]
pub struct NoConfigDir {
    why: String,
}

/// The configuration directory of a CLI that gets these variables and runs in `cwd`.
///
/// Measured with CLI 2.1.332, by where the conversation's file came to be:
///
/// | the CLI gets | it writes below |
/// |---|---|
/// | `CLAUDE_CONFIG_DIR` | that; a relative one, `~/c` and a blank are names below its working directory |
/// | `CLAUDE_CONFIG_DIR` empty | its working directory itself |
/// | `HOME` | `$HOME/.claude`; a relative one is below its working directory |
/// | no `HOME`, or an empty one | `.claude` in the home of the password file |
/// | one of these with a decomposed letter (`e` and a combining accent) | the same, composed (NFC): another folder |
/// | a working directory with a decomposed letter | the working directory as it is |
///
/// # Errors
///
/// [`NoConfigDir`] if the CLI would go by the password file and that has no home for this user.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use treewarden_transcript::config_dir;
///
/// let home = |name: &str| (name == "HOME").then(|| "/home/alice".into());
/// assert_eq!(config_dir(home, Path::new("/work"))?, Path::new("/home/alice/.claude"));
/// # Ok::<(), treewarden_transcript::NoConfigDir>(())
/// ```
pub fn config_dir(lookup: impl Fn(&str) -> Option<OsString>, cwd: &Path) -> Result<PathBuf, NoConfigDir> {
    config_dir_of(lookup, cwd, password_home)
}

fn config_dir_of(
    lookup: impl Fn(&str) -> Option<OsString>,
    cwd: &Path,
    password_home: impl FnOnce() -> Result<PathBuf, NoConfigDir>,
) -> Result<PathBuf, NoConfigDir> {
    if let Some(dir) = lookup("CLAUDE_CONFIG_DIR") {
        return Ok(if dir.is_empty() { cwd.to_owned() } else { cwd.join(composed(dir)) });
    }
    let home = match lookup("HOME").filter(|home| !home.is_empty()) {
        Some(home) => home,
        None => password_home()?.into(),
    };
    Ok(cwd.join(composed(home)).join(".claude"))
}

/// The name under which the CLI looks for a folder; what is no UTF-8 is left as it is.
fn composed(name: OsString) -> OsString {
    match name.to_str() {
        Some(text) if !text.is_ascii() => text.nfc().collect::<String>().into(),
        _ => name,
    }
}

/// The home that the password file has for this user.
fn password_home() -> Result<PathBuf, NoConfigDir> {
    let uid = Uid::current();
    let found = User::from_uid(uid)
        .map_err(|error| NoConfigDir { why: format!("the password file cannot be read ({error})") })?;
    // An entry without a home has an empty text here.
    let home = found.map(|user| user.dir).filter(|home| home.is_absolute());
    home.ok_or_else(|| NoConfigDir { why: format!("the password file has no home for the user {uid}") })
}

/// Finds the transcript of a conversation; `None` if there is none.
///
/// The CLI keeps it below a folder that it names after the working directory. The folder is not derived but looked for,
/// since only the file's name is certain.
///
/// # Errors
///
/// An [`io::Error`] if the folders cannot be looked through, as without a descriptor to do so: taken for a conversation that has
/// no transcript, one that is there would be begun anew, or told as lost.
pub fn find(config_dir: &Path, id: SessionId) -> io::Result<Option<PathBuf>> {
    let all = files_below(&config_dir.join("projects"), id)?;
    // Of several, the one that has our second name is the conversation; others are copies, as of a folder
    // that was moved.
    let ours = if all.len() > 1 { crate::kept(config_dir, id)? } else { None };
    let own = ours.and_then(|ours| all.iter().find(|path| crate::keep::are_one(path, &ours)).cloned());
    Ok(own.or_else(|| newest(all)))
}

/// The newest file of a conversation in the folders below `dir`.
pub(crate) fn newest_below(dir: &Path, id: SessionId) -> io::Result<Option<PathBuf>> {
    files_below(dir, id).map(newest)
}

pub(crate) fn files_below(dir: &Path, id: SessionId) -> io::Result<Vec<PathBuf>> {
    let file = format!("{id}.jsonl");
    let projects = match std::fs::read_dir(dir) {
        Ok(projects) => projects,
        // A folder that is not there has no files: no CLI has run with this directory yet.
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for project in projects {
        let path = project?.path().join(&file);
        match path.metadata() {
            Ok(meta) if meta.is_file() => files.push(path),
            Ok(_) => {}
            // A project that may not be looked into is another user's; a CLI of this one keeps nothing there.
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// Whether an error says that there is nothing at a path.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        // A link to itself leads to nothing.
        || error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32)
}

fn newest(files: Vec<PathBuf>) -> Option<PathBuf> {
    files.into_iter().max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<PathBuf, NoConfigDir> {
        let lookup =
            |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.into());
        config_dir_of(lookup, Path::new("/work"), || Ok("/home/of-the-password-file".into()))
    }

    #[test]
    fn a_cli_keeps_its_files_where_it_was_seen_to() {
        let cases: [(&[(&str, &str)], &str); 9] = [
            (&[("HOME", "/h")], "/h/.claude"),
            (&[("HOME", "/h/")], "/h/.claude"),
            (&[("HOME", "h")], "/work/h/.claude"),
            (&[("HOME", "")], "/home/of-the-password-file/.claude"),
            (&[], "/home/of-the-password-file/.claude"),
            (&[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "/c/")], "/c"),
            (&[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "c")], "/work/c"),
            (&[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "~/c")], "/work/~/c"),
            (&[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "")], "/work"),
        ];
        for (variables, expected) in cases {
            assert_eq!(of(variables), Ok(expected.into()), "{variables:?}");
        }
    }

    #[test]
    fn a_folder_that_is_written_with_a_decomposed_letter_is_looked_for_where_the_cli_makes_it() {
        let cases: [(&[(&str, &str)], &str); 4] = [
            (&[("CLAUDE_CONFIG_DIR", "/cafe\u{301}")], "/caf\u{e9}"),
            (&[("CLAUDE_CONFIG_DIR", "cafe\u{301}")], "/work/caf\u{e9}"),
            (&[("HOME", "/cafe\u{301}")], "/caf\u{e9}/.claude"),
            (&[("HOME", "cafe\u{301}")], "/work/caf\u{e9}/.claude"),
        ];
        for (variables, expected) in cases {
            assert_eq!(of(variables), Ok(expected.into()), "{variables:?}");
        }
        let decomposed = || Ok("/home/cafe\u{301}".into());
        let found = config_dir_of(|_| None, Path::new("/work"), decomposed);
        assert_eq!(found, Ok("/home/caf\u{e9}/.claude".into()), "the password file's is no exception");
        let lookup = |name: &str| (name == "CLAUDE_CONFIG_DIR").then(|| "c".into());
        let found = config_dir_of(lookup, Path::new("/cafe\u{301}"), || unreachable!());
        assert_eq!(found, Ok("/cafe\u{301}/c".into()), "the working directory is where it is");
    }

    #[test]
    fn without_any_home_the_reason_says_what_to_do() {
        let nowhere = || Err(NoConfigDir { why: "the password file has no home for the user 7".into() });
        let error = config_dir_of(|_| None, Path::new("/work"), nowhere).expect_err("there is none");
        assert!(error.to_string().contains("HOME") && error.to_string().contains("user 7"), "{error}");
    }

    #[test]
    fn the_password_file_has_a_home_for_whoever_runs_this() {
        assert!(password_home().is_ok_and(|home| home.is_absolute()));
    }

    #[test]
    fn folders_that_cannot_be_looked_through_are_not_ones_without_a_transcript() {
        let id = SessionId::random();
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(find(&dir.path().join("none"), id).expect("nothing is there"), None);
        std::fs::write(dir.path().join("projects"), "a file").expect("written");
        assert_eq!(find(dir.path(), id).expect("no folder"), None);
        // As any error that says nothing of what is there; a want of descriptors is met by `limits` of the command's tests.
        let unreachable = dir.path().join("x".repeat(300));
        let found =
            [find(&unreachable, id), crate::kept(&unreachable, id), crate::find_any(&unreachable, id)];
        assert!(found.iter().all(Result::is_err), "{found:?}");
        crate::prepare(&unreachable, id, &crate::Known::default(), None).expect_err("it is not begun anew");
    }
}
