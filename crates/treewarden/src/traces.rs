//! What a CLI that was killed leaves where CLIs find each other: its socket, and its entry and key in the registry.
//!
//! All of it is named after its process id alone, and the config directory, or the folder of the sockets, may be shared with
//! another container, in which another CLI that lives has the same id. So what stands in a file says whose it is.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use treewarden_process::Process;
use treewarden_proto::SessionId;
use treewarden_store::placed;

/// How much of an entry or a key is read; they have less than one KiB.
const MOST: u64 = 64 << 10;

/// A CLI that is gone, by all that its files say of it.
#[derive(Debug, Clone)]
pub(crate) struct GoneCli {
    pub(crate) pid: u32,
    /// When it started, in the words of its files.
    pub(crate) started: Option<String>,
    pub(crate) session_id: SessionId,
    /// The namespace in which the process id is meant; `None` if what else is known tells enough.
    pub(crate) pids: Option<String>,
}

/// What stands in an entry or a key, as far as it was seen; a version may say less.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    pid: Option<u32>,
    session_id: Option<SessionId>,
    proc_start: Option<String>,
    pid_domain: Option<String>,
}

impl GoneCli {
    /// One that this host had.
    pub(crate) fn of_this_host(process: Process, session_id: SessionId) -> Self {
        // Elsewhere the CLI tells its start in another unit than ours.
        let started = cfg!(target_os = "linux").then(|| process.start_time.to_string());
        let pids = fs::read_link("/proc/self/ns/pid").ok();
        let pids = pids.map(|pids| pids.to_string_lossy().into_owned());
        Self { pid: process.pid.get(), started, session_id, pids }
    }

    /// Removes what it left, which it removes itself unless it was killed.
    pub(crate) fn remove(&self, sockets: &[PathBuf], registry: &Path) {
        for folder in sockets {
            let socket = folder.join(format!("{}.sock", self.pid));
            // The link itself is looked at, and not what it leads to: what is removed is the name.
            let ours = fs::symlink_metadata(&socket).is_ok_and(|meta| {
                meta.file_type().is_socket() && meta.uid() == rustix::process::geteuid().as_raw()
            });
            // In another namespace the same number is another process, which may listen.
            if ours && is_refused(&socket) {
                let _gone = fs::remove_file(&socket);
            }
        }
        let entry = registry.join(format!("{}.json", self.pid));
        let is_ours = read(&entry).is_some_and(|said: Said| self.has_entry(&said));
        // Found out before the entry is removed: a key that says nothing of its CLI goes by the entry.
        if is_ours {
            let _gone = fs::remove_file(&entry);
        }
        for file in fs::read_dir(registry).into_iter().flatten().flatten() {
            let is_named = file.file_name().to_str().is_some_and(|name| self.names_key(name));
            if is_named && read(&file.path()).is_some_and(|said: Said| self.has_key(&said, is_ours)) {
                let _gone = fs::remove_file(file.path());
            }
        }
    }

    fn names_key(&self, name: &str) -> bool {
        // With the dot: `77.abc.key` is another process's.
        let middle = name.strip_prefix(&format!("{}.", self.pid)).and_then(|rest| rest.strip_suffix(".key"));
        middle.is_some_and(|hash| !hash.contains('.'))
    }

    fn has_entry(&self, said: &Said) -> bool {
        said.pid == Some(self.pid)
            && said.session_id == Some(self.session_id)
            // A version may say less of a CLI: what an entry does not say does not speak against it.
            && self.started_then(said).unwrap_or(true)
            && self.is_here(said).unwrap_or(true)
    }

    /// A key names no conversation: one that does not even say when its CLI started goes with the entry.
    fn has_key(&self, said: &Said, with_entry: bool) -> bool {
        self.started_then(said).unwrap_or(with_entry) && self.is_here(said).unwrap_or(true)
    }

    fn started_then(&self, said: &Said) -> Option<bool> {
        // The start is told in ticks, as the kernel has it: two processes of one id differ in it, unless they
        // are of two containers and of one tick.
        Some(said.proc_start.as_ref()? == self.started.as_ref()?)
    }

    /// The domain is the machine and the namespace, one behind the other.
    fn is_here(&self, said: &Said) -> Option<bool> {
        // A domain of another form says nothing that could be compared.
        let (domain, pids) = (said.pid_domain.as_ref()?, self.pids.as_ref()?);
        domain.contains(":pid:[").then(|| domain.ends_with(&format!(":{pids}")))
    }
}

/// What stands in an entry or a key; a tool of the session may have put anything there.
pub(crate) fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&placed::read_elsewhere(file, MOST).ok()?).ok()
}

