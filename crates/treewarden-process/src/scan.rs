//! Finds the processes of a tree among all that live.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use crate::os::{self, Environ, Stat};
use crate::pid::{Pid, Process};
use crate::program::{COOKIE, Cookie};

/// How long a process whose environment is empty may be on its way from one program to the next.
const BETWEEN_PROGRAMS: Duration = Duration::from_millis(1);

/// What is left of a tree.
#[derive(Debug)]
pub(crate) enum Remains {
    /// No process lives.
    Nothing,
    /// These live, and maybe others that went by while they were listed.
    Something(Vec<Process>),
}

impl From<Vec<Process>> for Remains {
    fn from(found: Vec<Process>) -> Self {
        if found.is_empty() { Self::Nothing } else { Self::Something(found) }
    }
}

impl Remains {
    /// All of them together.
    pub(crate) fn all(several: impl IntoIterator<Item = io::Result<Self>>) -> io::Result<Self> {
        let mut all = None;
        for remains in several {
            if let Self::Something(found) = remains? {
                all.get_or_insert_with(HashSet::new).extend(found);
            }
        }
        Ok(all.map_or(Self::Nothing, |all| Self::Something(all.into_iter().collect())))
    }
}

/// The processes of a tree that were seen alive.
///
/// A process on its way out is in no cgroup and has no environment any more, while it may still hold files. So each that
/// was seen counts until it is dead by its own id and start time.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashSet<Process>);

impl Seen {
    /// Takes note of what was found now, and tells all that live.
    pub(crate) fn note(&mut self, remains: Remains) -> Remains {
        self.0.retain(|process| process.is_alive());
        match remains {
            Remains::Nothing if self.0.is_empty() => return Remains::Nothing,
            Remains::Nothing => {}
            Remains::Something(found) => self.0.extend(found),
        }
        Remains::Something(self.0.iter().copied().collect())
    }
}

/// The live processes that carry `cookie`, or are in the group or the session that `leader` began.
///
/// The id of the leader must still be its own: while it is not reaped no other group can have the number.
pub(crate) fn of_tree(cookie: &Cookie, leader: Option<Pid>) -> io::Result<Remains> {
    let leader = leader.map(Pid::get);
    let is_near = |stat: &Stat| leader.is_some() && (Some(stat.group) == leader || stat.session == leader);
    let wanted = cookie.as_str().as_bytes();
    live(is_near, |environ| value(environ, COOKIE) == Some(wanted)).map(Remains::from)
}

/// The live processes that belong by what the system says of them, or by their environment.
pub(crate) fn live(
    belongs: impl Fn(&Stat) -> bool,
    is_marked: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<Process>> {
    let own = std::process::id();
    let mut environ = Vec::with_capacity(16 << 10);
    let (mut found, mut between) = (Vec::new(), Vec::new());
    for pid in os::pids()? {
        // The start time comes first: a process that takes the id over in between is then not signalled.
        let Some(stat) = os::stat(pid)?.filter(|stat| stat.is_alive && !stat.is_kernel) else { continue };
        let process = Process { pid, start_time: stat.start_time };
        if pid.get() == own {
            continue;
        }
        if belongs(&stat) {
            found.push(process);
            continue;
        }
        match os::environ(pid, &mut environ)? {
            Environ::Read if is_marked(&environ) => found.push(process),
            Environ::Empty => between.push(process),
            Environ::Read | Environ::Hidden => {}
        }
    }
    if !between.is_empty() {
        std::thread::sleep(BETWEEN_PROGRAMS);
    }
    for process in between {
        if os::environ(process.pid, &mut environ)? == Environ::Read
            && is_marked(&environ)
            && process.is_alive()
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// The value of a variable in an environment.
pub(crate) fn value<'a>(environ: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environ
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environ = b"XA=1\0A=\0AB=2\0B=x=y";
        assert_eq!(value(environ, "A"), Some(&b""[..]));
        assert_eq!(value(environ, "B"), Some(&b"x=y"[..]));
        assert_eq!(value(environ, "C"), None);
    }
}
