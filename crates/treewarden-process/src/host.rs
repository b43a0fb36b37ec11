//! Which host a process tree belongs to, and whether that host still lives.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::os;
use crate::pid::{Pid, Process};

/// A host, by process id, start time and the namespace in which the id is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host {
    pid: u32,
    start_time: u64,
    namespace: u64,
}

impl Host {
    /// This process.
    pub(crate) fn own() -> Self {
        static OWN: OnceLock<Host> = OnceLock::new();
        *OWN.get_or_init(|| {
            let pid = std::process::id();
            let own = Pid::new(pid).and_then(Process::find);
            Self { pid, start_time: own.map_or(0, |own| own.start_time), namespace: os::namespace() }
        })
    }

    /// Tells whether the host is known to be dead: one in another namespace cannot be seen, and is taken for alive.
    pub(crate) fn is_dead(self) -> bool {
        if self == Self::own() || self.namespace != Self::own().namespace || self.start_time == 0 {
            return false;
        }
        // As the first process of a container it cannot be dead while we live in there.
        let Some(pid) = Pid::new(self.pid) else { return false };
        !Process { pid, start_time: self.start_time }.is_alive()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.pid, self.start_time, self.namespace)
    }
}

/// The text does not name a host.
#[derive(Debug)]
pub(crate) struct NotAHost;

impl FromStr for Host {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let mut numbers = text.split(':').map(str::parse::<u64>);
        let mut number = || numbers.next().and_then(Result::ok).ok_or(NotAHost);
        let pid = number()?.try_into().map_err(|_| NotAHost)?;
        Ok(Self { pid, start_time: number()?, namespace: number()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_alive_and_reads_its_own_mark() {
        let own = Host::own();
        assert!(!own.is_dead());
        assert_eq!(own.to_string().parse::<Host>().ok(), Some(own));
    }

    #[test]
    fn a_host_whose_id_was_reused_is_dead() {
        let own = Host::own();
        assert!(Host { start_time: own.start_time + 1, ..own }.is_dead());
    }

    #[test]
    fn a_host_that_cannot_be_seen_is_taken_for_alive() {
        let own = Host::own();
        assert!(!Host { pid: 0x3fff_ffff, namespace: own.namespace + 1, ..own }.is_dead());
        assert!(Host { pid: 0x3fff_ffff, ..own }.is_dead());
        for text in ["", "1", "1:2", "x:1:2", "-1:2:3"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }
}
