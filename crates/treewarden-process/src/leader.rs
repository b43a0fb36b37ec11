//! The first process of a tree, from its spawn to its reaping.
//!
//! It is reaped only when the rest of the tree is gone: until then, as a zombie, it keeps its id, so that neither its
//! process nor its group can be mistaken for another.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{self, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions};
use tokio::sync::watch;

use crate::orphans;
use crate::pid::{Pid, Process};

/// The leader of a tree. One thread waits for the ends of all, so that this needs no runtime.
#[derive(Debug)]
pub(crate) struct Leader {
    process: Process,
    /// Held while its id is used: afterwards the id may be another's.
    is_reaped: Mutex<bool>,
    status: watch::Sender<Option<ExitStatus>>,
}

impl Leader {
    /// Takes over a child that was just made.
    pub(crate) fn new(pid: Pid) -> Arc<Self> {
        // If it cannot be looked at it is known by its id alone, which it keeps until it is reaped.
        let start_time = crate::os::stat(pid).ok().flatten().map_or(0, |stat| stat.start_time);
        let process = Process { pid, start_time };
        orphans::began(process);
        Arc::new(Self { process, is_reaped: Mutex::new(false), status: watch::Sender::new(None) })
    }

    /// Has its end waited for by the thread that waits for all, or else by one of its own; where none can be started the
    /// child is killed, and its end waited for here.
    pub(crate) fn watch_over(self: Arc<Self>) {
        let waiting = Arc::clone(&self);
        // It may be refused where descriptors are short; a thread needs none.
        if crate::os::when_ended(self.pid(), Box::new(move || waiting.wait())).is_ok() {
            return;
        }
        let waiting = Arc::clone(&self);
        // It makes one call: the default stack would reserve 2 GiB of addresses for a thousand of them.
        let thread = std::thread::Builder::new().name(format!("tw-wait-{}", self.pid())).stack_size(64 << 10);
        if let Err(error) = thread.spawn(move || waiting.wait()) {
            tracing::error!(pid = %self.pid(), %error, "no thread can be started that waits for a child; it is killed");
            self.signal_group(Signal::KILL);
            self.wait();
        }
    }

    fn wait(&self) {
        // NOWAIT leaves a zombie, which keeps the id of the process and of its group taken until `reap`. A
        // plain wait would free them at once, and the SIGKILL to the group could hit another's.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = loop {
            match process::waitid(WaitId::Pid(self.process.pid.as_rustix()), options) {
                Ok(Some(status)) => break exit_status(&status),
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(pid = %self.process.pid, %error, "a child was reaped by somebody else");
                    // Who ignores SIGCHLD, or waits for any child, has had the status before us. The id may
                    // be another's by now: nothing is sent to it any more.
                    *self.is_reaped() = true;
                    orphans::ended(self.process);
                    break ExitStatus::from_raw(UNKNOWN);
                }
            }
        };
        self.status.send_replace(Some(status));
    }

    fn is_reaped(&self) -> MutexGuard<'_, bool> {
        self.is_reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn process(&self) -> Process {
        self.process
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid
    }

    pub(crate) fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Asks the system whether it has ended; it may know before the thread that waits does.
    pub(crate) fn has_exited(&self) -> bool {
        let is_reaped = self.is_reaped();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        *is_reaped
            || self.status().is_some()
            || matches!(process::waitid(WaitId::Pid(self.process.pid.as_rustix()), options), Ok(Some(_)))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<ExitStatus>> {
        self.status.subscribe()
    }

    /// It, as long as no other process or group can have its id.
    pub(crate) fn held(&self) -> Option<Process> {
        (!*self.is_reaped()).then_some(self.process)
    }

    /// Sends a signal to the leader alone, if it has not ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let is_reaped = self.is_reaped();
        if !*is_reaped {
            // While it is not reaped the id is its own. What fails here fails for a leader that runs as
            // another user, and the proof says so.
            let _already_ended = process::kill_process(self.process.pid.as_rustix(), signal);
        }
    }

    /// Sends a signal to the leader's process group, also after the leader has ended.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let is_reaped = self.is_reaped();
        if !*is_reaped {
            let _already_ended = process::kill_process_group(self.process.pid.as_rustix(), signal);
        }
    }

    /// Reaps it, if it has ended; from then on its id may be another's.
    pub(crate) fn reap(&self) {
        let mut is_reaped = self.is_reaped();
        if self.status().is_some() && !*is_reaped {
            // It does not block under the lock: the status says that there is a zombie to reap.
            while let Err(Errno::INTR) =
                process::waitpid(Some(self.process.pid.as_rustix()), WaitOptions::empty())
            {}
            *is_reaped = true;
            orphans::ended(self.process);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.reap();
    }
}

/// Exit code 255, for want of a better one: it must not look like success.
const UNKNOWN: i32 = 255 << 8;

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    // As `wait` packs it: the code in the second byte, or a signal in the low seven bits and 0x80 for a core
    // dump.
    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, Some(signal)) => signal | if status.dumped() { 0x80 } else { 0 },
        (None, None) => UNKNOWN,
    };
    ExitStatus::from_raw(raw)
}
