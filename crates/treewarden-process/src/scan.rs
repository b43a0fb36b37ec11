//! Looks at all processes, once for all proofs.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use crate::host::Host;
use crate::kin::{Answer, Claim, Member, Proof, Proofs, Question, Row};
use crate::orphans;
use crate::os::{self, Cgroup, Environ};
use crate::pid::Process;
use crate::program::{COOKIE, Cookie, HOST, TREE, TreeId};

/// How long a process whose environment is empty may be on its way from one program to the next.
const BETWEEN_PROGRAMS: Duration = Duration::from_millis(1);

/// What one look has found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) members: Vec<Member>,
    /// Something lives in a cgroup, maybe what went by while it was listed.
    pub(crate) is_populated: bool,
    /// What was this tree's or another's, and is left alone.
    pub(crate) unclear: Vec<Process>,
    /// What a live host owns, or one of which nobody can tell whether it lives; `None` is a process that cannot be seen.
    pub(crate) held: Vec<(Option<Process>, Host)>,
}

impl Found {
    /// Tells whether nothing of the tree lives.
    pub(crate) fn is_nothing(&self) -> bool {
        self.members.is_empty() && !self.is_populated
    }

    /// What lives in a cgroup.
    pub(crate) fn contained(cgroup: Option<Vec<Process>>) -> Self {
        let member = |process| Member { process, proof: Proof::Cgroup };
        let is_populated = cgroup.is_some();
        let members = cgroup.into_iter().flatten().map(member).collect();
        Self { members, is_populated, ..Self::default() }
    }

    /// Adds what a look at all processes says beside what cgroups hold.
    fn add(&mut self, answer: Answer) {
        let known: HashSet<Process> = self.members.iter().map(|member| member.process).collect();
        self.members.extend(answer.members.into_iter().filter(|member| !known.contains(&member.process)));
        self.unclear = answer.unclear;
    }

    /// Adds what was found earlier, and may be told by nothing any more.
    pub(crate) fn add_survivors(&mut self, survivors: Vec<Process>) {
        let known = self.processes();
        let new = survivors.into_iter().filter(|process| !known.contains(process));
        self.members.extend(new.map(|process| Member { process, proof: Proof::Descent }));
    }

    fn processes(&self) -> HashSet<Process> {
        self.members.iter().map(|member| member.process).collect()
    }
}

/// The processes of a tree that were seen alive.
///
/// A process on its way out is in no cgroup and has no environment any more, while it may still hold files; and one whose
/// parent was killed descends from nobody. So each that was seen counts until it is dead by its own id and start time.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    live: HashMap<Process, Proof>,
    proofs: Proofs,
}

impl Seen {
    /// Takes note of what was found now, and tells all that live; `None` if nothing does.
    pub(crate) fn note(&mut self, found: &Found) -> Option<Vec<Process>> {
        self.live.retain(|process, _| process.is_alive());
        for member in &found.members {
            if self.live.insert(member.process, member.proof).is_none() {
                self.proofs.count(member.proof);
            }
        }
        let mut live: Vec<Process> = self.live.keys().copied().collect();
        live.sort_unstable_by_key(|process| process.pid);
        (!live.is_empty() || found.is_populated).then_some(live)
    }

    /// How many were seen, by which proof.
    pub(crate) fn proofs(&self) -> Proofs {
        self.proofs
    }
}

/// The live processes of one tree, by every proof there is.
///
/// The id of the leader must still be its own: while it is not reaped no other group can have the number.
pub(crate) fn of_tree(tree: &TreeId, leader: Option<Process>, cgroup: Option<&Cgroup>) -> io::Result<Found> {
    let wanted = tree.as_str().as_bytes();
    let mut found = Found::contained(cgroup.map(Cgroup::remains).transpose()?.flatten());
    // What came to this host as an orphan came from its trees: a mark of a tree that nobody can be seen to have is a tool's
    // own invention, and says nothing.
    let own = std::process::id();
    let mut rows = rows(|_, parent, environ| match value(environ, TREE) {
        Some(mark) if mark == wanted => Claim::Ours,
        Some(mark) if parent == own && !is_of_a_live_tree(mark) => Claim::Nothing,
        Some(_) => Claim::Other,
        None => Claim::Nothing,
    })?;
    // After the look: a leader that was just being made during it carries no mark in `rows`. It is on the
    // list by now, and so is not ended as an orphan of this tree.
    let orphans = leader.and_then(orphans::of);
    if orphans.is_some() {
        // An orphan that lies in the cgroup of another tree is that one's, whatever it hides.
        for row in rows.iter_mut().filter(|row| row.parent == own) {
            if os::is_in_another_tree(row.process.pid, cgroup)? {
                row.claim = Claim::Other;
            }
        }
    }
    let leader = leader.map(|leader| leader.pid);
    let question = Question { leader, cgroup: found.processes(), orphans, ..asked_here() };
    found.add(question.answer(&rows));
    Ok(found)
}