/// Nobody listens on a socket; where so many knock that nobody can tell, somebody does.
fn is_refused(socket: &Path) -> bool {
    let asked = SocketAddrUnix::new(socket).and_then(|address| {
        let asking = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        // Otherwise it waits for as long as the listener lets others wait.
        rustix::io::ioctl_fionbio(&asking, true)?;
        rustix::net::connect(&asking, &address)
    });
    // A full queue answers `EAGAIN`: somebody listens.
    asked == Err(Errno::CONNREFUSED)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use serde_json::{Value, json};

    use super::*;

    const HERE: &str = "linux:3d12:pid:[4026531836]";
    const ELSEWHERE: &str = "linux:3d12:pid:[4026532672]";

    fn gone(session_id: SessionId) -> GoneCli {
        let (started, pids) = (Some("1205502".to_owned()), Some("pid:[4026531836]".to_owned()));
        GoneCli { pid: 7, started, session_id, pids }
    }

    /// Which of these entries and keys of process 7, in this order, are removed with that CLI.
    fn removed(cli: &GoneCli, entry: &Value, keys: &[Value]) -> Vec<bool> {
        let dir = tempfile::tempdir().expect("a folder");
        let files: Vec<PathBuf> = std::iter::once("7.json".to_owned())
            .chain((0..keys.len()).map(|index| format!("7.abc{index}.key")))
            .map(|name| dir.path().join(name))
            .collect();
        for (file, said) in files.iter().zip(std::iter::once(entry).chain(keys)) {
            fs::write(file, said.to_string()).expect("written");
        }
        cli.remove(&[], dir.path());
        files.iter().map(|file| !file.exists()).collect()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_named_pipe_in_place_of_an_entry_keeps_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let entry = dir.path().join("7.json");
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &entry, fifo, mode, Default::default()).expect("made");
        gone(SessionId::random()).remove(&[], dir.path());
        assert!(entry.exists());
    }

    #[test]
    fn what_a_live_cli_of_another_container_has_under_the_same_id_stays() {
        let (id, other) = (SessionId::random(), SessionId::random());
        let ours = json!({ "pid": 7, "sessionId": id, "procStart": "1205502" });
        let theirs = json!({ "pid": 7, "sessionId": other, "procStart": "1205870" });
        let key =
            |start: &str, domain: &str| json!({ "peerToken": "x", "procStart": start, "pidDomain": domain });
        let keys = [
            key("1205502", HERE),
            key("1205870", ELSEWHERE),
            // Both started within one tick of the clock.
            key("1205502", ELSEWHERE),
        ];
        assert_eq!(removed(&gone(id), &ours, &keys), [true, true, false, false]);
        assert_eq!(
            removed(&gone(id), &theirs, &keys),
            [false, true, false, false],
            "theirs was written later"
        );
        let same_tick = json!({ "pid": 7, "sessionId": other, "procStart": "1205502" });
        assert_eq!(removed(&gone(id), &same_tick, &[]), [false]);
        let same_conversation = json!({ "pid": 7, "sessionId": id, "procStart": "1205870" });
        assert_eq!(removed(&gone(id), &same_conversation, &[]), [false]);
    }

    #[test]
    fn what_says_less_goes_by_what_it_says() {
        let id = SessionId::random();
        let (key, bare) = (json!({ "peerToken": "x" }), json!({ "pid": 7, "sessionId": id }));
        assert_eq!(removed(&gone(id), &bare, std::slice::from_ref(&key)), [true, true]);
        assert_eq!(removed(&gone(SessionId::random()), &bare, &[key]), [false, false]);
        assert_eq!(removed(&gone(id), &json!({ "pid": 7 }), &[json!("key")]), [false, false]);
    }

    #[test]
    fn a_socket_on_which_somebody_listens_stays_and_so_does_what_another_id_has() {
        let dir = tempfile::tempdir().expect("a folder");
        let bind = |name: &str| UnixListener::bind(dir.path().join(name)).expect("bound");
        drop(bind("7.sock"));
        drop(bind("77.sock"));
        let left = |name: &str| dir.path().join(name).exists();
        let folders = [dir.path().to_owned()];
        gone(SessionId::random()).remove(&folders, &dir.path().join("none"));
        assert!(!left("7.sock") && left("77.sock"));
        let _alive = bind("7.sock");
        gone(SessionId::random()).remove(&folders, &dir.path().join("none"));
        assert!(left("7.sock"));
    }

    #[test]
    fn a_listener_that_accepts_nobody_is_no_refusal_and_keeps_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("7.sock");
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("made");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
        rustix::net::listen(&listener, 0).expect("listens");
        // More than it has a place for.
        for _ in 0..4 {
            assert!(!is_refused(&path));
        }
        drop(listener);
        assert!(is_refused(&path));
    }
}
