//! What a CLI is started with, whichever conversation it gets: its program, its environment, its folders, and what it is given
//! in files.
//!
//! It is not for what depends on the conversation: that is `start.rs`. Nothing here may start anything, or wait for longer than
//! a look at the disk takes.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use treewarden_core::session::{Permanent, PermanentKind, StartFailure};
use treewarden_process::{is_full, is_shortage};
use treewarden_proto::SessionId;
use treewarden_proto::spec::{Environment, Opening};
use treewarden_transcript as transcript;

use crate::env_sources::{self, Unread};
use crate::lookup;
use crate::private_files::Private;
use crate::second_door::SecondDoor;
use crate::session::desk::Desk;

/// Has a resumed CLI carry on the turn that its predecessor was killed in, by itself.
pub(super) const RERUN: &str = "CLAUDE_CODE_RESUME_INTERRUPTED_TURN";

/// Has a resumed CLI keep a tool call that was cut off, and tell the model that its outcome is unknown; without it the
/// call is dropped, and the tool most often runs again. A CLI that does not know it ignores it.
pub(super) const SHOW_CUT_OFF: &str = "CLAUDE_CODE_RESUME_SHOWS_CUT_OFF_CALLS";

/// What a CLI finds around it.
pub(super) struct Surroundings {
    pub(super) path: PathBuf,
    /// Without what stands elsewhere, until [`secrets`] has read that.
    pub(super) environment: Environment,
    pub(super) cwd: PathBuf,
    /// Where it keeps its transcripts.
    pub(super) config_dir: PathBuf,
}

impl Surroundings {
    /// What the session's options name, as it is now.
    pub(super) fn of(desk: &Desk) -> Result<Self, StartFailure> {
        let environment = environment(desk);
        let cwd = cwd(desk).map_err(|(why, has_come_up)| StartFailure::without(why, has_come_up))?;
        let path = find_cli(desk, &environment)?;
        let config_dir = config_dir(&environment, &cwd).map_err(StartFailure::Permanent)?;
        Ok(Self { path, environment, cwd, config_dir })
    }
}

/// Reads the variables whose values stand elsewhere, as they are now.
pub(super) async fn secrets(desk: &Desk, environment: &mut Environment) -> Result<(), StartFailure> {
    let options = desk.options();
    match env_sources::read(&options.spec, environment, desk.host.inner.containment).await {
        Ok(()) => Ok(()),
        Err(Unread::Missing(why)) => {
            Err(StartFailure::without(Permanent::new(PermanentKind::BadOption, why), desk.has_come_up()))
        }
        Err(Unread::Never(why)) => Err(permanent(PermanentKind::BadOption, why)),
        Err(Unread::Shortage(message)) => {
            tracing::warn!(session = %desk.name, message, "a command that gives a variable's value cannot be run");
            Err(StartFailure::Shortage(message))
        }
    }
}

/// What the session's options say that goes in files.
pub(super) async fn private(desk: &Desk, cwd: &Path) -> Result<Private, StartFailure> {
    let options = desk.options();
    let private = Private::of(&options.spec, cwd, options.timing().start_timeout).await;
    private.map_err(|error| permanent(PermanentKind::BadOption, error))
}

/// The CLI's arguments, with what is secret of them in files; its second door is shut there.
pub(super) async fn shut(
    desk: &Desk,
    id: SessionId,
    opening: &Opening,
    around: &Surroundings,
) -> Result<(Vec<OsString>, SecondDoor), StartFailure> {
    let options = desk.options();
    let spec = &options.spec;
    let private = private(desk, &around.cwd).await?;
    let mut args: Vec<OsString> = private.args(spec, opening).into_iter().map(OsString::from).collect();
    let unwritten = |error: std::io::Error| {
        let text = format!("`settings` or `mcp_config` cannot be written for the CLI to read: {error}");
        match is_shortage(&error) || is_full(&error) {
            true => StartFailure::Shortage(text),
            false => permanent(PermanentKind::Store, text),
        }
    };
    let files = private.write(desk.host.state_dir(), id).or_else(|error| {
        // It passes, and what is written then is whole.
        if is_shortage(&error) {
            return Err(unwritten(error));
        }
        // Settings of the session's own may forbid something: a CLI without them does not start.
        if spec.settings.is_some() {
            return Err(unwritten(error));
        }
        // A full disk is no reason not to go on: the variable shuts the door as well.
        tracing::warn!(session = %desk.name, %error, "the settings of a CLI cannot be written");
        private.clone().without_settings().write(desk.host.state_dir(), id).map_err(unwritten)
    })?;
    let door = SecondDoor::new(files, &around.environment, &around.config_dir);
    args.extend(door.arguments());
    Ok((args, door))
}

/// Where the CLI of a session would keep its transcripts, or why that is not known.
pub(crate) fn config_dir_of(desk: &Desk) -> Result<PathBuf, String> {
    let cwd = cwd(desk).map_err(|(why, _)| why.message)?;
    config_dir(&environment(desk), &cwd).map_err(|why| why.message)
}

