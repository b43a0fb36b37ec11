//! Calls to actors, with the ends that a call can have: Erlang's `gen_server:call`.
//!
//! It adds to ractor's own `call` what a caller must know when there is no answer: whether the actor was not there, was
//! too slow, or ended, and how. It is for any ractor actor; a child of one of our supervisors also tells how it ended.

use std::future::Future;
use std::time::Duration;

use ractor::{ActorRef, ActorStatus, Message, RpcReplyPort};
use treewarden_otp_core::ExitReason;

use super::child::RunningChild;

/// Says why a call was not answered.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The actor had ended before the call.
    #[error("call the actor: it has ended")]
    NoProc,
    /// There was no answer in time; one that comes later is dropped.
    #[error("call the actor: no answer within {0:?}")]
    Timeout(Duration),
    /// The actor ended before it answered; how, where its supervisor is one of ours.
    #[error("call the actor: it ended before it answered{}", shown(.0.as_ref()))]
    Exited(Option<ExitReason>),
    /// The child's actor takes messages of another type.
    #[error("call the actor: it takes no messages of type {0}")]
    WrongMessage(&'static str),
}

fn shown(reason: Option<&ExitReason>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

/// Calls an actor: sends it the message that `message` makes around a reply port, and waits for the reply.
///
/// An actor that drops the port and lives on has not answered: that is a timeout, as in Erlang. An actor that calls
/// itself waits for its own next message, so that is one too.
///
/// # Errors
///
/// The actor has ended, ends before it answers, or does not answer within `limit`.
///
/// # Cancel safety
///
/// When the future is dropped the actor may still handle the message; its reply is dropped.
pub async fn call<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    limit: Duration,
    message: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Result<T, CallError> {
    let ended = async {
        // Without a time limit there is nothing that can fail.
        let _ = actor.wait(None).await;
        None
    };
    exchange(actor, limit, message, ended).await
}

impl RunningChild {
    /// Calls the child's actor, as [`call`] does, and learns how it ended where it does not answer.
    ///
    /// # Errors
    ///
    /// As [`call`], or the child takes messages of another type than `M`.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the actor may still handle the message; its reply is dropped.
    pub async fn call<M: Message, T: Send + 'static>(
        &self,
        limit: Duration,
        message: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, CallError> {
        if self.cell().is_message_type_of::<M>() == Some(false) {
            return Err(CallError::WrongMessage(std::any::type_name::<M>()));
        }
        let actor = ActorRef::<M>::from(self.cell().clone());
        exchange(&actor, limit, message, async { Some(self.wait().await) }).await
    }
}

async fn exchange<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    limit: Duration,
    message: impl FnOnce(RpcReplyPort<T>) -> M,
    ended: impl Future<Output = Option<ExitReason>>,
) -> Result<T, CallError> {
    // Before it is asked: an actor that ends later was there, and whoever calls may want to know how it
    // ended.
    if actor.get_status() == ActorStatus::Stopped {
        return Err(CallError::NoProc);
    }
    let (port, answer) = ractor::concurrency::oneshot();
    let asked = actor.cast(message(port.into())).is_ok();
    let answered = async {
        if asked && let Ok(reply) = answer.await {
            return Ok(reply);
        }
        // Nobody has the port any more: the actor is ending, or will never answer.
        Err(CallError::Exited(ended.await))
    };
    tokio::time::timeout(limit, answered).await.unwrap_or(Err(CallError::Timeout(limit)))
}
