//! Who holds a lease or a tree lock: what stands in the file that is locked.
//!
//! It is for people to read. Whether the holder lives is told by its lock alone: process ids and start times of another
//! namespace are counted otherwise.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use treewarden_proto::SessionName;

use crate::plain::Plain;

/// Who holds a lease or a tree lock, or held it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// When the process started, in clock ticks since boot; 0 where the system does not say.
    pub started: u64,
    /// Its machine.
    pub host: String,
    /// The name of the session, or of the tree.
    pub name: SessionName,
    /// Its user; `None` where an older version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The boot of its machine; `None` where the system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The namespace that its process id is of; `None` where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u64>,
    /// The random id that its state directory has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_id: Option<String>,
    /// Its state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// When it came to hold it, in Unix milliseconds; `None` where an older version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// The template of which the session was made; `None` for one of the file, and where an older version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SessionName>,
    /// It gave the lock up in good order; one that died still stands there without this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
}

/// What does not change while the process lives.
struct Process {
    started: u64,
    host: String,
    boot_id: Option<String>,
    pid_namespace: Option<u64>,
}

fn process() -> &'static Process {
    static PROCESS: OnceLock<Process> = OnceLock::new();
    PROCESS.get_or_init(|| {
        let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Process {
            started: start_time("self").unwrap_or(0),
            host: read("/proc/sys/kernel/hostname").unwrap_or_default(),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            pid_namespace: pid_namespace(),
        }
    })
}

/// When a process started.
fn start_time(pid: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and parentheses; the fields begin after the last one.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// It has ended, and keeps its id until its parent asks for it; where there is no `/proc`, none is seen to.
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with(['Z', 'X']))
}

/// The number in `pid:[4026531836]`.
fn pid_namespace() -> Option<u64> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

impl Holder {
    /// This process, for the session or tree `name`.
    pub fn this_process(name: &SessionName) -> Self {
        let Process { started, host, boot_id, pid_namespace } = process();
        Self {
            pid: std::process::id(),
            started: *started,
            host: host.clone(),
            name: name.clone(),
            uid: Some(rustix::process::geteuid().as_raw()),
            boot_id: boot_id.clone(),
            pid_namespace: *pid_namespace,
            host_id: None,
            state_dir: None,
            since: Some(crate::now()),
            template: None,
            released: false,
        }
    }

    /// The same as a session that was made of this template, or of none: by it a session whose record is lost is known as the
    /// template's.
    #[must_use]
    pub fn made_of(self, template: Option<SessionName>) -> Self {
        Self { template, ..self }
    }

    /// Its process in words, and whether its number is one of ours.
    pub fn process(&self) -> String {
        let of_another = if self.is_of_another_namespace() { " (as another container counts)" } else { "" };
        format!("process {}{of_another}", self.pid)
    }

    /// Its process is known to be dead: whoever has the lock now has not written itself in.
    pub(crate) fn is_dead(&self) -> bool {
        let here = process();
        // The numbers of another boot may be another machine's, over a shared disk: there a live holder would
        // seem to be dead.
        if self.boot_id.is_none() || self.boot_id != here.boot_id || self.pid_namespace != here.pid_namespace
        {
            return false;
        }
        // Where `/proc` hides the processes of others, what is not to be seen there may live.
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH)) {
            return true;
        }
        if is_zombie(self.pid) {
            return true;
        }
        let found = start_time(&self.pid.to_string());
        self.started != 0 && found.is_some_and(|found| found != self.started)
    }

    /// Its process id means another process here, or none.
    fn is_of_another_namespace(&self) -> bool {
        self.pid_namespace.is_some() && self.pid_namespace != process().pid_namespace
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", Plain(&self.name), self.process())?;
        if let Some(uid) = self.uid {
            write!(f, " of user {uid}")?;
        }
        // Another user may have written it, to whoever reads it on a terminal.
        write!(f, " on {}", Plain(&self.host))?;
        match &self.state_dir {
            Some(dir) => write!(f, ", state directory {}", Plain(dir.display())),
            None => Ok(()),
        }
    }
}

