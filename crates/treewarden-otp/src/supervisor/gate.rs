//! The actor that stands for a supervisor in other trees: to link to, to stop, to kill.
//!
//! It has no children of its own, so ractor's kill sweep finds nothing. Stopped, it waits until the driver has stopped
//! every child; killed, the driver sees its task end and takes the children down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::watch;
use treewarden_otp_core::ExitReason;

use super::drive::Bell;
use super::feed::Feed;
use super::live::Report;
use super::run::ExitReasons;
use super::start::Place;

/// What others want of the driver besides calls.
#[derive(Debug)]
pub(super) struct Control {
    stop: Mutex<Option<ExitReason>>,
    /// Whether `stop` holds a reason: the driver looks before each step.
    asked: AtomicBool,
    suspended: AtomicBool,
    bell: Arc<Bell>,
}

impl Control {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        let (asked, suspended) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { stop: Mutex::default(), asked, suspended, bell }
    }

    /// Asks for the end; the first reason counts.
    pub(super) fn stop(&self, reason: ExitReason) {
        let mut wanted = self.wanted();
        wanted.get_or_insert(reason);
        // Under the lock, and behind the reason: whoever sees it finds one, or somebody else has taken it.
        self.asked.store(true, Ordering::SeqCst);
        drop(wanted);
        self.bell.ring();
    }

    pub(super) fn take_stop(&self) -> Option<ExitReason> {
        if !self.asked.load(Ordering::SeqCst) {
            return None;
        }
        let mut wanted = self.wanted();
        // Under the lock as well, or a stop that is asked for just now would be cleared before it was seen.
        self.asked.store(false, Ordering::SeqCst);
        wanted.take()
    }

    fn wanted(&self) -> MutexGuard<'_, Option<ExitReason>> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_suspended(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::SeqCst);
        self.bell.ring();
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::SeqCst)
    }
}

/// How a supervisor ended, once it has.
pub(super) type Done = watch::Receiver<Option<ExitReason>>;

pub(super) struct Gate {
    pub(super) control: Arc<Control>,
    pub(super) done: Done,
    pub(super) exit_reasons: Option<ExitReasons>,
    pub(super) place: Place,
    pub(super) feed: Feed,
}

#[ractor::actor(message = (), state = (), arguments = ())]
impl Gate {
    async fn pre_start(&self, _myself: ActorRef<()>, _args: ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<()>,
        _message: (),
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.feed.publish(&self.place, Report::UnexpectedMessage);
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<()>, _state: &mut ()) -> Result<(), ActorProcessingErr> {
        let told = self.exit_reasons.as_ref().and_then(ExitReasons::told);
        // A gate that is stopped by ractor's own means brings no typed reason: for the children that is a
        // shutdown.
        self.control.stop(told.unwrap_or(ExitReason::Shutdown));
        // An error means that the driver is gone, which is the same.
        let _ = self.done.clone().wait_for(Option::is_some).await;
        Ok(())
    }
}