/// The CLI's whole environment.
fn environment(desk: &Desk) -> Environment {
    let mut environment = desk.options().spec.environment(std::env::vars_os());
    // Neither may come from the host's own environment: with `RERUN` every resumed CLI would run the turn
    // again that its transcript ends with, an older one that was interrupted on purpose included.
    environment.remove(RERUN);
    environment.remove(SHOW_CUT_OFF);
    environment
}

/// Where the CLI is started; or why it cannot be, and whether one has come up there.
fn cwd(desk: &Desk) -> Result<PathBuf, (Permanent, bool)> {
    let gone = |why: String| Permanent::new(PermanentKind::CwdMissing, why);
    let cwd = match &desk.options().spec.cwd {
        Some(cwd) => cwd.clone(),
        // Asked for at each start: a host may have changed its directory, or lost it.
        None => std::env::current_dir()
            .map_err(|error| (gone(format!("the host's own working directory is gone: {error}")), false))?,
    };
    let has_come_up = desk.has_come_up_in(&cwd);
    let is_own = desk.options().spec.cwd.is_some();
    match no_folder(&cwd, is_own, has_come_up) {
        None => Ok(cwd),
        Some(why) => Err((gone(why), has_come_up)),
    }
}

/// Why a CLI cannot be started in a folder, which the options chose by `cwd` if it is the session's own; `None` if it can.
fn no_folder(cwd: &Path, is_own: bool, has_come_up: bool) -> Option<String> {
    let named = if is_own { ", which `cwd` names," } else { ", the program's own," };
    let named = format!("the working directory {}{named}", cwd.display());
    let said = match cwd.metadata() {
        Ok(meta) if meta.is_dir() => return None,
        Ok(_) => "is no folder; set `cwd` to one".to_owned(),
        Err(error) => match error.kind() {
            // Only what was seen can be gone: another one was perhaps misspelt.
            ErrorKind::NotFound | ErrorKind::NotADirectory if has_come_up => {
                "is gone; make it again, or set `cwd` to another".to_owned()
            }
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                "is not there; make it, or set `cwd` to another".to_owned()
            }
            _ => format!("cannot be looked at: {error}"),
        },
    };
    Some(format!("{named} {said}"))
}

/// The CLI that the spec names by its place, or the first file of its name, or of `claude`, on the PATH that it would get.
///
/// What is found by a name is an absolute path, made in this process's folder: the CLI is started in another one.
fn find_cli(desk: &Desk, environment: &Environment) -> Result<PathBuf, StartFailure> {
    let options = desk.options();
    let own = options.spec.cli_path.as_deref();
    if let Some(place) = own.filter(|own| lookup::is_place(own)) {
        return Ok(place.to_owned());
    }
    let name = own.unwrap_or_else(|| Path::new(lookup::CLI));
    // A host that has lost its folder finds by the absolute entries alone.
    let folder = std::env::current_dir().ok();
    let files = lookup::files(name, environment.get("PATH"), folder.as_deref());
    if let Some(found) = files.iter().find(|file| is_program(file)) {
        return Ok(found.clone());
    }
    let name = name.display();
    // One of them is the right one, and is being replaced.
    let has_come_up =
        desk.has_come_up() || files.iter().any(|file| desk.host.inner.binaries.has_come_up(file));
    let message = match own {
        Some(_) => format!(
            "no `{name}` on the PATH that it would get; install it, or give `cli_path` its whole path"
        ),
        None => {
            "no `claude` on the PATH; install it (npm install -g @anthropic-ai/claude-code) or set `cli_path`"
                .into()
        }
    };
    Err(StartFailure::without(Permanent::new(PermanentKind::CliNotFound, message), has_come_up))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Where the CLI keeps its transcripts: by the environment that it gets, and not by ours.
fn config_dir(environment: &Environment, cwd: &Path) -> Result<PathBuf, Permanent> {
    let lookup = |name: &str| environment.get(name).map(OsStr::to_owned);
    transcript::config_dir(lookup, cwd)
        .map_err(|error| Permanent::new(PermanentKind::BadOption, format!("failed to {error}")))
}

pub(super) fn permanent(kind: PermanentKind, message: impl Into<String>) -> StartFailure {
    StartFailure::Permanent(Permanent::new(kind, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_gone_only_if_a_cli_has_come_up_in_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let (none, file) = (dir.path().join("none"), dir.path().join("file"));
        std::fs::write(&file, "").expect("written");
        assert_eq!(no_folder(dir.path(), true, false), None);
        let said = |cwd: &Path, is_own, has_come_up| no_folder(cwd, is_own, has_come_up).expect("said");
        let named = format!("the working directory {}, which `cwd` names,", none.display());
        assert!(said(&none, true, true).starts_with(&format!("{named} is gone;")));
        assert!(said(&none, true, false).starts_with(&format!("{named} is not there;")));
        assert!(said(&file.join("x"), true, false).contains("is not there;"), "a file is above it");
        assert!(said(&file, true, true).contains("is no folder;"));
        assert!(said(&none, false, false).contains("the program's own, is not there"));
    }
}