/// A lease or tree lock that was refused; its text says who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Held {
    /// The holder, if it could be read.
    pub by: Option<Box<Holder>>,
    /// Who stands there although its process is dead, if the one that has the lock wrote nothing.
    pub last: Option<Box<Holder>>,
    /// The holder's process, if no more than that is known.
    pub pid: Option<u32>,
    /// The user whom the lock's file belongs to, if it is another's and only the file's owner can read it.
    pub owner: Option<u32>,
    /// Why the lock could not be tried, if it could not.
    pub error: Option<String>,
}

impl Held {
    pub(crate) fn by(holder: Option<Box<Holder>>) -> Self {
        // A descriptor of the lock may have gone to another process, which knows nothing of it.
        match holder {
            Some(holder) if holder.is_dead() => Self { last: Some(holder), ..Self::default() },
            by => Self { by, ..Self::default() },
        }
    }

    pub(crate) fn unknown(error: impl fmt::Display) -> Self {
        Self { error: Some(error.to_string()), ..Self::default() }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { error: Some(error), .. } => {
                write!(f, "nobody known (its lock cannot be tried: {})", Plain(error))
            }
            Self { by: Some(by), .. } => by.fmt(f),
            Self { owner: Some(uid), pid: Some(pid), .. } => write!(f, "process {pid} of user {uid}"),
            Self { owner: Some(uid), .. } => {
                write!(f, "another user, {uid}, whom its lock belongs to and who alone can read it")
            }
            Self { pid: Some(pid), .. } => write!(f, "process {pid}"),
            Self { last: Some(last), .. } => {
                write!(f, "a process that wrote nothing there; last noted holder, which is dead: {last}")
            }
            Self { .. } => f.write_str("another process"),
        }
    }
}

impl std::error::Error for Held {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_that_an_older_version_wrote_is_read() {
        let text = r#"{"pid":7,"started":12,"host":"vm","name":"assistant"}"#;
        let holder: Holder = serde_json::from_str(text).expect("it is read");
        assert_eq!(holder.to_string(), "assistant of process 7 on vm");
    }

    #[test]
    fn a_process_id_of_another_namespace_is_not_shown_as_one_of_ours() {
        let mut holder = Holder::this_process(&SessionName::new("one").expect("a valid name"));
        assert!(!holder.to_string().contains("container"), "{holder}");
        holder.pid_namespace = Some(1);
        assert!(holder.to_string().contains("(as another container counts)"), "{holder}");
    }

    #[test]
    fn what_another_user_wrote_reaches_no_terminal_as_a_command() {
        let mut holder = Holder::this_process(&SessionName::new("one").expect("a valid name"));
        holder.host = "vm\x1b[2J\r\n".into();
        holder.state_dir = Some("/tmp/\x07\u{9b}31m".into());
        let said = [holder.to_string(), Held::by(Some(Box::new(holder))).to_string()];
        assert!(said.iter().all(|said| !said.contains(char::is_control)), "{said:?}");
        assert!(said[0].contains("\\u{1b}[2J"), "{said:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_dead_holder_is_not_said_to_hold_a_lock_that_somebody_has() {
        let mut holder = Holder::this_process(&SessionName::new("one").expect("a valid name"));
        assert_eq!(Held::by(Some(Box::new(holder.clone()))).by.as_deref(), Some(&holder));
        // Another process has the id by now, or none has it; in another namespace nothing is known.
        let mut gone = holder.clone();
        gone.started += 1;
        for gone in [gone, Holder { pid: 0x3fff_ffff, ..holder.clone() }] {
            let held = Held::by(Some(Box::new(gone.clone())));
            assert!(held.by.is_none() && held.last.as_deref() == Some(&gone));
            assert!(held.to_string().starts_with("a process that wrote nothing there"), "{held}");
        }
        holder.pid_namespace = Some(1);
        holder.pid = 0x3fff_ffff;
        assert!(Held::by(Some(Box::new(holder))).by.is_some());
    }

    #[test]
    fn a_file_of_another_user_is_told_by_the_user() {
        let held = Held { owner: Some(1000), ..Held::default() };
        assert!(held.to_string().contains("1000"), "{held}");
    }
}
