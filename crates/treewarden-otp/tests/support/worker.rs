//! The worker of the tests: it idles until its first message, at which it fails.

use ractor::{Actor, ActorProcessingErr, ActorRef};
use treewarden_otp::supervisor::{ChildSpec, RunningChild};

/// Fails at the first message.
pub(crate) struct Worker;

impl Actor for Worker {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err("asked to fail".into())
    }
}

pub(crate) fn worker(id: &str) -> ChildSpec {
    ChildSpec::actor(id, || (Worker, ()))
}

/// Makes a worker fail.
pub(crate) fn crash(child: &RunningChild) {
    let actor = child.extension::<ActorRef<()>>().expect("the child is a worker");
    actor.cast(()).expect("the worker takes messages");
}
