//! Many sessions under one supervisor, and what the test's process and its children cost.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use treewarden::session::{SessionState, Status};
use treewarden::supervisor::Strategy;
use treewarden::{ExitReason, Host, Session, SessionOptions, Supervisor};

use crate::{Lab, eventually, id_of};

/// Longer than thousands of sessions need to get their place.
const PLACE: Duration = Duration::from_secs(3600);

/// Sessions on the fake CLI, declared under one supervisor.
#[derive(Debug)]
pub struct Fleet {
    /// The folder that they work in.
    pub lab: Lab,
    /// The host that they share.
    pub host: Host,
    /// Their supervisor.
    pub supervisor: Supervisor,
    /// In the order of their declaration.
    pub sessions: Vec<Session>,
}

impl Fleet {
    /// Starts so many sessions, of which `max_live` may have a CLI at once.
    ///
    /// # Panics
    ///
    /// If they do not start.
    pub async fn start(count: usize, max_live: Option<usize>, strategy: Strategy, max_restarts: u32) -> Self {
        let lab = Lab::new();
        let mut options = Host::options().state_dir(lab.path().join("fleet"));
        if let Some(max_live) = max_live {
            options = options.max_live(max_live);
        }
        let host = options.open().expect("a host");
        let mut builder = Supervisor::builder().strategy(strategy).max_restarts(max_restarts);
        let names: Vec<String> = (0..count).map(|n| format!("session-{n}")).collect();
        for name in &names {
            let options = SessionOptions::from(lab.spec(name)).max_attempts(1000).place_wait(PLACE);
            builder = builder.child(options.child_spec(&host).expect("options that agree"));
        }
        let supervisor = builder.start().await.expect("the sessions start");
        let sessions = names.iter().map(|name| host.session(name).expect("it was started")).collect();
        Self { lab, host, supervisor, sessions }
    }

    /// The ids of all conversations.
    pub async fn ids(&self) -> HashSet<String> {
        let mut ids = HashSet::new();
        for session in &self.sessions {
            ids.insert(id_of(session).await);
        }
        ids
    }

    async fn statuses(&self) -> Vec<Status> {
        let mut statuses = Vec::new();
        for session in &self.sessions {
            statuses.extend(session.status().await.ok());
        }
        statuses
    }

    /// The pids of the CLIs that are at a turn: one that has answered may be on its way out, and nobody misses it.
    pub async fn busy(&self) -> Vec<u32> {
        let statuses = self.statuses().await.into_iter();
        statuses.filter(|status| status.state == SessionState::Busy).filter_map(|status| status.pid).collect()
    }

    /// How often sessions were restarted so far.
    pub async fn restarts(&self) -> u64 {
        self.statuses().await.iter().map(|status| status.restarts).sum()
    }

    /// How many CLIs were spawned so far.
    pub async fn spawns(&self) -> u64 {
        self.statuses().await.iter().map(|status| status.generation).sum()
    }

    /// Stops them all, and checks that no process of any conversation is left.
    ///
    /// # Panics
    ///
    /// If one is left after a while.
    pub async fn end(self) {
        let ids = self.ids().await;
        self.supervisor.stop(ExitReason::Shutdown).await;
        eventually("no process is left", async || with_cookie_of(&ids).is_empty().then_some(())).await;
    }
}

/// The processes that carry the cookie of one of these conversations.
fn with_cookie_of(ids: &HashSet<String>) -> Vec<PathBuf> {
    let processes =
        std::fs::read_dir("/proc").expect("/proc is readable").flatten().map(|entry| entry.path());
    let marked = |process: &PathBuf| {
        let environ = std::fs::read(process.join("environ")).unwrap_or_default();
        let environ = String::from_utf8_lossy(&environ);
        let mut cookies =
            environ.split('\0').filter_map(|variable| variable.strip_prefix("TREEWARDEN_SESSION="));
        cookies.any(|cookie| ids.contains(cookie))
    };
    processes.filter(marked).collect()
}

/// How many children this process has now, those included that ended and were not reaped yet.
pub fn children() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is readable").flatten();
    let of_task = |task: std::fs::DirEntry| {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.split_whitespace().count()
    };
    tasks.map(of_task).sum()
}

/// The memory of this process, in KiB.
pub fn memory() -> u64 {
    of_status("VmRSS:")
}

/// How many threads this process has.
pub fn threads() -> u64 {
    of_status("Threads:")
}

/// How many descriptors this process has open.
pub fn descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// How many files are below a folder; what is removed meanwhile is none.
pub fn files(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files(&entry.path()),
        Ok(_) => 1,
        Err(_) => 0,
    };
    entries.map(of).sum()
}

fn of_status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What this process has allocated and not freed, in KiB; nothing where the allocator does not tell.
///
/// Other than its memory, this does not count what the allocator keeps for each of its threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library has no safe interface to it")]
pub fn heap() -> Option<u64> {
    // SAFETY: it takes nothing and returns numbers.
    let info = unsafe { libc::mallinfo2() };
    u64::try_from((info.uordblks + info.hblkhd) >> 10).ok()
}

/// What this process has allocated and not freed, in KiB; nothing where the allocator does not tell.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn heap() -> Option<u64> {
    None
}
