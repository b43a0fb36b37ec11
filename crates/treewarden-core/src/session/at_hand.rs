//! The turn that a frame may belong to: the one in the CLI, or the one that a resumed CLI carries on by itself.
//!
//! A CLI that is resumed begins with the turn of its predecessor before it is sent anything, and may have answered it
//! before it answers `initialize`. What it prints of that turn names the turn, and belongs to it, dispatched or not:
//! otherwise its stream ends without the answer that the turn came to (seen with 2.1.330, on a machine under load).

use treewarden_proto::TurnId;
use treewarden_proto::frame::TurnIds;

use super::event::{Action, Item, OpenTurn, ResultFact, Settlement};
use super::flight::{is_of, is_of_any};
use super::machine::{Machine, Phase};

impl<E> Machine<E> {
    /// The turn that is in the CLI, with its deadline.
    pub fn in_flight(&self) -> Option<&OpenTurn> {
        self.flight.as_ref().map(|flight| &flight.open)
    }

    /// The turn that is in the CLI; while none is, the one that the CLI may be carrying on by itself.
    pub fn at_hand(&self) -> Option<&OpenTurn> {
        self.in_flight().or_else(|| self.carried_on())
    }

    /// Tells whether the id is that of the turn [at hand](Self::at_hand), or of a message that asked for it to go on.
    pub fn is_at_hand(&self, id: TurnId) -> bool {
        self.at_hand().is_some_and(|open| is_of(open, id))
    }

    /// Tells whether a frame that names no prompt can only be the turn's that is in the CLI.
    pub fn answers_by_position(&self) -> bool {
        !self.lifecycle && self.flight.is_some() && !self.needs_transcript()
    }

    /// Tells whether only the transcript can say how the turn in the CLI came out.
    pub(super) fn needs_transcript(&self) -> bool {
        let taken_over = self.flight.as_ref().is_some_and(|flight| flight.taken_over);
        !self.lifecycle && (self.rerunning || taken_over)
    }

    /// Tells whether a frame that names these turns names the one [at hand](Self::at_hand), or a message that asked for it to
    /// go on.
    pub fn is_one_at_hand(&self, ids: &TurnIds) -> bool {
        // Most frames name none, and to make the ids of those messages takes longer than the frame itself.
        !ids.is_empty() && self.at_hand().is_some_and(|open| is_of_any(open, |id| ids.contains(id)))
    }

    fn carried_on(&self) -> Option<&OpenTurn> {
        let up = matches!(self.phase, Phase::Initializing { .. } | Phase::Open);
        match self.queue.front() {
            // Only a turn that a CLI had before: of one that was never sent, nothing that this CLI prints can
            // be.
            Some(Item::Turn(turn)) if up && turn.attempts > 0 => Some(turn),
            _ => None,
        }
    }

    /// Settles the turn that the CLI carried on before it was sent to it, if the result is its.
    pub(super) fn settle_carried_on(&mut self, result: ResultFact<E>, actions: &mut Vec<Action<E>>) {
        let Some(turn) = self.carried_on() else { return };
        // Nobody who is there now asked for this abort: the turn is sent again, and has its outcome so.
        // Nor is what the model API failed settled: it is sent again, and gone on with.
        let goes_on =
            result.may_pass || (result.limited_for.is_some() && turn.patience.limit_until.is_some());
        if result.aborted || goes_on || !is_of_any(turn, |id| result.turns.contains(id)) {
            return;
        }
        let turn = turn.turn;
        // Out of the queue before it is settled: the dispatch that follows would send a prompt that is
        // answered, and the CLI would have it twice.
        self.queue.pop_front();
        self.rerunning = false;
        self.outcome(turn, Settlement::Result(result.evidence), false, actions);
    }
}
