//! Which host a process tree belongs to, and whether that host still lives.
//!
//! # How is it told?
//!
//! By a name that a host holds as long as it lives (`os::HostLock`), which is a part of its mark: where nobody has the
//! name, the host is dead. That somebody has it proves nothing, since anybody can take the name of a dead host. Its process
//! id and its start time tell the rest, but only to whoever counts ids and times as the host does: in another namespace of
//! process ids the number means another process, and in another namespace of times the same process started at another
//! time. A host of which nothing can be told is never taken for dead.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use rustix::io::Errno;

use crate::os::{self, HostLock};
use crate::pid::{Pid, Process};

/// Where the numbers of a host are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Realm {
    pub(crate) pids: u64,
    pub(crate) times: u64,
    pub(crate) users: u64,
    pub(crate) boot: u64,
}

/// A host, by process id, start time, and what tells whether it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host {
    pid: u32,
    start_time: u64,
    /// The namespace in which the process id is meant.
    pids: u64,
    /// Versions before this one did not write the rest.
    more: Option<More>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct More {
    boot: u64,
    times: u64,
    net: u64,
    users: u64,
    user: u32,
    /// The name that it holds; 0 if it could have none.
    lock: u64,
}

/// Whether a host lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive,
    Dead,
    Unknown,
}

impl Host {
    /// This process.
    pub(crate) fn own() -> Self {
        Self::own_and_realm().0
    }

    fn own_and_realm() -> (Self, Realm) {
        static OWN: OnceLock<(Host, Realm, Option<HostLock>)> = OnceLock::new();
        // Made once and kept for good: the socket in it holds the name, and a second one would be another
        // host to everybody who has read our mark.
        let make = || {
            let pid = std::process::id();
            let own = Pid::new(pid).and_then(Process::find);
            let lock = HostLock::take();
            if let Err(error) = &lock {
                tracing::debug!(%error, "other hosts can tell by ids alone whether this one lives");
            }
            let (lock, realm) = (lock.ok(), os::realm());
            let more = More {
                boot: realm.boot,
                times: realm.times,
                net: os::net_namespace(),
                users: realm.users,
                user: rustix::process::geteuid().as_raw(),
                lock: lock.as_ref().map_or(0, HostLock::number),
            };
            let start_time = own.map_or(0, |own| own.start_time);
            (Self { pid, start_time, pids: realm.pids, more: Some(more) }, realm, lock)
        };
        let (own, realm, _held) = OWN.get_or_init(make);
        (*own, *realm)
    }

    /// Tells whether it is this process.
    pub(crate) fn is_own(self) -> bool {
        self == Self::own()
    }

    /// Tells whether the host is known to be dead: one of which nothing can be told is taken for alive.
    pub(crate) fn is_dead(self) -> bool {
        let (own, realm) = Self::own_and_realm();
        self != own && self.life(&realm) == Life::Dead
    }

    /// Tells whether the host is known to live, or is this one.
    pub(crate) fn is_seen_alive(self) -> bool {
        let (own, realm) = Self::own_and_realm();
        self == own || self.life(&realm) == Life::Alive
    }

    /// Tells whether the user of this process is the one as whom the host ran; `pid` is a process of it.
    pub(crate) fn is_this_users(self, pid: Pid) -> bool {
        let own = Self::own();
        match (self.more, own.more) {
            (Some(more), Some(own)) => (more.users, more.user) == (own.users, own.user),
            _ => os::user(pid).ok().flatten() == Some(rustix::process::geteuid().as_raw()),
        }
    }

    /// What a person is told of a host that lives, or of which nothing can be told.
    pub(crate) fn named(self) -> String {
        let own = Self::own();
        let elsewhere = if self.pids == own.pids { "" } else { " in another namespace of process ids" };
        format!("a host that lives, or that cannot be seen from here (pid {}{elsewhere})", self.pid)
    }

    fn life(self, here: &Realm) -> Life {
        let Some(more) = self.more else { return self.life_by_id(here, true) };
        // Nothing outlives its boot. So another boot id is another machine's, or one that could not be read
        // (0): then neither the name nor the numbers can be asked for here.
        if more.boot != here.boot {
            return Life::Unknown;
        }
        // Each network namespace has abstract names of its own: asked in another one, the name of a live host
        // seems to be free, and its CLIs would be ended.
        let asks = more.lock != 0 && more.net == os::net_namespace();
        if asks && os::is_held(more.lock) == Some(false) {
            return Life::Dead;
        }
        self.life_by_id(here, more.times == here.times)
    }

