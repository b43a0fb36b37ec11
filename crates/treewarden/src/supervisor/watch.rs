//! The actor that children are linked to. It never waits for anything, so what it is told about is dropped at once.
//!
//! ractor puts the final state of a child into the event of its end, and leaves it there until the event is handled. A
//! supervisor that handles events and also waits for other children would keep that state alive past the start of the
//! child's successor. So this actor drops it, and passes on only which child ended and how.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::{ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::Notify;
use treewarden_core::ExitReason;

use super::reason::exit_reason;

/// Something the watcher saw.
#[derive(Debug)]
pub(super) enum Notice {
    /// A child's actor has ended, and its state is dropped.
    Ended(ActorId, ExitReason),
    /// Every end before the question was noted before this.
    Caught,
}

/// The notices that the driver has not taken yet; never more than one for each child and question.
#[derive(Debug, Default)]
pub(super) struct Notices {
    queue: Mutex<VecDeque<Notice>>,
    pub(super) notify: Notify,
}

impl Notices {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Notice>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, notice: Notice) {
        self.lock().push_back(notice);
        self.notify.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Notice> {
        self.lock().pop_front()
    }
}

pub(super) struct Watcher {
    pub(super) notices: Arc<Notices>,
}

#[ractor::actor(message = (), state = (), arguments = ())]
impl Watcher {
    async fn pre_start(&self, _myself: ActorRef<()>, _args: ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<()>,
        _message: (),
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.notices.push(Notice::Caught);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, state, text) => {
                // A state whose drop panics must not take the watcher, and with it every child, along.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
                self.notices.push(Notice::Ended(cell.get_id(), exit_reason(text.as_deref())));
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                self.notices.push(Notice::Ended(cell.get_id(), ExitReason::from_boxed(error)));
            }
            _ => {}
        }
        Ok(())
    }
}
