//! What goes into the session machine, and what comes out.

use std::time::{Duration, Instant};

use treewarden_proto::TurnId;

use super::config::Config;
use super::exit_class::{ExitClass, Permanent};
use super::flight::{Delivery, DrainReason};
use super::leave::Saved;
use super::limited::Patience;
use super::start_failure::Passing;

/// How the CLI of this incarnation is to be opened; decided from what the transcript holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Nothing of the conversation is on disk yet.
    Fresh,
    /// The conversation is resumed.
    Resume,
}

/// What the first [`Action::Start`] of an incarnation asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Force this opening instead of what the transcript says; set after the CLI refused the other one.
    pub opening: Option<Opening>,
    /// Have the CLI run the turn again that was under way when its predecessor died.
    ///
    /// Set only while that turn is still open: a CLI told so without a turn to take it over would run a prompt that
    /// nobody waits for.
    pub rerun: bool,
}

/// A turn that waits for its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTurn {
    /// Its id, and the `uuid` of its user frame.
    pub turn: TurnId,
    /// How many incarnations have written it to a CLI before.
    pub attempts: u32,
    /// Whether a crash fails it or carries it on.
    pub delivery: Delivery,
    /// How long it may take from when it is the foremost; `None` is without limit.
    ///
    /// It runs while its CLI starts and restarts, and stands still while the session waits for a place among the live CLIs. In
    /// a CLI that is up it begins when the turn is sent.
    pub timeout: Option<Duration>,
    /// When that time is over, if it has begun in this host.
    pub deadline: Option<Instant>,
    /// How long it bears with the model API.
    pub patience: Patience,
}

/// What waits in a session's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A prompt.
    Turn(OpenTurn),
    /// A request for a new conversation, in its place between the turns.
    Clear,
}

impl Item {
    pub(super) fn turn_mut(&mut self) -> Option<&mut OpenTurn> {
        match self {
            Self::Turn(turn) => Some(turn),
            Self::Clear => None,
        }
    }

    pub(super) fn into_turn(self) -> Option<OpenTurn> {
        match self {
            Self::Turn(turn) => Some(turn),
            Self::Clear => None,
        }
    }
}

/// The state of a prompt in the CLI's own queue (`command_lifecycle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Taken, not begun.
    Queued,
    /// Begun.
    Started,
    /// Done with; a result may or may not follow.
    Completed,
    /// Given up: interrupted, cancelled, discarded or refused.
    Dropped,
}

/// What a `result` frame says, as far as the machine cares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResultFact<E = ()> {
    /// The frame, for whoever makes an outcome of it: the settlement that this result leads to carries it.
    pub evidence: E,
    /// The prompts that the result names.
    pub turns: Vec<TurnId>,
    /// It ended because it was aborted (`terminal_reason` `aborted_*`).
    pub aborted: bool,
    /// Something other than a prompt caused it (`origin`): a background task, a peer.
    pub unsolicited: bool,
    /// The usage limit was hit, and is lifted after this time.
    pub limited_for: Option<Duration>,
    /// The model API failed in a way that may pass: it was overloaded, or broke off.
    pub may_pass: bool,
}

/// What one frame of the CLI means to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<E = ()> {
    /// The CLI lives; nothing more.
    Activity,
    /// A prompt moved through the CLI's queue.
    Lifecycle(TurnId, Lifecycle),
    /// A turn ended.
    Result(ResultFact<E>),
    /// The CLI says that it is idle.
    Idle,
    /// The CLI says that it is at work.
    Running,
    /// The CLI begins a turn (`init`).
    TurnBegan,
    /// A background task ended (`task_notification`).
    TaskEnded,
    /// The CLI has so many background tasks from now on (`background_tasks_changed`).
    BackgroundTasks(usize),
    /// A hook refused the prompt of a turn that was woven into one of the CLI's own: no result will name it, and the
    /// CLI goes on with its own. The notice that says so is the evidence.
    Refused(TurnId, E),
    /// The CLI waits for the host, which owes it an answer or does not read: silence is not its fault.
    AwaitsHost,
    /// The model API keeps refusing the credentials.
    CredentialsRefused,
}

/// Why a CLI did not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFailure {
    /// `--session-id` was refused since the id exists, in these words.
    IdInUse(Permanent),
    /// `--resume` was refused since the id does not exist, in these words.
    NoConversation(Permanent),
    /// It does not know a flag that it was given on trial, and comes up without it.
    UnknownFlag(Permanent),
    /// It will not come up, however often it is tried.
    Permanent(Permanent),
    /// It may come up the next time.
    Passing(Passing),
    /// The system is short of what a CLI needs (descriptors, processes, memory, room on a disk), and says so in these words: the start waits
    /// as for a place.
    Shortage(String),
    /// It was not started: what waits for it would meet a usage limit, which is lifted after this time.
    Limited(Duration),
}

/// Why a session is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for this session to stop: its turns end with it.
    Requested,
    /// Its supervisor stops it: its open turns stay open for the next incarnation.
    Shutdown,
    /// Its place is needed: only an idle session parks, and only if its last answer is on disk.
    Park,
}

/// What the transcript holds of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<E = ()> {
    /// Its answer, complete, which is the evidence.
    Answer(E),
    /// A note that it was interrupted.
    Interruption,
    /// No end of it.
    Nothing,
    /// No end of it, and another writer went on with the conversation behind its prompt.
    Overtaken,
}

