//! What lives on of a session when its CLI is gone: what could not be ended, and what may be the session's and is left alone.

use treewarden_process::{NotGone, Process, TreeGone};

use super::Desk;
use crate::events::Happening;
use crate::session::error::QueryError;

/// What was left, as far as it lives still.
#[derive(Debug, Clone, Default)]
pub(crate) struct Left {
    refused: Vec<Refused>,
    /// Nothing says whether they are the session's.
    unclear: Vec<Process>,
}

/// A tree that was not proven gone.
#[derive(Debug, Clone)]
struct Refused {
    /// None, if nobody can tell what lives.
    processes: Vec<Process>,
    why: String,
}

impl Refused {
    /// Whether one of its processes is among the living, as `lives` says.
    fn lives(&self, lives: impl Fn(&Process) -> bool) -> bool {
        // Without a list of processes there is nothing to look at: a tree of which nobody can tell what lives
        // counts as alive until a proof says otherwise.
        self.processes.is_empty() || self.processes.iter().any(lives)
    }
}

impl Left {
    /// What cannot be ended, in words; `None` if all of it is gone by now.
    pub(crate) fn not_gone(&self) -> Option<String> {
        let live: Vec<&str> =
            self.refused.iter().filter(|left| left.lives(is_alive)).map(|left| left.why.as_str()).collect();
        (!live.is_empty()).then(|| live.join("; "))
    }

    /// What may be the session's, by name.
    pub(crate) fn unclear(&self) -> Option<String> {
        named(self.unclear.iter().filter(|process| is_alive(process)))
    }

    /// Which of all these processes are dead by now. It asks the system for each, and so is asked of a copy.
    fn dead(&self) -> Vec<Process> {
        let refused = self.refused.iter().flat_map(|left| &left.processes);
        refused.chain(&self.unclear).filter(|process| !is_alive(process)).copied().collect()
    }

    /// Lets go of what is gone with these processes: what was seen dead stays dead.
    fn bury(&mut self, dead: &[Process]) {
        let lives = |process: &Process| !dead.contains(process);
        self.refused.retain(|left| left.lives(lives));
        self.unclear.retain(lives);
    }

    /// Takes note of what cannot be ended; `false` if it was known.
    fn add_refused(&mut self, processes: &[Process], why: &str) -> bool {
        let known = self.refused.iter().any(|left| left.processes == processes && left.why == why);
        // An earlier entry about the same processes gives way to this one, or they would be named twice.
        self.refused.retain(|left| !left.processes.iter().all(|process| processes.contains(process)));
        self.refused.push(Refused { processes: processes.to_vec(), why: why.to_owned() });
        !known
    }

    /// Takes note of what may be the session's, and returns what was not known.
    fn add_unclear(&mut self, processes: &[Process]) -> Vec<Process> {
        let new: Vec<Process> =
            processes.iter().filter(|process| !self.unclear.contains(process)).copied().collect();
        self.unclear.extend(&new);
        new
    }

    /// A proof that all is gone answers what nobody could tell before.
    fn proven(&mut self) {
        self.refused.retain(|left| !left.processes.is_empty());
    }
}

/// Looks whether a process lives, which reads a file.
fn is_alive(process: &Process) -> bool {
    process.is_alive()
}

fn named<'a>(processes: impl Iterator<Item = &'a Process>) -> Option<String> {
    let names: Vec<String> = processes.map(Process::to_string).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

impl Desk {
    /// Says that processes of the session live on, and keeps it for whoever asks.
    pub(crate) fn note_not_gone(&self, error: &NotGone) {
        // Processes of another host that lives are that host's CLI, and no leftover of this session; the
        // start that met them says so itself.
        if error.is_another_hosts() {
            return;
        }
        let why = error.to_string();
        // Each start that is refused finds the same again; only what is new is told.
        let is_new = self.change_left(|left| left.add_refused(error.processes(), &why));
        if is_new {
            tracing::error!(session = %self.name, %error, "processes of a CLI cannot be ended");
            self.publish(Happening::NotGone { why });
        }
    }

    /// Takes note of a proof, and says which processes it leaves alone.
    pub(crate) fn note_gone(&self, gone: &TreeGone) {
        let new = self.change_left(|left| {
            left.proven();
            left.add_unclear(gone.left())
        });
        if let Some(what) = named(new.iter()) {
            self.publish(Happening::MayBeLeft { what });
        }
    }

    fn left(&self) -> Left {
        self.lock().shown.left().clone()
    }

    /// Changes what is noted, without what is dead by now.
    fn change_left<T>(&self, change: impl FnOnce(&mut Left) -> T) -> T {
        // Looked for in a copy: the look reads a file for each process, and whoever calls the session would
        // wait for that. What is noted meanwhile is not among the dead, and stays.
        let dead = self.left().dead();
        let mut rooms = self.lock();
        let left = rooms.shown.left_mut();
        left.bury(&dead);
        change(left)
    }

    /// Whether all that is the session's is gone, as far as that was found out.
    pub(crate) fn is_gone(&self) -> Result<(), QueryError> {
        self.left().not_gone().map_or(Ok(()), |why| Err(QueryError::not_gone(&self.name, &why)))
    }
}

#[cfg(test)]
mod tests {
    use treewarden_process::Pid;

    use super::*;

    fn own() -> Process {
        Process::find(Pid::new(std::process::id()).expect("an id")).expect("this process lives")
    }

    fn dead() -> Process {
        Process { start_time: own().start_time + 1, ..own() }
    }

    #[test]
    fn what_cannot_be_ended_is_told_as_long_as_it_lives_and_said_once() {
        let mut left = Left::default();
        assert!(left.add_refused(&[dead()], "a"));
        assert_eq!(left.not_gone(), None);
        assert!(left.add_refused(&[own(), dead()], "b"));
        assert!(!left.add_refused(&[own(), dead()], "b"), "it is known");
        assert_eq!(left.not_gone().as_deref(), Some("b"));
        left.proven();
        assert_eq!(left.not_gone().as_deref(), Some("b"), "another tree's proof ends nothing of it");
    }

    #[test]
    fn what_is_dead_is_let_go_and_what_was_noted_since_the_look_stays() {
        let mut left = Left::default();
        left.add_refused(&[dead()], "a");
        left.add_unclear(&[dead()]);
        let seen = left.dead();
        assert_eq!(seen, [dead(), dead()]);
        left.add_refused(&[own()], "b");
        left.add_refused(&[], "c");
        left.add_unclear(&[own()]);
        left.bury(&seen);
        assert_eq!(left.refused.iter().map(|left| left.why.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(left.unclear, [own()]);
    }

    #[test]
    fn what_nobody_could_tell_is_told_until_there_is_a_proof() {
        let mut left = Left::default();
        left.add_refused(&[], "it cannot be looked at");
        left.add_refused(&[own()], "it is another user's");
        assert_eq!(left.not_gone().as_deref(), Some("it is another user's"), "the newer look counts");
        left.add_refused(&[], "it cannot be looked at");
        left.proven();
        assert_eq!(left.not_gone().as_deref(), Some("it is another user's"));
    }

    #[test]
    fn what_may_be_the_sessions_is_named_once_and_told_as_long_as_it_lives() {
        let mut left = Left::default();
        assert_eq!(left.add_unclear(&[dead(), own()]), [dead(), own()]);
        assert_eq!(left.add_unclear(&[own()]), []);
        assert_eq!(left.unclear(), Some(own().to_string()));
    }
}