    fn life_by_id(self, here: &Realm, same_times: bool) -> Life {
        if self.pids != here.pids || self.start_time == 0 {
            return Life::Unknown;
        }
        // `Pid` leaves out process 1. A host with that id is the first process of the container that we live
        // in, and so cannot be dead.
        let Some(pid) = Pid::new(self.pid) else { return Life::Alive };
        // Where `/proc` hides the processes of others, what is not to be seen there may live.
        let exists = rustix::process::test_kill_process(pid.as_rustix()) != Err(Errno::SRCH);
        match Process::look(pid) {
            _ if !exists => Life::Dead,
            Ok(Some(found)) if same_times && found.start_time == self.start_time => Life::Alive,
            Ok(Some(_)) if same_times => Life::Dead,
            // A zombie: `look` passes over it, `stat` sees it. Where neither sees anything, `/proc` hides the
            // process, and it may live.
            Ok(None) if os::stat(pid).is_ok_and(|stat| stat.is_some()) => Life::Dead,
            _ => Life::Unknown,
        }
    }
}

impl fmt::Display for Host {
    /// Versions before this one read the first three numbers only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.pid, self.start_time, self.pids)?;
        let Some(More { boot, times, net, users, user, lock }) = self.more else { return Ok(()) };
        write!(f, ":{boot:x}:{times}:{net}:{users}:{user}:{lock:x}")
    }
}

/// The text does not name a host.
#[derive(Debug)]
pub(crate) struct NotAHost;

impl FromStr for Host {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let mut parts = text.split(':');
        let mut number = |radix| u64::from_str_radix(parts.next()?, radix).ok();
        let mut first = || Some((number(10)?.try_into().ok()?, number(10)?, number(10)?));
        let (pid, start_time, pids) = first().ok_or(NotAHost)?;
        let mut rest = || {
            let (boot, times, net) = (number(16)?, number(10)?, number(10)?);
            let (users, user) = (number(10)?, number(10)?.try_into().ok()?);
            Some(More { boot, times, net, users, user, lock: number(16)? })
        };
        // A shorter mark is an earlier version's and says less; what a later version adds behind the last
        // number is not looked at. Neither is an error: a host that cannot be read would be nobody's.
        Ok(Self { pid, start_time, pids, more: rest() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This host without the name that it holds.
    fn unnamed() -> (Host, More) {
        let own = Host::own();
        let more = own.more.expect("this version writes it");
        (own, More { lock: 0, ..more })
    }

    #[test]
    fn this_host_is_alive_and_reads_its_own_mark() {
        let own = Host::own();
        assert!(!own.is_dead());
        assert_eq!(own.to_string().parse::<Host>().ok(), Some(own));
    }

    #[test]
    fn a_host_whose_id_was_reused_is_dead() {
        let (own, more) = unnamed();
        for more in [None, Some(more)] {
            assert!(Host { start_time: own.start_time + 1, more, ..own }.is_dead());
            assert!(Host { pid: 0x3fff_ffff, more, ..own }.is_dead());
        }
    }

    #[test]
    fn a_host_that_cannot_be_seen_is_taken_for_alive() {
        let (own, more) = unnamed();
        for more in [None, Some(more)] {
            assert!(!Host { pid: 0x3fff_ffff, pids: own.pids + 1, more, ..own }.is_dead());
        }
        assert!(!Host { pid: 0x3fff_ffff, more: Some(More { boot: !more.boot, ..more }), ..own }.is_dead());
        for text in ["", "1", "1:2", "x:1:2", "-1:2:3"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_start_time_of_another_time_namespace_proves_nothing() {
        let (own, more) = unnamed();
        let more = More { times: more.times + 1, ..more };
        let elsewhere = Host { start_time: own.start_time + 1, more: Some(more), ..own };
        assert!(!elsewhere.is_dead());
        assert!(Host { pid: 0x3fff_ffff, ..elsewhere }.is_dead());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_name_that_a_host_holds_counts_more_than_its_numbers() {
        let (own, more) = unnamed();
        let lock = HostLock::take().expect("a name can be taken");
        let number = lock.number();
        let elsewhere = Host { pid: 0x3fff_ffff, pids: 1, more: Some(More { lock: number, ..more }), ..own };
        assert!(!elsewhere.is_dead());
        drop(lock);
        assert!(elsewhere.is_dead());
        let taken = HostLock::take().expect("a name can be taken");
        let dead = Host { pids: own.pids, more: Some(More { lock: taken.number(), ..more }), ..elsewhere };
        assert!(dead.is_dead(), "anybody can take the name of a dead host");
        let unseen = Host { more: Some(More { lock: number, net: more.net + 1, ..more }), ..elsewhere };
        assert!(!unseen.is_dead(), "a name says nothing in another namespace");
    }

    #[test]
    fn a_mark_of_a_version_before_is_read_and_a_longer_one_as_far_as_it_is_known() {
        let own = Host::own();
        let old = format!("{}:{}:{}", own.pid, own.start_time, own.pids);
        let read = old.parse::<Host>().expect("a host");
        assert!(read.more.is_none() && !read.is_dead());
        assert_eq!(format!("{own}:7:8").parse::<Host>().ok(), Some(own));
    }
}
