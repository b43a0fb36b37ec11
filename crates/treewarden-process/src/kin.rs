//! Which processes belong to a tree: a decision over what one look at all processes has shown.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::pid::{Pid, Process};

/// What the environment of a process says of whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It carries the mark that is looked for.
    Ours,
    /// It carries the mark of another tree.
    Other,
    /// It is a live host's, or another user's: never ended.
    Held,
    /// It carries no mark: it never had one, or has overwritten it.
    Nothing,
    /// It lets nobody look, or belongs to another user.
    Unreadable,
}

/// What one look shows of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) process: Process,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    pub(crate) claim: Claim,
}

/// By what a process was found; of several, the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proof {
    Cgroup,
    Group,
    Mark,
    Descent,
}

/// A process of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) process: Process,
    pub(crate) proof: Proof,
}

/// How many processes were found by which proof.
///
/// Each counts once, by the strongest: a process in the tree's cgroup counts there, whatever mark it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Proofs {
    /// By the tree's cgroup.
    pub cgroup: usize,
    /// By the leader's process group or session; or, of one that lets nobody look into it, by that of another member.
    pub group: usize,
    /// By the mark in its environment.
    pub mark: usize,
    /// By its descent alone: from a process of the tree, or as an orphan that came to this host.
    pub descent: usize,
}

impl Proofs {
    pub(crate) fn count(&mut self, proof: Proof) {
        *match proof {
            Proof::Cgroup => &mut self.cgroup,
            Proof::Group => &mut self.group,
            Proof::Mark => &mut self.mark,
            Proof::Descent => &mut self.descent,
        } += 1;
    }

    /// How many it were together.
    pub fn all(&self) -> usize {
        self.cgroup + self.group + self.mark + self.descent
    }
}

impl fmt::Display for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cgroup, group, mark, descent } = self;
        write!(f, "{cgroup} by cgroup, {group} by group, {mark} by mark, {descent} by descent")
    }
}

/// The orphans that come to this host, where it adopts them: of which tree one was can be told by time only.
#[derive(Debug)]
pub(crate) struct Orphans {
    /// When the leader of the tree started.
    pub(crate) since: u64,
    /// The leaders of the other trees of this host.
    pub(crate) others: Vec<Process>,
    /// Whatever comes to this host comes from its trees; otherwise it may as well be what somebody else left.
    pub(crate) are_of_trees: bool,
}

/// Whose processes are asked for.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// This process, which is nobody's member, and its session, which no tree shares.
    pub(crate) own: u32,
    pub(crate) own_session: u32,
    /// The leader, as long as its id is its own.
    pub(crate) leader: Option<Pid>,
    /// What the cgroup holds.
    pub(crate) cgroup: HashSet<Process>,
    pub(crate) orphans: Option<Orphans>,
}

/// What belongs, and what may.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) members: Vec<Member>,
    /// Orphans that were this tree's, another live one's, or nobody's.
    pub(crate) unclear: Vec<Process>,
}

impl Question {
    /// Answers it by what was seen.
    ///
    /// What descends from a member is one, whatever its environment says. One that lets nobody look is one as well where
    /// a member is in its session: nobody enters the session of another.
    pub(crate) fn answer(&self, rows: &[Row]) -> Answer {
        let mut found: HashMap<u32, Proof> = HashMap::new();
        let mut unclear = Vec::new();
        // Held processes are taken out before descent is followed, or the CLI of a live host would be ended
        // as the child of a tool that started that host.
        let candidates: Vec<&Row> =
            rows.iter().filter(|row| row.process.pid.get() != self.own && row.claim != Claim::Held).collect();
        for row in &candidates {
            if let Some(proof) = self.proof(row) {
                found.insert(row.process.pid.get(), proof);
            }
        }
        let mut sessions: HashSet<u32> = HashSet::new();
        // Until nothing is added: a child may stand before its parent in the list, as ids are given out anew
        // from below, and each new member brings the session that it is in.
        loop {
            let before = found.len();
            let members = candidates.iter().filter(|row| found.contains_key(&row.process.pid.get()));
            // Session 0 is that of every process whose session cannot be seen from here: by it, one member
            // would make members of them all.
            sessions.extend(members.map(|row| row.session).filter(|id| *id != 0 && *id != self.own_session));
            for row in &candidates {
                let pid = row.process.pid.get();
                if found.contains_key(&pid) {
                    continue;
                }
                if found.contains_key(&row.parent) {
                    found.insert(pid, Proof::Descent);
                } else if row.claim == Claim::Unreadable && sessions.contains(&row.session) {
                    found.insert(pid, Proof::Group);
                }
            }
            if found.len() == before {
                break;
            }
        }
        for row in &candidates {
            if !found.contains_key(&row.process.pid.get()) && self.may_be_orphan(row) {
                unclear.push(row.process);
            }
        }
        let member = |row: &&Row| {
            found.get(&row.process.pid.get()).map(|proof| Member { process: row.process, proof: *proof })
        };
        Answer { members: candidates.iter().filter_map(member).collect(), unclear }
    }

