//! Supervises any ractor actor as OTP's supervisor does.
//!
//! The decisions are `treewarden_otp_core::supervisor`'s; this module starts and stops real actors for it. A supervisor is
//! three things: a *gate* (a ractor actor that stands for it in other trees: link it, stop it, kill it), a *watcher*
//! (a ractor actor that the children are linked to and that notes their ends), and a *driver* (which feeds the machine,
//! in a task of its own). It is not a place for sessions: they are children like any other.
//!
//! It promises: a child's next run begins after its last one's task has ended, its state is dropped and its
//! [`Resource`] is released; children are stopped newest first, each with its deadline, before the supervisor itself
//! ends; nothing is left for ractor's kill sweep; every call is answered.

mod alarm;
mod builder;
mod by_gate;
mod call;
mod child;
mod children;
mod drive;
mod driver;
mod feed;
mod gate;
mod handle;
mod live;
mod partition;
mod reap;
mod reason;
mod run;
mod runs;
mod spec;
mod start;
mod starting;
mod tasks;
mod update;
mod watch;

pub use builder::SupervisorBuilder;
pub use call::{CallError, call};
pub use child::{Child, Resource, RunningChild};
pub use children::{ChildInfo, ChildStarted, ChildState, ShownSpec, StartChildError};
pub use feed::{Feed, Lagged, SupervisionEvent};
pub use handle::{StartError, Supervisor};
pub use live::Report;
pub use partition::{PartitionSupervisor, ResizeError};
pub use reason::exit_reason;
pub use run::ExitReasons;
pub use spec::ChildSpec;
pub use start::{Info, StartChild, StartContext, StartFailure, StartFuture, Started, supervised};
pub use tasks::{Task, Tasks};
pub use update::{ApplyError, Diff};

pub use treewarden_otp_core::supervisor::{
    AutoShutdown, ChildId, Context, Counts, DeleteChildError, FailedToStartChild, FindChildError, Flags,
    FlagsError, GiveUp, InitError, Kind, NoProc, Offender, OffenderPid, Reason, Restart, RestartChildError,
    RunId, Shutdown, SpecError, StartCause, Strategy, UpdateError,
};
pub use treewarden_otp_core::{Backoff, Cause, ExitReason};
