//! The CLI's second door: a socket on which any process of the user can have it begin a turn that nobody here sent.
//!
//! Every CLI in print mode has it from 2.1.250 on (`cc-socks/<pid>.sock`, measured up to 2.1.332), and it stands open by
//! default. It is shut twice, since each way has its gap: by a variable (`CLAUDE_CODE_HARBOR_KITE`, set by
//! [`SessionSpec::environment`]), with which there is no socket at all, and by a setting, which a CLI that no longer knows
//! the variable still knows. The setting is merged into the session's own settings; those go to the CLI in a file that only
//! the user can read, as arguments can be read by everybody.
//!
//! What the session's options say is never dropped silently: a CLI ignores a settings file that is no JSON as a whole, and
//! so with the door open; here it is an error.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};
use treewarden_proto::SessionId;
use treewarden_proto::spec::{Environment, SessionSpec, Settings};

/// The setting, and the value with which nobody comes in.
const INBOUND: (&str, &str) = ("crossSessionInbound", "refuse");

/// The settings that a CLI is to be given in a file; `None` if its arguments say all.
///
/// # Errors
///
/// What is wrong with the settings file that the options name.
pub(crate) fn settings(spec: &SessionSpec, cwd: &Path) -> Result<Option<Map<String, Value>>, String> {
    let own = match &spec.settings {
        None if spec.peer_messages => return Ok(None),
        None => Map::new(),
        Some(Settings::Inline(table)) => table.clone(),
        Some(Settings::Path(path)) => read(path, cwd)?,
    };
    let mut settings = own;
    if !spec.peer_messages {
        settings.insert(INBOUND.0.into(), INBOUND.1.into());
    }
    Ok(Some(settings))
}

/// The CLI takes either a path, seen from its directory, or the JSON itself.
fn read(path: &Path, cwd: &Path) -> Result<Map<String, Value>, String> {
    let said = path.to_string_lossy();
    let is_json = said.trim_start().starts_with('{');
    let text = if is_json { Ok(said.into_owned()) } else { fs::read_to_string(cwd.join(path)) };
    // What stands in it may be secret, and so only the place is told.
    let place =
        if is_json { "`settings`".to_owned() } else { format!("the settings file {}", path.display()) };
    let text = text.map_err(|error| format!("{place} cannot be read: {error}"))?;
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        format!(
            "{place} is no JSON object (line {}, column {}), and the CLI would ignore it as a whole; mend it",
            error.line(),
            error.column()
        )
    })
}

/// Takes the settings out of the arguments, as they go in a file.
pub(crate) fn without_settings(args: &mut Vec<String>) {
    args.retain(|arg| !arg.starts_with("--settings="));
}

/// What one CLI was given, and what it may leave behind: dropping it when the CLI is gone removes both.
#[derive(Debug)]
pub(crate) struct SecondDoor {
    settings: Option<PathBuf>,
    /// Once the CLI was spawned.
    pid: Option<u32>,
    sockets: Vec<PathBuf>,
    registry: PathBuf,
}

impl SecondDoor {
    /// Writes the settings for a CLI that is about to be started.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn shut(
        state_dir: &Path,
        id: SessionId,
        settings: Option<&Map<String, Value>>,
        environment: &Environment,
        config_dir: &Path,
    ) -> io::Result<Self> {
        let settings = settings.map(|settings| write(state_dir, id, settings)).transpose()?;
        let registry = config_dir.join("sessions");
        Ok(Self { settings, pid: None, sockets: folders(environment), registry })
    }

    /// The argument that names the file.
    pub(crate) fn argument(&self) -> Option<String> {
        self.settings.as_ref().map(|path| format!("--settings={}", path.display()))
    }

    pub(crate) fn set_pid(&mut self, pid: u32) {
        self.pid = Some(pid);
    }
}

impl Drop for SecondDoor {
    fn drop(&mut self) {
        if let Some(settings) = &self.settings {
            let _gone_already = fs::remove_file(settings);
        }
        if let Some(pid) = self.pid.filter(|pid| !is_alive(*pid)) {
            remove_leftovers(pid, &self.sockets, &self.registry);
        }
    }
}

