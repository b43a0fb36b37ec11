//! The first process of a tree, from its spawn to its reaping.

use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{self, Signal, WaitId, WaitIdOptions};
use tokio::sync::watch;

use crate::pid::Pid;

/// The leader of a tree. A thread of its own waits for it, so that it is reaped once, with or without a runtime.
#[derive(Debug)]
pub(crate) struct Leader {
    pid: Pid,
    /// The handle, until it is reaped: while it is here, nothing else can have the id.
    child: Mutex<Option<Child>>,
    status: watch::Sender<Option<ExitStatus>>,
}

impl Leader {
    pub(crate) fn new(child: Child) -> std::io::Result<Arc<Self>> {
        let pid = Pid::new(child.id()).expect("a child is neither the kernel nor the first process");
        let status = watch::Sender::new(None);
        let leader = Arc::new(Self { pid, child: Mutex::new(Some(child)), status });
        let waiting = Arc::clone(&leader);
        std::thread::Builder::new()
            .name(format!("treewarden-wait-{pid}"))
            .stack_size(64 << 10)
            .spawn(move || waiting.wait())?;
        Ok(leader)
    }

    fn wait(&self) {
        // Left as a zombie at first: until the lock is held, the id must stay ours.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = process::waitid(WaitId::Pid(self.pid.as_rustix()), options) {
        }
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        let status = child.and_then(|mut child| child.wait().ok());
        self.status.send_replace(status.or_else(|| Some(ExitStatus::default())));
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<ExitStatus>> {
        self.status.subscribe()
    }

    /// Sends a signal to the leader alone; `false` if it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.is_some() && process::kill_process(self.pid.as_rustix(), signal).is_ok()
    }

    /// Sends a signal to the leader's process group; `false` if the leader is gone, and the group's id with it.
    pub(crate) fn signal_group(&self, signal: Signal) -> bool {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.is_some() && process::kill_process_group(self.pid.as_rustix(), signal).is_ok()
    }
}
