//! The floor: the child that is crashed, and what one writes in bare ractor to restart it, or a group of it.

use std::time::Instant;

use ractor::concurrency::JoinHandle;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc::Sender;

/// When a child was born, and the child.
pub(crate) type Born = (Instant, ActorRef<()>);

/// Says when it was born; fails at the first message.
pub(crate) struct Trivial(pub(crate) Option<Sender<Born>>);

impl Actor for Trivial {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        if let Some(born) = &self.0 {
            let _ = born.try_send((Instant::now(), me));
        }
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err("asked to fail".into())
    }
}

/// Restarts all its children when one has failed: newest stopped first, each task awaited, then started in order.
///
/// With one child that is a plain respawn with join. Only the last child says when it was born: a measuring task that is
/// woken by each of them would be measured as well.
pub(crate) struct Bare {
    pub(crate) born: Sender<Born>,
    pub(crate) children: usize,
}

type Running = Vec<(ActorCell, JoinHandle<()>)>;

impl Bare {
    async fn start_all(&self, me: &ActorCell) -> Result<Running, ActorProcessingErr> {
        let mut children = Vec::with_capacity(self.children);
        for number in 1..=self.children {
            let child = Trivial((number == self.children).then(|| self.born.clone()));
            let (child, task) = Trivial::spawn_linked(None, child, (), me.clone()).await?;
            children.push((child.get_cell(), task));
        }
        Ok(children)
    }
}

impl Actor for Bare {
    type Msg = ();
    type State = Running;
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<()>, (): ()) -> Result<Running, ActorProcessingErr> {
        self.start_all(&me.get_cell()).await
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        children: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(failed, _) = event {
            while let Some((child, task)) = children.pop() {
                if child.get_id() != failed.get_id() {
                    child.stop(None);
                }
                let _ = task.await;
            }
            *children = self.start_all(&me.get_cell()).await?;
        }
        Ok(())
    }
}

/// A parent that does nothing: its children are only linked to it.
pub(crate) struct Parent;

impl Actor for Parent {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