/// The live processes of any tree of the session that has this cookie, with what the cgroups hold that were left of it.
pub(crate) fn of_session(cookie: &Cookie, cgroups: &[Cgroup]) -> io::Result<Found> {
    let mut held = Vec::new();
    let found = all(cgroups, |process, _, environ| {
        if value(environ, COOKIE) != Some(cookie.as_str().as_bytes()) {
            return if is_held(environ) { Claim::Held } else { Claim::Nothing };
        }
        match host(environ) {
            Some(host) if !host.is_own() && !host.is_dead() => {
                // Anybody can carry a mark: of another user who is not root it is no claim on what is ours.
                if !is_trusted(process) {
                    return Claim::Nothing;
                }
                held.push((Some(process), host));
                Claim::Held
            }
            _ => Claim::Ours,
        }
    })?;
    Ok(Found { held, ..found })
}

/// The live processes of hosts that are dead, with what the cgroups hold that such hosts left.
///
/// What another user owns is that user's to end.
pub(crate) fn of_the_dead(cgroups: &[Cgroup]) -> io::Result<Found> {
    all(cgroups, |process, _, environ| match host(environ) {
        Some(host) if host.is_dead() && host.is_this_users(process.pid) => Claim::Ours,
        Some(_) => Claim::Held,
        None => Claim::Nothing,
    })
}

fn all(cgroups: &[Cgroup], claim: impl FnMut(Process, u32, &[u8]) -> Claim) -> io::Result<Found> {
    let mut found = Found::default();
    for cgroup in cgroups {
        let contained = Found::contained(cgroup.remains()?);
        found.is_populated |= contained.is_populated;
        found.members.extend(contained.members);
    }
    let rows = rows(claim)?;
    let question = Question { cgroup: found.processes(), ..asked_here() };
    found.add(question.answer(&rows));
    Ok(found)
}

/// The process runs as this user or as root, or nobody can tell as whom.
fn is_trusted(process: Process) -> bool {
    let me = rustix::process::geteuid().as_raw();
    os::user(process.pid).ok().flatten().is_none_or(|user| user == me || user == 0)
}

/// The mark of a tree that this host has, or another one that is seen alive.
fn is_of_a_live_tree(mark: &[u8]) -> bool {
    let Ok(mark) = std::str::from_utf8(mark) else { return false };
    match mark.parse::<Host>() {
        Ok(host) if host.is_own() => TreeId::is_live(mark),
        Ok(host) => host.is_seen_alive(),
        Err(_) => false,
    }
}

fn host(environ: &[u8]) -> Option<Host> {
    std::str::from_utf8(value(environ, HOST)?).ok()?.parse().ok()
}

/// Of another host that may live: its processes are never taken for a descendant's.
fn is_held(environ: &[u8]) -> bool {
    host(environ).is_some_and(|host| !host.is_own() && !host.is_dead())
}

fn asked_here() -> Question {
    Question { own: std::process::id(), own_session: os::own_session(), ..Question::default() }
}

/// All live processes but the kernel's own, with what each one's environment says.
///
/// The start time is read first: a mark that is read afterwards under an id that was given anew is taken for one of a
/// process that is dead, and no harm comes of it.
fn rows(mut claim: impl FnMut(Process, u32, &[u8]) -> Claim) -> io::Result<Vec<Row>> {
    let mut environ = Vec::with_capacity(16 << 10);
    let (mut rows, mut between) = (Vec::new(), Vec::new());
    for pid in os::pids()? {
        let Some(stat) = os::stat(pid)?.filter(|stat| stat.is_alive) else { continue };
        // Every member descends from a leader that began a session, which the kernel's own threads do not.
        if cfg!(target_os = "linux") && stat.session == 0 && stat.group == 0 {
            continue;
        }
        let process = Process { pid, start_time: stat.start_time };
        let claimed = match os::environ(pid, &mut environ)? {
            Environ::Read => claim(process, stat.parent, &environ),
            // As the kernel shows it while a process executes another program: the mark of a CLI's new tool
            // would be missed, so it is read once more below.
            Environ::Empty => {
                between.push(rows.len());
                Claim::Nothing
            }
            Environ::Denied => Claim::Unreadable,
            Environ::Gone => continue,
        };
        let (parent, group, session) = (stat.parent, stat.group, stat.session);
        rows.push(Row { process, parent, group, session, claim: claimed });
    }
    if !between.is_empty() {
        std::thread::sleep(BETWEEN_PROGRAMS);
    }
    for index in between {
        let row: &mut Row = &mut rows[index];
        // Looked at again behind the reading: if the id was given anew in that millisecond, the mark is
        // another process's, and says nothing of this row.
        if os::environ(row.process.pid, &mut environ)? == Environ::Read && row.process.is_alive() {
            row.claim = claim(row.process, row.parent, &environ);
        }
    }
    Ok(rows)
}

/// The value of a variable in an environment.
fn value<'a>(environ: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environ
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_a_tree_that_nobody_has_is_told_from_one_of_a_live_tree() {
        let tree = TreeId::next();
        let mark = tree.as_str().to_owned();
        assert!(is_of_a_live_tree(mark.as_bytes()));
        drop(tree);
        for dead in [&mark, "00000000-0000-4000-8000-000000000000", "1:1:1:7", ""] {
            assert!(!is_of_a_live_tree(dead.as_bytes()), "{dead}");
        }
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environ = b"XA=1\0A=\0AB=2\0B=x=y";
        assert_eq!(value(environ, "A"), Some(&b""[..]));
        assert_eq!(value(environ, "B"), Some(&b"x=y"[..]));
        assert_eq!(value(environ, "C"), None);
    }
}
