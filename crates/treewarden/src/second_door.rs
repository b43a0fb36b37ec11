//! The CLI's second door: a socket on which any process of the user can have it begin a turn that nobody here sent.
//!
//! Every CLI in print mode has it from 2.1.250 on (`cc-socks/<pid>.sock`, measured up to 2.1.332), and it stands open by
//! default. It is shut twice, since each way has its gap: by a variable (`CLAUDE_CODE_HARBOR_KITE`, set by
//! [`environment`](treewarden_proto::spec::SessionSpec::environment)), with which there is no socket at all, and by a
//! [setting](INBOUND), which a CLI that no longer knows the variable still knows. The setting is merged into the session's
//! own settings, which go to the CLI in a [file](crate::private_files).

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use treewarden_process::Process;
use treewarden_proto::SessionId;
use treewarden_proto::spec::Environment;
use treewarden_store::{Lease, SessionRecord, StateDir};

use crate::private_files::PrivateFiles;
use crate::traces::{self, GoneCli};

/// The setting, and the value with which nobody comes in.
pub(crate) const INBOUND: (&str, &str) = ("crossSessionInbound", "refuse");

/// What one CLI was given, and what it may leave behind: dropping it when the CLI is gone removes both.
#[derive(Debug)]
pub(crate) struct SecondDoor {
    files: PrivateFiles,
    /// Once it was spawned: the CLI, and its conversation.
    cli: Option<(Process, SessionId)>,
    sockets: Vec<PathBuf>,
    registry: PathBuf,
}

impl SecondDoor {
    /// That of a CLI that is about to be started.
    pub(crate) fn new(files: PrivateFiles, environment: &Environment, config_dir: &Path) -> Self {
        Self { files, cli: None, sockets: folders(environment), registry: registry(config_dir) }
    }

    /// The arguments that name the files.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = OsString> {
        self.files.arguments()
    }

    pub(crate) fn set_cli(&mut self, leader: Process, conversation: SessionId) {
        self.cli = Some((leader, conversation));
    }
}

impl Drop for SecondDoor {
    fn drop(&mut self) {
        // Traces are removed only of a CLI that is gone: one that lives still has its socket. A zombie keeps
        // its process id and counts as gone; so does a CLI whose id another process has by now.
        if let Some((leader, conversation)) =
            self.cli.filter(|(leader, _)| !(is_alive(leader.pid.get()) && leader.is_alive()))
        {
            GoneCli::of_this_host(leader, conversation).remove(&self.sockets, &self.registry);
        }
    }
}

/// Where the CLIs of a config directory say that they live.
fn registry(config_dir: &Path) -> PathBuf {
    config_dir.join("sessions")
}

/// What a CLI says of itself there, as far as it was seen.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    pid: u32,
    session_id: SessionId,
    proc_start: Option<String>,
    messaging_socket_path: Option<PathBuf>,
}

/// Removes what CLIs of these sessions left that were killed together with their host.
///
/// What cannot be read is left: it opens no door.
pub(crate) fn sweep(records: Vec<SessionRecord>, state: &StateDir) {
    let mut by_config: HashMap<PathBuf, HashSet<SessionId>> = HashMap::new();
    for record in records {
        if let Some(config_dir) = record.config_dir {
            by_config.entry(config_dir).or_default().insert(record.session_id);
        }
    }
    for (config_dir, ours) in &by_config {
        for file in fs::read_dir(registry(config_dir)).into_iter().flatten().flatten() {
            let entry = traces::read(&file.path());
            // The registry is shared by all CLIs of the config directory, and most of them are not ours.
            if let Some(entry) = entry.filter(|entry: &Entry| ours.contains(&entry.session_id)) {
                forget(&entry, config_dir, state);
            }
        }
    }
}

fn forget(entry: &Entry, config_dir: &Path, state: &StateDir) {
    if is_alive(entry.pid) {
        return;
    }
    // Its process may live in a container of its own, where ids are counted otherwise; then its host has the lease.
    let name = treewarden_proto::SessionName::new("sweep").expect("a plain word is a valid name");
    // The lease is held until the traces are removed: whoever began the conversation meanwhile would lose the
    // socket of a CLI that lives.
    let holder = state.holder_between(entry.session_id, &name);
    let Ok(_lease) = Lease::acquire(config_dir, state.path(), entry.session_id, &holder) else { return };
    let folder = entry.messaging_socket_path.as_deref().and_then(Path::parent).map(Path::to_owned);
    let started = entry.proc_start.clone();
    let gone = GoneCli { pid: entry.pid, started, session_id: entry.session_id, pids: None };
    gone.remove(folder.as_slice(), &registry(config_dir));
}

/// Where a CLI of this environment has its socket, as far as it was seen.
fn folders(environment: &Environment) -> Vec<PathBuf> {
    let of = |name: &str| environment.get(name).filter(|dir| !dir.is_empty()).map(OsStr::to_owned);
    // The CLI goes by whichever of them was set when it was started. A folder without such a socket costs one
    // look.
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
    // Where there is no `/proc` nothing is found alive; then the lease alone says who lives.
    let stat = fs::read(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rsplit(|byte| *byte == b')').next().and_then(|rest| rest.trim_ascii_start().first());
    state.is_some_and(|state| !matches!(state, b'Z' | b'X'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

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
    fn what_clis_left_that_were_killed_with_their_host_is_swept_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let (config, sockets) = (dir.path().join("claude"), dir.path().join("cc-socks"));
        let registry = registry(&config);
        fs::create_dir_all(&registry).expect("made");
        fs::create_dir(&sockets).expect("made");
        let state = StateDir::prepare(&dir.path().join("state")).expect("prepared");
        let mut records = Vec::new();
        let mut pid = 4_000_000_000;
        let mut make = |is_ours: bool| {
            pid += 1;
            let (id, socket) = (SessionId::random(), sockets.join(format!("{pid}.sock")));
            let entry = serde_json::json!({ "pid": pid, "sessionId": id, "messagingSocketPath": socket });
            fs::write(registry.join(format!("{pid}.json")), entry.to_string()).expect("written");
            fs::write(registry.join(format!("{pid}.abc.key")), r#"{"peerToken":"x"}"#).expect("written");
            drop(UnixListener::bind(&socket).expect("bound"));
            if is_ours {
                let name = format!("s{pid}").parse().expect("a name");
                let mut record = SessionRecord::new(name, id);
                record.config_dir = Some(config.clone());
                records.push(record);
            }
            (pid, id)
        };
        let (dead, _) = make(true);
        let (theirs, _) = make(false);
        let (held, id) = make(true);
        let holder = state.holder(&"another".parse().expect("a name"));
        let _lease = Lease::acquire(&config, state.path(), id, &holder).expect("free");
        sweep(records, &state);
        let left = |pid: u32| {
            [registry.join(format!("{pid}.json")), registry.join(format!("{pid}.abc.key"))]
                .iter()
                .chain([&sockets.join(format!("{pid}.sock"))])
                .filter(|file| file.exists())
                .count()
        };
        assert_eq!((left(dead), left(theirs), left(held)), (0, 3, 3));
    }
}