/// Removes the settings of CLIs whose host is dead; only who runs the tree of the state directory may.
pub(crate) fn forget_settings(state_dir: &Path) {
    let _none = fs::remove_dir_all(folder(state_dir));
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("settings")
}

fn write(state_dir: &Path, id: SessionId, settings: &Map<String, Value>) -> io::Result<PathBuf> {
    // Of its own for each CLI: one that is being ended must not take the next one's away.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // The CLI sees it from another directory.
    let folder = folder(&std::path::absolute(state_dir)?);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let name = format!("{id}-{}-{}.json", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = folder.join(name);
    // Left over from a dead process with our pid.
    let _none = fs::remove_file(&path);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    let written =
        serde_json::to_vec(settings).map_err(io::Error::from).and_then(|text| file.write_all(&text));
    if let Err(error) = written {
        let _empty = fs::remove_file(&path);
        return Err(error);
    }
    Ok(path)
}

/// Where a CLI of this environment has its socket, as far as it was seen.
fn folders(environment: &Environment) -> Vec<PathBuf> {
    let of = |name: &str| environment.get(name).filter(|dir| !dir.is_empty()).map(OsStr::to_owned);
    let bases = ["XDG_RUNTIME_DIR", "CLAUDE_CODE_TMPDIR", "TMPDIR"].map(of).into_iter().flatten();
    let own = format!("/tmp/cc-socks-{}", rustix::process::geteuid().as_raw());
    bases
        .map(PathBuf::from)
        .chain(["/tmp".into()])
        .map(|base| base.join("cc-socks"))
        .chain([own.into()])
        .collect()
}

/// A CLI that has ended keeps its id, as a zombie, until nothing of its tree is looked for any more.
fn is_alive(pid: u32) -> bool {
    // The name of the program, in parentheses, may hold parentheses of its own; the state follows it.
    let stat = fs::read(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rsplit(|byte| *byte == b')').next().and_then(|rest| rest.trim_ascii_start().first());
    state.is_some_and(|state| !matches!(state, b'Z' | b'X'))
}

/// Removes socket, key and entry of a CLI that is gone, which removes them itself unless it was killed.
fn remove_leftovers(pid: u32, sockets: &[PathBuf], registry: &Path) {
    for folder in sockets {
        let socket = folder.join(format!("{pid}.sock"));
        let ours = fs::symlink_metadata(&socket).is_ok_and(|meta| {
            meta.file_type().is_socket() && meta.uid() == rustix::process::geteuid().as_raw()
        });
        // In another namespace the same number is another process, which may listen.
        if ours && UnixStream::connect(&socket).is_err() {
            let _gone = fs::remove_file(&socket);
        }
    }
    let entry = registry.join(format!("{pid}.json"));
    let of_pid = fs::read(&entry).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let key = |name: &str| {
        let middle = name.strip_prefix(&format!("{pid}.")).and_then(|rest| rest.strip_suffix(".key"));
        middle.is_some_and(|hash| !hash.contains('.'))
    };
    if of_pid.is_some_and(|entry| entry["pid"] == pid) {
        let _gone = fs::remove_file(&entry);
        let Ok(files) = fs::read_dir(registry) else { return };
        for file in files.flatten().filter(|file| file.file_name().to_str().is_some_and(key)) {
            let _gone = fs::remove_file(file.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use serde_json::json;

    use super::*;

    fn table(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).expect("a table")
    }

    #[test]
    fn the_door_is_shut_whatever_the_session_sets_unless_it_opens_it() {
        let (dir, cwd) = (tempfile::tempdir().expect("a folder"), Path::new("/"));
        let file = dir.path().join("own.json");
        fs::write(&file, "{\"model\":\"opus\",\"crossSessionInbound\":\"accept\"}").expect("written");
        let mut inline = SessionSpec::new();
        inline.settings = Some(Settings::Inline(table(json!({ "model": "opus" }))));
        let shut = json!({ "model": "opus", "crossSessionInbound": "refuse" });
        for spec in [
            SessionSpec::new().settings(file.clone()),
            inline.clone(),
            SessionSpec::new().settings("{\"model\":\"opus\"}"),
        ] {
            assert_eq!(settings(&spec, cwd).expect("read"), Some(table(shut.clone())));
        }
        let none = settings(&SessionSpec::new(), cwd).expect("made");
        assert_eq!(none, Some(table(json!({ "crossSessionInbound": "refuse" }))));
        assert_eq!(settings(&SessionSpec::new().peer_messages(true), cwd).expect("none"), None);
        let open = settings(&inline.peer_messages(true), cwd).expect("made");
        assert_eq!(open, Some(table(json!({ "model": "opus" }))), "private all the same");
    }

    #[test]
    fn a_settings_file_that_the_cli_would_ignore_is_an_error_that_shows_nothing_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("own.json"), "{\n// secret\n\"a\":1}").expect("written");
        let said = settings(&SessionSpec::new().settings("own.json"), dir.path()).expect_err("refused");
        assert!(said.contains("own.json") && said.contains("line 2") && !said.contains("secret"), "{said}");
        let said = settings(&SessionSpec::new().settings("none.json"), dir.path()).expect_err("refused");
        assert!(said.contains("none.json cannot be read"), "{said}");
    }

    #[test]
    fn settings_are_for_the_user_only_and_go_with_their_cli() {
        let dir = tempfile::tempdir().expect("a folder");
        let (id, settings) = (SessionId::random(), table(json!({ "env": { "TOKEN": "secret" } })));
        let shut = || SecondDoor::shut(dir.path(), id, Some(&settings), &Environment::default(), dir.path());
        let (first, second) = (shut().expect("written"), shut().expect("written"));
        let path = |door: &SecondDoor| door.settings.clone().expect("there is a file");
        assert_ne!(path(&first), path(&second), "the next CLI's is another");
        assert_eq!(fs::metadata(path(&first)).expect("there").mode() & 0o777, 0o600);
        let argument = first.argument().expect("an argument");
        assert!(argument.starts_with("--settings=/") && !argument.contains("secret"), "{argument}");
        let (one, two) = (path(&first), path(&second));
        drop(first);
        assert!(!one.exists() && two.exists());
        forget_settings(dir.path());
        assert!(!two.exists());
        drop(second);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_cli_that_is_no_more_than_a_zombie_is_dead() {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        assert!(is_alive(std::process::id()) && is_alive(child.id()));
        child.kill().expect("killed");
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&child)), ended).expect("it ends");
        assert!(!is_alive(child.id()), "it is not reaped yet");
        child.wait().expect("reaped");
        assert!(!is_alive(child.id()));
    }

    #[test]
    fn what_a_killed_cli_left_is_removed_and_what_a_live_one_has_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let (sockets, registry) = (dir.path().join("cc-socks"), dir.path().join("sessions"));
        fs::create_dir(&sockets).expect("made");
        fs::create_dir(&registry).expect("made");
        let make = |pid: u32| {
            fs::write(registry.join(format!("{pid}.json")), format!("{{\"pid\":{pid}}}")).expect("written");
            fs::write(registry.join(format!("{pid}.abc123.key")), "key").expect("written");
            UnixListener::bind(sockets.join(format!("{pid}.sock"))).expect("bound")
        };
        let (dead, alive) = (make(7), make(77));
        drop(dead);
        for pid in [7, 77] {
            remove_leftovers(pid, std::slice::from_ref(&sockets), &dir.path().join("none"));
        }
        assert!(!sockets.join("7.sock").exists() && sockets.join("77.sock").exists());
        remove_leftovers(7, &[], &registry);
        let left = |name: &str| registry.join(name).exists();
        assert!(!left("7.json") && !left("7.abc123.key"));
        assert!(left("77.json") && left("77.abc123.key"));
        drop(alive);
    }
}
