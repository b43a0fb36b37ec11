//! Who was told to end, so that nobody is asked twice, and whoever may not be told is not waited for.

use std::collections::HashSet;

use rustix::process::Signal;

use crate::pid::Process;

/// Who was told to end, and which of them may not be told.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    once: HashSet<Process>,
    refused: HashSet<Process>,
}

impl Asked {
    pub(crate) fn kill(&mut self, found: &[Process]) {
        for process in found {
            self.note(*process, Signal::KILL);
        }
    }

    /// Asks each process once to end.
    pub(crate) fn ask(&mut self, found: &[Process]) {
        for process in found {
            if self.once.insert(*process) {
                self.note(*process, Signal::TERM);
                // A frozen process cannot take the signal before it is thawed.
                process.signal(Signal::CONT);
            }
        }
    }

    fn note(&mut self, process: Process, signal: Signal) {
        if !process.signal(signal) {
            self.refused.insert(process);
        }
    }

    /// Tells whether all that is left belongs to others, for whom there is no use in waiting.
    pub(crate) fn all_refused(&self, left: &[Process]) -> bool {
        !left.is_empty() && left.iter().all(|process| self.refused.contains(process))
    }
}