    /// What shows by itself that a process belongs.
    fn proof(&self, row: &Row) -> Option<Proof> {
        let leader = self.leader.map(Pid::get);
        let (group, session) = (Some(row.group), Some(row.session));
        if self.cgroup.contains(&row.process) {
            Some(Proof::Cgroup)
        } else if leader.is_some() && (group == leader || session == leader) {
            Some(Proof::Group)
        } else if row.claim == Claim::Ours {
            Some(Proof::Mark)
        } else if self.may_be_orphan(row) && !self.may_be_anothers(row) {
            Some(Proof::Descent)
        } else {
            None
        }
    }

    /// Tells whether it may be an orphan of the tree: a child of this host that is no leader, and began after the tree did.
    fn may_be_orphan(&self, row: &Row) -> bool {
        let Some(orphans) = &self.orphans else { return false };
        let is_leader = |id: u32| orphans.others.iter().any(|leader| leader.pid.get() == id);
        row.parent == self.own
            && row.process.start_time >= orphans.since
            && matches!(row.claim, Claim::Nothing | Claim::Unreadable)
            // A tree's processes are in the session that its leader began, or in a later one. What is in the
            // host's session was started by the program itself.
            && row.session != self.own_session
            && ![row.process.pid.get(), row.group, row.session].into_iter().any(is_leader)
    }

