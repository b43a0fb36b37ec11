//! The supervisor machine: OTP's `supervisor` and Elixir's `DynamicSupervisor` without I/O, clock or actors.
//!
//! [`Machine`] decides: which child to start, stop or restart, in which order, how often, and what to answer. It takes
//! `now` and an [`Event`], and hands out [`Action`]s and the time of its next deadline. It is not an actor and knows
//! none; whoever drives it starts and stops the real children and tells what became of that.
//!
//! It promises: one operation at a time, as an OTP supervisor does; never two runs of one child at once; never more
//! restarts than the budget allows; a stop that always gets through; exactly one answer to every call.
//!
//! ```text
//!            Init                 last child up
//!  (new) ───────────► starting ──────────────────► idle ◄──────────────┐
//!                        │ a start fails            │ exit, call, retry │ done
//!                        ▼                          ▼                   │
//!                    rolling back              one operation ───────────┘
//!                        │                          │ Stop, give up, auto-shutdown, Killed
//!                        ▼                          ▼
//!                    (finished) ◄──────────── stopping, newest child first
//! ```

mod calls;
mod child;
mod error;
mod event;
mod exits;
mod group;
mod machine;
mod report;
mod spec;
mod starting;
mod stopping;
mod timers;
mod update;

pub use error::{
    DeleteChildError, FailedToStartChild, FindChildError, InitError, NoProc, RestartChildError,
    StartChildError, UpdateError,
};
pub use event::{
    Action, ChildInfo, ChildStarted, ChildState, Counts, Event, Place, Reply, Request, RunId, StartCause,
    StartOrder, StartOutcome, Target, Types,
};
pub use machine::{Machine, Mode};
pub use report::{Context, Offender, OffenderPid, Reason, Report};
pub use spec::{
    AutoShutdown, ChildId, ChildSpec, Flags, FlagsError, GiveUp, Kind, Restart, Shutdown, SpecError, Strategy,
};
