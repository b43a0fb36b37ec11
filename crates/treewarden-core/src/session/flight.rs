//! The turn that is in the CLI.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use treewarden_proto::TurnId;

use super::event::OpenTurn;
use super::limited::{Pause, numbers};

/// What a crash means to a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// The turn is carried on by the next incarnation, and stands in the conversation once.
    #[default]
    ExactlyOnce,
    /// The turn fails; it may have run.
    AtMostOnce,
}

/// Why a running turn is made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainReason {
    /// Somebody interrupted or cancelled it, or dropped its stream.
    Interrupted,
    /// Its time is over.
    TimedOut,
    /// The model API refuses the credentials, so that it cannot end well.
    CredentialsRefused,
}

/// The turn that was written to the CLI.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) open: OpenTurn,
    /// An earlier incarnation wrote it too.
    pub(super) taken_over: bool,
    /// The CLI reported it complete.
    pub(super) completed: bool,
    /// The CLI is idle as far as we know.
    pub(super) idle: bool,
    /// The CLI waits for us.
    pub(super) awaits_host: bool,
    /// When the last frame came.
    pub(super) last_activity: Instant,
    /// When the probe was sent, while it is unanswered.
    pub(super) probed_at: Option<Instant>,
    /// When the transcript is to be asked.
    pub(super) read_at: Option<Instant>,
    /// A read of the transcript is under way.
    pub(super) reading: bool,
    pub(super) reads: u32,
    /// This incarnation asked the CLI to go on.
    pub(super) nudged: bool,
    /// How often the credentials were refused.
    pub(super) refusals: u32,
    /// How often the model API failed it, and it was gone on with.
    pub(super) failures: u32,
    /// It waits for the model API.
    pub(super) pause: Option<Pause>,
    /// The CLI was asked to go on with it after a pause.
    pub(super) goes_on: bool,
    /// Why and until when it drains.
    pub(super) drain: Option<(DrainReason, Instant)>,
}

impl Flight {
    pub(super) fn new(open: OpenTurn, now: Instant) -> Self {
        Self {
            // The present dispatch is counted already.
            taken_over: open.attempts > 1,
            open,
            completed: false,
            idle: false,
            awaits_host: false,
            last_activity: now,
            probed_at: None,
            read_at: None,
            reading: false,
            reads: 0,
            nudged: false,
            refusals: 0,
            failures: 0,
            pause: None,
            goes_on: false,
            drain: None,
        }
    }

    pub(super) fn turn(&self) -> TurnId {
        self.open.turn
    }

    /// Tells whether the id is the turn's: its prompt's, or that of a message that asked for it to go on.
    pub(super) fn is(&self, id: TurnId) -> bool {
        is_of(&self.open, id)
    }
}

/// Tells whether the id is the turn's; each incarnation nudges once at most, under its own number.
pub(super) fn is_of(open: &OpenTurn, id: TurnId) -> bool {
    // From 1: the number of a nudge is that of the incarnation that sent it. A nudge of a CLI that died may
    // be answered by its successor.
    ids_of(open).any(|own| own == id)
}

/// Tells whether one of many ids is the turn's: a line of a CLI may name a million of them, so that each of the turn's few is looked
/// for among them, and not the other way round.
pub(super) fn is_of_any(open: &OpenTurn, named: impl Fn(&TurnId) -> bool) -> bool {
    ids_of(open).any(|own| named(&own))
}

fn ids_of(open: &OpenTurn) -> impl Iterator<Item = TurnId> {
    let turn = open.turn;
    std::iter::once(turn)
        .chain((1..=open.attempts).chain(numbers(open)).map(move |attempt| turn.nudge(attempt)))
}