/// What happens to a session.
///
/// `E` is the evidence that an outcome is made of: a frame, or an answer in the transcript. The machine never looks at it;
/// it hands what came with an event to the [`Settlement`] that it reaches by that event, and to no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<E = ()> {
    /// Something joined the queue.
    Enqueue(Item),
    /// A turn is to end: out of the queue, or interrupted if it runs.
    Cancel(TurnId, DrainReason),
    /// What the CLI works at by itself is to be interrupted; a turn is ended by its [`Cancel`](Self::Cancel).
    InterruptOwnWork,
    /// The start waits for a place among the live CLIs, or does so no longer.
    AwaitsPlace(bool),
    /// The CLI's process exists.
    Spawned,
    /// The CLI did not come up.
    StartFailed(StartFailure),
    /// The CLI answered `initialize`.
    Initialized {
        /// It reports the life of each prompt and names prompts on results (`msg_lifecycle_v1`); a CLI that does not
        /// say so here shows it with its first [`Fact::Lifecycle`].
        lifecycle: bool,
    },
    /// A turn that was to be sent is not, for this reason; the CLI has seen nothing of it.
    Unsent(TurnId, Permanent),
    /// The turn that was to be sent is not: what has to be stored before, or known of the CLI, is not yet.
    Held(TurnId),
    /// The turn that was to be sent, or gone on with, is not: a usage limit is known, which is lifted after this time.
    Limited(TurnId, Duration),
    /// The machine slept so long, which the clock of this machine did not count.
    Slept(Duration),
    /// What the turn was [held](Self::Held) for is stored, or known.
    Released(TurnId),
    /// The outcome of a turn is stored; or the store does not take it, and the host has it in hand.
    Settled(TurnId),
    /// A frame came.
    Frame(Fact<E>),
    /// The CLI answered the probe.
    ProbeAnswered,
    /// The transcript was asked for the answer to a turn.
    TranscriptRead(TurnId, Found<E>),
    /// The disk was looked at, as [`Action::LookOnDisk`] asked.
    OnDisk(Saved),
    /// The CLI is gone, and all it wrote was read.
    Exited(ExitClass),
    /// The session is to stop.
    Stop(StopReason),
    /// The CLI and what it started take more memory than they should: another is to take its place, between two turns.
    TooLarge,
    /// The session has other options from now on.
    Configure {
        /// Its times and limits.
        config: Config,
        /// The CLI was started with what no longer holds: another is to take its place, between two turns.
        renew: bool,
    },
}

/// How a turn came out, with the evidence that it was judged by; see [`Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement<E = ()> {
    /// This result frame is its answer (or its error).
    Result(E),
    /// This answer stands in the transcript.
    Transcript(E),
    /// A hook refused its prompt, as this notice says.
    Refused(E),
    /// It was interrupted.
    Interrupted,
    /// It never ran.
    Cancelled,
    /// It ran out of its time; with the result that it was cut short by, if there was one.
    TimedOut(Option<E>),
    /// It ran out of its time, and what kept it was this: no CLI was up.
    NotInTime(String),
    /// The CLI died under it, and it must not run again.
    Crashed,
    /// The model API refuses the credentials; with the result that it was cut short by, if there was one.
    CredentialsRefused(Option<E>),
    /// Another writer went on with the conversation behind its prompt: what comes now would be an answer to that.
    Overtaken,
    /// The session cannot start, or the turn could not be sent; no CLI was ever sent it.
    NotStarted(Permanent),
    /// A CLI was sent it, and the session cannot start again.
    LeftOff(Permanent),
    /// What had to be stored before it was not stored in its time; nothing of it was sent.
    HeldUp,
    /// A usage limit is known that holds for longer than it waits; what was not sent of it, or not gone on with, is not.
    Limited,
}

/// What is to be done; `E` is the evidence of a settlement, see [`Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<E = ()> {
    /// Run the start procedure: old tree proven gone, lease, resume point, spawn.
    Start(Start),
    /// Send `initialize`, and whatever was changed at run time.
    Initialize,
    /// Write the user frame of this turn, or say that it is [held](Event::Held) or [limited](Event::Limited).
    Send(TurnId),
    /// Ask the CLI to go on with this turn, in a message of its own under this id.
    Nudge(TurnId, TurnId),
    /// Ask the CLI so once more, since the model API failed the turn; or say that it is [limited](Event::Limited).
    GoOn(TurnId, TurnId),
    /// Send an interrupt.
    Interrupt,
    /// Ask the CLI for a sign of life.
    Probe,
    /// Look for the answer to this turn in the transcript.
    ReadTranscript(TurnId),
    /// Look whether the last settled turn is on disk, and say so with [`Event::OnDisk`]; it takes the place of a look that
    /// has not been answered.
    LookOnDisk,
    /// Store the outcome of this turn, then deliver it, and say so with [`Event::Settled`]: no turn begins before that.
    Settle(TurnId, Settlement<E>),
    /// Say that the CLI is ended since it is [too large](Event::TooLarge); how it is ended comes next.
    Recycle,
    /// Walk down the stop ladder.
    Stop,
    /// Send SIGTERM, then SIGKILL: the CLI is to leave its turn as it stands.
    Terminate,
    /// Kill the whole tree now.
    Kill,
    /// Give the conversation a new id; the next start is a fresh one.
    NewConversation,
    /// Give the conversation, of which nothing must be on disk, another id: the CLI takes the one that it has for in use,
    /// and finds nothing under it.
    Rename,
    /// This incarnation is over.
    End(End),
}

/// How an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The CLI was stopped and the session lives on without one.
    Parked,
    /// The session was asked to stop.
    Stopped(StopReason),
    /// The CLI died, or had to be killed: the supervisor decides what follows.
    Crashed(ExitClass),
    /// The CLI cannot come up; trying again by itself would not help.
    Failed(Permanent),
}