    /// Tells whether something else than the tree may have left that orphan: another tree, or a process that is none of ours.
    fn may_be_anothers(&self, row: &Row) -> bool {
        self.orphans.as_ref().is_some_and(|orphans| {
            let may_have_left = |leader: &Process| leader.start_time <= row.process.start_time;
            !orphans.are_of_trees || orphans.others.iter().any(may_have_left)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: u32 = 100;
    const LEADER: u32 = 200;

    fn process(pid: u32, start_time: u64) -> Process {
        Process { pid: Pid::new(pid).expect("an id"), start_time }
    }

    fn row(pid: u32, parent: u32, session: u32, claim: Claim) -> Row {
        Row { process: process(pid, u64::from(pid)), parent, group: session, session, claim }
    }

    fn question() -> Question {
        Question { own: HOST, own_session: 99, leader: Pid::new(LEADER), ..Question::default() }
    }

    fn found(question: &Question, rows: &[Row]) -> Vec<(u32, Proof)> {
        let answer = question.answer(rows);
        answer.members.iter().map(|member| (member.process.pid.get(), member.proof)).collect()
    }

    #[test]
    fn each_proof_suffices_and_the_strongest_counts() {
        let question =
            Question { cgroup: HashSet::from([process(LEADER, 200), process(204, 204)]), ..question() };
        let rows = [
            row(LEADER, HOST, LEADER, Claim::Ours),
            row(201, LEADER, LEADER, Claim::Nothing),
            row(202, 1, 202, Claim::Ours),
            row(203, 201, 203, Claim::Nothing),
            row(204, 1, 204, Claim::Unreadable),
            row(205, 1, 205, Claim::Nothing),
        ];
        let expected = [
            (LEADER, Proof::Cgroup),
            (201, Proof::Group),
            (202, Proof::Mark),
            (203, Proof::Descent),
            (204, Proof::Cgroup),
        ];
        assert_eq!(found(&question, &rows), expected);
    }

    #[test]
    fn descent_goes_over_many_steps_and_past_the_marks_of_trees_within() {
        let rows = [
            row(LEADER, HOST, LEADER, Claim::Ours),
            row(240, 230, 240, Claim::Unreadable),
            row(230, 220, 230, Claim::Other),
            row(220, LEADER, 220, Claim::Nothing),
        ];
        let by_descent = |pid| (pid, Proof::Descent);
        assert_eq!(found(&question(), &rows)[1..], [240, 230, 220].map(by_descent));
    }

    #[test]
    fn what_lets_nobody_look_belongs_to_the_session_of_a_member_but_not_to_that_of_the_host() {
        let rows = [
            row(300, 1, 300, Claim::Ours),
            row(301, 1, 300, Claim::Unreadable),
            row(302, 1, 300, Claim::Nothing),
            row(303, 1, 303, Claim::Unreadable),
            row(310, 1, 99, Claim::Ours),
            row(311, 1, 99, Claim::Unreadable),
        ];
        let expected = [(300, Proof::Mark), (301, Proof::Group), (310, Proof::Mark)];
        assert_eq!(found(&question(), &rows), expected);
    }

    #[test]
    fn what_a_live_host_owns_is_never_a_member_nor_is_this_host() {
        let mut question = question();
        question.cgroup = HashSet::from([process(401, 401)]);
        let rows = [
            row(HOST, 400, 99, Claim::Ours),
            row(400, 1, 400, Claim::Ours),
            row(401, 400, 400, Claim::Held),
            row(402, HOST, 402, Claim::Nothing),
        ];
        assert_eq!(found(&question, &rows), [(400, Proof::Mark)]);
    }

    #[test]
    fn an_orphan_is_the_only_trees_that_can_have_left_it_or_unclear() {
        let orphans = |others: &[u32]| {
            let others = others.iter().map(|pid| process(*pid, u64::from(*pid))).collect();
            Question { orphans: Some(Orphans { since: 200, others, are_of_trees: true }), ..question() }
        };
        let rows = [
            row(150, HOST, 150, Claim::Nothing),
            row(210, HOST, 210, Claim::Unreadable),
            row(211, HOST, 211, Claim::Nothing),
            row(212, HOST, 212, Claim::Other),
            row(213, HOST, 99, Claim::Nothing),
            row(250, HOST, 250, Claim::Other),
        ];
        let alone = orphans(&[]).answer(&rows);
        assert_eq!(alone.members.len(), 2);
        assert!(alone.unclear.is_empty());
        // One that began later can have left none of them.
        assert_eq!(orphans(&[250]).answer(&rows).members, alone.members);
        let beside = orphans(&[160]).answer(&rows);
        assert!(beside.members.is_empty());
        assert_eq!(beside.unclear, [process(210, 210), process(211, 211)]);
        assert!(question().answer(&rows).members.is_empty(), "a host that adopts none cannot tell");
    }

    #[test]
    fn an_orphan_of_a_host_that_is_given_those_of_others_is_left_unless_something_else_proves_it() {
        let orphans = Some(Orphans { since: 200, others: Vec::new(), are_of_trees: false });
        let question = Question { orphans, cgroup: HashSet::from([process(213, 213)]), ..question() };
        let rows = [
            row(150, HOST, 150, Claim::Nothing),
            row(210, HOST, 210, Claim::Unreadable),
            row(211, HOST, 211, Claim::Nothing),
            row(212, HOST, 212, Claim::Ours),
            row(213, HOST, 213, Claim::Nothing),
            row(214, HOST, LEADER, Claim::Nothing),
            row(215, 212, 215, Claim::Nothing),
        ];
        let expected = [(212, Proof::Mark), (213, Proof::Cgroup), (214, Proof::Group), (215, Proof::Descent)];
        assert_eq!(found(&question, &rows), expected);
        assert_eq!(question.answer(&rows).unclear, [process(210, 210), process(211, 211)]);
    }
}
