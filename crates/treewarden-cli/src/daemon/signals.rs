//! SIGTERM, SIGINT and SIGHUP, as one stream.

use std::fs::File;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// End the tree.
    End,
    /// Read the config file again.
    Reload,
}

/// The signals that the daemon obeys.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Never looked at.
    _too_large: Signal,
    had_terminal: bool,
    /// A reload was asked for when it could not be done.
    reload_later: bool,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            // Else a file that may not grow any more ends the daemon; so the write fails, and is told. A handler, and not
            // ignored: what is ignored stays so in every process that is started.
            _too_large: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            had_terminal: has_terminal(),
            reload_later: false,
        })
    }

    /// Waits for the next one; cancelling loses none.
    pub(super) async fn next(&mut self) -> Wish {
        if std::mem::take(&mut self.reload_later) { Wish::Reload } else { self.receive().await }
    }

    /// Waits for the next one that asks for the end; one that asks for a reload comes from [`next`](Self::next) later.
    pub(super) async fn end(&mut self) {
        // A hangup that comes while the tree starts is kept, and asked for by `next` when there is a tree to
        // reload.
        while self.receive().await == Wish::Reload {
            self.reload_later = true;
        }
    }

    async fn receive(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            // With its terminal gone nobody could stop the tree any more; a hangup that somebody sent is something else.
            _ = self.hangup.recv() => {
                if self.had_terminal && !has_terminal() { Wish::End } else { Wish::Reload }
            }
        }
    }
}

/// Whether the process has a terminal that could hang up.
fn has_terminal() -> bool {
    // `/dev/tty` can be opened only by a process that has a controlling terminal.
    File::open("/dev/tty").is_ok()
}
