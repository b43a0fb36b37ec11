//! How a clear is carried out while no CLI is up.
//!
//! A clear needs no CLI: one that is coming up would do so for nobody, and a conversation that is lost could not even be given
//! one. So a clear that is foremost waits for nothing that only a CLI needs: not for a place, a pause between two starts, or a
//! usage limit. It never overtakes a turn: that one belongs to the conversation of before. The clear in a CLI that is up is
//! `dispatch`'s.

use super::event::{Action, End, Item};
use super::machine::{Machine, Phase, Then};

impl<E> Machine<E> {
    /// Begins with what is foremost.
    pub(super) fn clear_or_start(&mut self, actions: &mut Vec<Action<E>>) {
        if self.clear_foremost(actions) && self.queue.is_empty() {
            self.end(End::Parked, actions);
        } else {
            self.start(None, actions);
        }
    }

    /// Does what needs no CLI, as long as none is up.
    pub(super) fn go_without_cli(&mut self, actions: &mut Vec<Action<E>>) {
        match self.phase {
            // What else waits goes on waiting.
            _ if self.is_put_off() => self.clear_or_park(actions),
            Phase::Starting | Phase::Initializing { .. } if self.is_clear_next() => {
                self.queue.pop_front();
                self.begin_stop(Then::Clear, Action::Kill, actions);
            }
            _ => {}
        }
    }

    /// Clears, and ends the incarnation if nothing else waits: a start that was put off would be made for nobody.
    fn clear_or_park(&mut self, actions: &mut Vec<Action<E>>) {
        self.clear_foremost(actions);
        if self.queue.is_empty() {
            self.end(End::Parked, actions);
        }
    }

    /// Tells whether a start was put off, so that nobody is at work on one.
    pub(super) fn is_put_off(&self) -> bool {
        match self.phase {
            Phase::Waiting { .. } => true,
            Phase::Starting => self.suspended_until.is_some(),
            _ => false,
        }
    }

    pub(super) fn is_clear_next(&self) -> bool {
        self.queue.front() == Some(&Item::Clear)
    }

    /// Carries out the clears that are foremost; `false` if there is none.
    fn clear_foremost(&mut self, actions: &mut Vec<Action<E>>) -> bool {
        let any = self.is_clear_next();
        while self.is_clear_next() {
            self.queue.pop_front();
            actions.push(Action::NewConversation);
        }
        any
    }
}
