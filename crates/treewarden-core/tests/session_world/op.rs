//! What can happen to the world.

use treewarden_core::session::StopReason;

/// What happens next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Enqueue {
        at_most_once: bool,
    },
    Clear,
    Cancel(u8),
    Interrupt,
    Stop(StopReason),
    /// The session's options change.
    Renew,
    /// The CLI takes too much memory.
    TooLarge,
    /// The CLI goes a step.
    Step {
        limited: bool,
    },
    /// A frame is read.
    Read,
    /// The driver finishes something that it was told to do.
    Drive {
        fails: bool,
    },
    /// The start waits for a place, or does so no longer.
    Crowd {
        waits: bool,
    },
    /// The system is short of what a CLI needs.
    Short,
    /// This many writes of the CLI reach the disk.
    Flush(u8),
    Kill,
    Freeze,
    /// The CLI cannot be ended as a whole.
    Survive,
    Stray {
        named: bool,
    },
    /// The store answers about an outcome, or takes what is in hand.
    Store,
    /// The store takes no more outcomes for now: what it was asked for stays in hand.
    Refuse,
    /// The CLI is to work by itself.
    Own,
    /// The CLI has so many background tasks.
    Tasks(u8),
    /// Time passes, up to the next deadline.
    Wait(u16),
    /// The next deadline comes.
    Deadline,
}
