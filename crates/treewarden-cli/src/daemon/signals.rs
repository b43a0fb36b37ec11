//! SIGTERM and SIGINT, as one stream.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask the tree to end.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one; cancelling loses none.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            // The terminal is gone, and nobody could stop the tree any more.
            _ = self.hangup.recv() => {}
        }
    }
}
