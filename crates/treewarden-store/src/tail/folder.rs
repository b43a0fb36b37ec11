//! The thread that puts sealed segments into the database, one after another.
//!
//! It begins with the first segment and stays until its owner goes. A thread for each segment would cost as much memory
//! each time as a segment takes: an allocator keeps what a thread has freed for threads of that kind (measured with
//! glibc: 7 MiB for each of 16 arenas).

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

type Fold = Box<dyn FnOnce() + Send>;

/// A fold, and what tells by its end that the fold has ended, by a panic too.
type Job = (Fold, SyncSender<()>);

/// The thread, if there is one, and whether it is at work.
#[derive(Debug, Default)]
pub(super) struct Folder {
    jobs: Option<SyncSender<Job>>,
    under_way: Option<Receiver<()>>,
}

impl Folder {
    /// Tells whether a fold is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.as_ref().is_some_and(|ended| ended.try_recv() == Err(TryRecvError::Empty))
    }

    /// Waits for the fold that is under way.
    pub(super) fn wait(&mut self) {
        if let Some(ended) = self.under_way.take() {
            // Nothing is ever sent: the error that comes when the sender is dropped is what is waited for.
            let _ended = ended.recv();
        }
    }

    /// Begins a fold, when the one that is under way has ended.
    pub(super) fn begin(&mut self, fold: Fold) -> io::Result<()> {
        self.wait();
        let (tell, ended) = sync_channel(0);
        let mut job = (fold, tell);
        if let Some(jobs) = &self.jobs {
            match jobs.send(job) {
                Ok(()) => {
                    self.under_way = Some(ended);
                    return Ok(());
                }
                // A fold that panicked has ended the thread.
                Err(back) => job = back.0,
            }
        }
        let (jobs, work) = sync_channel::<Job>(1);
        std::thread::Builder::new().name("treewarden-fold".into()).spawn(move || {
            // Its end is heard after a panic, too, and then `work` must be gone, or the next job would be given to a thread
            // that ends and be lost with it: what is declared first is dropped last.
            let mut tell;
            for (fold, of_this) in work {
                tell = of_this;
                fold();
                drop(tell);
            }
        })?;
        jobs.send(job).expect("the thread waits for a job");
        (self.jobs, self.under_way) = (Some(jobs), Some(ended));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::{ThreadId, current};

    use super::*;

    /// Has the folder tell which thread it works on.
    fn thread(folder: &mut Folder) -> ThreadId {
        let (tell, told) = channel();
        folder
            .begin(Box::new(move || tell.send(current().id()).expect("it is waited for")))
            .expect("a thread");
        told.recv().expect("it is told")
    }

    #[test]
    fn one_thread_folds_one_segment_after_another() {
        let mut folder = Folder::default();
        let first = thread(&mut folder);
        assert_ne!(first, current().id());
        assert_eq!(thread(&mut folder), first);
        folder.wait();
        assert!(!folder.is_busy());
    }

    #[test]
    fn a_fold_is_waited_for_before_the_next_begins() {
        let mut folder = Folder::default();
        let (open, gate) = channel::<()>();
        let (tell, told) = channel();
        folder
            .begin(Box::new(move || {
                let _opened = gate.recv();
                tell.send(1).expect("it is waited for")
            }))
            .expect("a thread");
        assert!(folder.is_busy());
        let opener = std::thread::spawn(move || drop(open));
        folder.begin(Box::new(|| {})).expect("a thread");
        assert_eq!(told.try_recv(), Ok(1));
        folder.wait();
        opener.join().expect("it does not panic");
    }

    #[test]
    fn a_fold_that_panics_is_over_and_the_next_has_another_thread() {
        let mut folder = Folder::default();
        let mut last = None;
        for _ in 0..500 {
            let this = thread(&mut folder);
            assert_ne!(Some(this), last.replace(this));
            // A panic without a report.
            folder.begin(Box::new(|| std::panic::resume_unwind(Box::new(())))).expect("a thread");
            folder.wait();
            assert!(!folder.is_busy());
        }
    }
}
