//! The session machine: the life of one CLI process, and of the turns that it answers.
//!
//! One [`Machine`] lives as long as one CLI: whoever drives it makes a new one for each (re)spawn, and hands it the
//! turns that are still open, in order. So an incarnation that takes over after a crash and one that takes over
//! after a restart of the whole host run the same code.
//!
//! ```text
//!             Spawned          Initialized            turn waiting
//!  Starting ──────────► Initializing ────────► Ready ─────────────► Busy
//!     │                      │                  │ ▲                  │ │
//!     │ StartFailed          │ no answer        │ └──── result ──────┘ │ interrupt, deadline,
//!     ▼                      ▼                  │ ▲                    ▼ dropped stream
//!   Ended ◄──────────── Stopping ◄──────────────┘ └──── result ──── Draining
//!     ▲     Exited          ▲   idle, stop, clear                      │
//!     └─────────────────────┴───────────── no result in time ──────────┘
//! ```
//!
//! A failure to start that passes leads to `Waiting`, and from there to `Starting` again; see `starts.rs`.
//!
//! The machine decides; it does no I/O and reads no clock. [`Machine::handle`] takes the time and an [`Event`] and
//! puts [`Action`]s into a list; [`Machine::poll_timeout`] says when to call [`Machine::handle_timeout`].
//!
//! # What it promises
//!
//! * At most one turn is in the CLI at a time, and turns begin in the order in which they were opened.
//! * Each turn is settled at most once by one machine, and a turn that a crash left open is settled by a later one.
//! * No turn begins while an outcome is neither stored nor in the host's hand (`Settling`, which is `Ready` until then).
//! * A result is given to the turn that it names. Where the CLI names none, it is given by position only while
//!   nothing else can have caused it, and otherwise by what the transcript says; never by a guess.
//! * No turn is sent into what the CLI works at by itself, for a time, and no CLI is ended for convenience at such work, or
//!   while its last answer is not on disk.
//! * No turn is sent into a usage limit that is known, and one that met it, or a failure of the model API that may pass, is gone
//!   on with: its prompt is never sent a second time.
//! * A turn has an outcome within its time also where no CLI comes up, and one that was sent is never told as not started.
//! * A stop is obeyed in every state, within the time of its ladder.

mod at_hand;
mod clears;
mod cli_version;
mod config;
mod denied;
mod ending;
mod event;
mod evidence;
mod exit_class;
mod flight;
mod leave;
mod limited;
mod machine;
mod outcome;
mod own_work;
mod prompt;
mod queue;
mod settle;
mod settling;
mod start_failure;
mod starts;
mod state;

pub use cli_version::{CliVersion, InvalidVersion, unfit};
pub use config::Config;
pub use denied::Denied;
pub use event::{
    Action, End, Event, Fact, Found, Item, Lifecycle, OpenTurn, Opening, ResultFact, Settlement, Start,
    StartFailure, StopReason,
};
pub use evidence::{Evidence, Whose, may_pass};
pub use exit_class::{CrashKind, ExitClass, ExitFacts, Permanent, PermanentKind};
pub use flight::{Delivery, DrainReason};
pub use leave::Saved;
pub use limited::{OnLimit, Patience};
pub use machine::{Machine, State};
pub use outcome::{Answer, Failure, FailureKind, Outcome, OutcomeRecord};
pub use own_work::OwnWork;
pub use prompt::Prompt;
pub use queue::{Attached, CONSUMERS, Command, Entry, PROMPTS, QUEUE, Queue, Room, TurnEntry};
pub use start_failure::{PASSING, Passes, Passing};
pub use state::SessionState;
