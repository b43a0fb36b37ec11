//! Named sessions: the handle, the actor, and the engine that owns one CLI.
//!
//! ```text
//!  Session ──┐                     ┌── SessionActor (ractor): starts the engine, ends as the engine ended
//!  Session ──┼──► Desk ◄───────────┤
//!  Turn ─────┘  queue, callers,    └── Engine: one task, one CLI, one session machine
//!               status, record
//! ```
//!
//! A [`Session`] is a cheap handle. What it is asked is put on the *desk*, which all incarnations of the session
//! share: the queue of open turns, whoever waits for them, the status. The *actor* is what a supervisor sees. The
//! *engine* lives while there is a CLI. When a CLI dies the engine ends, the actor ends with the same reason, the
//! supervisor starts another actor, and that one's engine finds the desk as it was.
//!
//! Nothing here decides what to do with a turn or a CLI: that is [`treewarden_core::session`].

mod actor;
mod child;
mod delivered;
mod desk;
mod directory;
mod engine;
mod error;
mod event;
mod handle;
mod lost_names;
mod options;
mod sink;
mod start_error;
mod status;
mod stream;
mod submit;
mod supervised;
mod text_events;
mod turn;

pub use actor::{CliCrashed, SessionActor, SessionActorState, SessionArguments};
pub(crate) use actor::{Owner, SessionChild};
pub use delivered::Delivered;
pub use directory::{TurnReport, Unsaved};
pub use error::{QueryError, QueryErrorKind};
pub use event::Event;
pub use handle::Session;
pub use lost_names::{Adopted, LostName};
pub use options::{CutOffTools, SessionOptions};
pub use start_error::{StartError, StartErrorKind};
pub use status::{CliFeatures, Status};
pub use stream::{Collected, Frames, Text, TextDeltas, ToolUses};
pub use text_events::{TextEvent, TextEvents};
pub use treewarden_core::limits::{Enforcement, Limits, NoSize, Size};
pub use treewarden_core::session::{
    Answer, CliVersion, Config as Timing, CrashKind, Delivery, Denied, ExitClass, ExitFacts, Failure,
    FailureKind, InvalidVersion, OnLimit, Outcome, Permanent, PermanentKind, Prompt, SessionState,
    StopReason,
};
pub use treewarden_proto::frame::{Spent, TokenUsage};
pub use turn::Turn;
