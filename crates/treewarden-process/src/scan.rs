//! Finds the processes of a tree among all that live.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use crate::os::{self, Environ, Place};
use crate::pid::{Pid, Process};
use crate::program::{COOKIE, Cookie, TREE, TreeId};

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

/// The live processes of the tree that has this id, by that mark or by the group or the session that `leader` began.
///
/// The id of the leader must still be its own: while it is not reaped no other group can have the number.
pub(crate) fn of_tree(tree: &TreeId, leader: Option<Pid>) -> io::Result<Remains> {
    let is_near = |place: Place| leader.is_some() && (place.group == leader || place.session == leader);
    let wanted = tree.as_str().as_bytes();
    live(is_near, |environ| value(environ, TREE) == Some(wanted)).map(Remains::from)
}

/// The live processes of any tree of the session that has this cookie.
pub(crate) fn of_session(cookie: &Cookie) -> io::Result<Remains> {
    let wanted = cookie.as_str().as_bytes();
    live(|_| false, |environ| value(environ, COOKIE) == Some(wanted)).map(Remains::from)
}

/// The live processes that belong by their place, or by their environment.
pub(crate) fn live(
    belongs: impl Fn(Place) -> bool,
    is_marked: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<Process>> {
    let mut environ = Vec::with_capacity(16 << 10);
    let mut look = |pid| Ok::<_, io::Error>((os::environ(pid, &mut environ)?, is_marked(&environ)));
    let (mut found, mut between) = (Vec::new(), Vec::new());
    let own = std::process::id();
    for pid in os::pids()?.into_iter().filter(|pid| pid.get() != own) {
        let Some(place) = os::place(pid)? else { continue };
        // Every member descends from a leader that began a session, which the kernel's own threads do not.
        if cfg!(target_os = "linux") && place.session.is_none() && place.group.is_none() {
            continue;
        }
        if belongs(place) {
            found.extend(Process::look(pid)?);
            continue;
        }
        match look(pid)? {
            (Environ::Read, true) => {
                let Some(process) = Process::look(pid)? else { continue };
                // The id may have been another's the first time. A mark that is seen after the start time is a mark of
                // the process that started then.
                match look(pid)? {
                    (Environ::Read, true) => found.push(process),
                    (Environ::Empty, _) => between.push(process),
                    (Environ::Read | Environ::Hidden, _) => {}
                }
            }
            (Environ::Empty, _) => between.extend(Process::look(pid)?),
            (Environ::Read | Environ::Hidden, _) => {}
        }
    }
    if !between.is_empty() {
        std::thread::sleep(BETWEEN_PROGRAMS);
    }
    for process in between {
        if look(process.pid)? == (Environ::Read, true) && process.is_alive() {
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
