//! The actor that children are linked to. It never waits for anything, so what it is told about is dropped at once.
//!
//! ractor puts the final state of a child into the event of its end, and leaves it there until the event is handled. A
//! supervisor that handles events and also waits for other children would keep that state alive past the start of the
//! child's successor. So this actor drops it, and notes for the driver which child ended and how.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ractor::{ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc;
use treewarden_otp_core::ExitReason;

use super::reason::exit_reason;

/// Something the watcher saw; of those that the driver has not taken yet there is never more than one for each child and ring.
#[derive(Debug)]
pub(super) enum Notice {
    /// A child's actor has ended, and its state is dropped.
    Ended(ActorId, ExitReason),
    /// So many of the driver's empty messages were heard: every end that came before one of them was noted before this.
    Caught(u64),
}

pub(super) struct Watcher {
    pub(super) notices: mpsc::UnboundedSender<Notice>,
}

impl Watcher {
    fn note(&self, notice: Notice) {
        // Without a driver nobody wants to know.
        let _ = self.notices.send(notice);
    }
}

// The state is how many empty messages of the driver were heard.
#[ractor::actor(message = (), state = u64, arguments = ())]
impl Watcher {
    async fn pre_start(&self, _myself: ActorRef<()>, _args: ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _myself: ActorRef<()>,
        _message: (),
        heard: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        *heard += 1;
        self.note(Notice::Caught(*heard));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        _heard: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, state, text) => {
                // A state whose drop panics must not take the watcher, and with it every child, along.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
                self.note(Notice::Ended(cell.get_id(), exit_reason(text.as_deref())));
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                self.note(Notice::Ended(cell.get_id(), ExitReason::from_boxed(error)));
            }
            _ => {}
        }
        Ok(())
    }
}
