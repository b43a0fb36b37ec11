//! The traps of ractor that have nothing to do with the end of a run, and a panic in every callback.

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, ActorRuntime, RpcReplyPort, SupervisionEvent};
use treewarden_otp::registry::Registry;
use treewarden_otp::supervisor::{
    CallError, Child, ChildSpec, ExitReason, Resource, Restart, StartContext, StartFailure, Supervisor,
};

use support::eventually;

#[derive(Debug, Clone, Copy, PartialEq)]
enum In {
    PreStart,
    PostStart,
    Handle,
    Event,
    PostStop,
    Drop,
    Nowhere,
}

enum Msg {
    Go,
    Block,
    Ask(RpcReplyPort<()>),
}

/// Panics in one of its callbacks, at its first run.
struct Panics {
    place: In,
    runs: Arc<AtomicU32>,
}

struct State(bool);

impl Drop for State {
    fn drop(&mut self) {
        if self.0 {
            std::panic::resume_unwind(Box::new("in drop"));
        }
    }
}

impl Panics {
    fn at(&self, place: In) {
        if self.place == place && self.runs.load(Ordering::SeqCst) == 1 {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
}

impl Actor for Panics {
    type Msg = Msg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<State, ActorProcessingErr> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.at(In::PreStart);
        Ok(State(self.place == In::Drop && self.runs.load(Ordering::SeqCst) == 1))
    }

    async fn post_start(&self, _: ActorRef<Msg>, _: &mut State) -> Result<(), ActorProcessingErr> {
        self.at(In::PostStart);
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Msg>, msg: Msg, _: &mut State) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Go if self.place == In::Event => {
                let runs = Arc::new(AtomicU32::new(5));
                let (child, _) =
                    Self::spawn_linked(None, Self { place: In::Nowhere, runs }, (), me.get_cell()).await?;
                child.stop(None);
            }
            Msg::Go => {
                self.at(In::Handle);
                me.stop(None);
            }
            Msg::Block => tokio::time::sleep(Duration::from_millis(50)).await,
            Msg::Ask(port) => drop(port.send(())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Msg>,
        event: SupervisionEvent,
        _: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorTerminated(..) = event {
            self.at(In::Event);
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Msg>, _: &mut State) -> Result<(), ActorProcessingErr> {
        self.at(In::PostStop);
        Ok(())
    }
}

fn panics(id: &str, place: In, runs: &Arc<AtomicU32>) -> ChildSpec {
    let runs = runs.clone();
    ChildSpec::actor(id, move || (Panics { place, runs: runs.clone() }, ()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_every_callback_restarts_its_child_and_nobody_else() {
    for place in [In::PostStart, In::Handle, In::Event, In::PostStop, In::Drop] {
        let (runs, other) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(7)));
        let supervisor = Supervisor::builder()
            .max_restarts(1)
            .child(panics("weak", place, &runs))
            .child(panics("bystander", In::Nowhere, &other))
            .start()
            .await
            .unwrap();
        let bystander = supervisor.child("bystander").await.unwrap();
        if place != In::PostStart {
            let weak = supervisor.child("weak").await.unwrap();
            weak.extension::<ActorRef<Msg>>().unwrap().cast(Msg::Go).unwrap();
        }
        eventually(async || {
            supervisor.child("weak").await.ok().filter(|child| child.run_id().incarnation == 2)
        })
        .await;
        assert_eq!(supervisor.child("bystander").await.unwrap(), bystander, "{place:?}");
        supervisor.stop(ExitReason::Shutdown).await;
    }
}

#[tokio::test]
async fn a_panic_in_a_start_is_the_error_of_that_start() {
    let runs = Arc::new(AtomicU32::new(0));
    let supervisor = Supervisor::builder().start().await.unwrap();
    let broken: fn() -> (Panics, ()) = || std::panic::resume_unwind(Box::new("on purpose"));
    for spec in [panics("weak", In::PreStart, &runs), ChildSpec::actor("broken", broken)] {
        let refused = supervisor.start_child(spec).await.unwrap_err();
        assert!(refused.to_string().contains("on purpose"), "{refused}");
    }
    assert_eq!(supervisor.count_children().await.unwrap().specs, 0);
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_panic_in_an_observer_or_a_resource_does_not_reach_the_supervisor() {
    struct Bad;
    impl Resource for Bad {
        fn release(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async { std::panic::resume_unwind(Box::new("in release")) })
        }
    }
    let start = |context: StartContext| async move {
        let runs = Arc::new(AtomicU32::new(7));
        let (actor, task) =
            Actor::spawn_linked(None, Panics { place: In::Nowhere, runs }, (), context.supervisor()).await?;
        Ok::<_, StartFailure>(Child::new(actor.get_cell(), task).resource(Arc::new(Bad)).into())
    };
    let supervisor = Supervisor::builder()
        .on_report(|_| std::panic::resume_unwind(Box::new("in the observer")))
        .child(ChildSpec::new("a", start))
        .start()
        .await
        .unwrap();
    supervisor.child("a").await.unwrap().cell().kill();
    eventually(async || supervisor.child("a").await.ok().filter(|child| child.run_id().incarnation == 2))
        .await;
    assert!(matches!(supervisor.stop(ExitReason::Shutdown).await, ExitReason::Shutdown));
}

#[tokio::test]
async fn trap_9_an_instant_spawn_that_fails_to_start_is_noticed() {
    let runs = Arc::new(AtomicU32::new(0));
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    let start = move |context: StartContext| {
        counted.fetch_add(1, Ordering::SeqCst);
        runs.store(0, Ordering::SeqCst);
        let weak = Panics { place: In::PreStart, runs: runs.clone() };
        async move {
            let (actor, task) = ActorRuntime::spawn_linked_instant(None, weak, (), context.supervisor())?;
            let joined = tokio::spawn(async move {
                if let Ok(Ok(task)) = task.await {
                    let _ = task.await;
                }
            });
            Ok::<_, StartFailure>(Child::new(actor.get_cell(), joined).into())
        }
    };
    let supervisor =
        Supervisor::builder().max_restarts(2).child(ChildSpec::new("a", start)).start().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), supervisor.wait()).await.unwrap();
    assert!(matches!(ended, ExitReason::Shutdown));
    assert_eq!(starts.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn trap_12_whoever_waits_in_the_queue_of_a_stopped_child_is_told() {
    let runs = Arc::new(AtomicU32::new(7));
    let spec = panics("a", In::Nowhere, &runs).restart(Restart::Temporary);
    let supervisor = Supervisor::builder().child(spec).start().await.unwrap();
    let child = supervisor.child("a").await.unwrap();
    child.extension::<ActorRef<Msg>>().unwrap().cast(Msg::Block).unwrap();
    let limit = Duration::from_secs(20);
    let (one, two, stopped) = tokio::join!(
        child.call(limit, Msg::Ask),
        child.call(limit, Msg::Ask),
        supervisor.terminate_child("a")
    );
    stopped.unwrap();
    for told in [one, two] {
        assert!(matches!(told, Err(CallError::Exited(Some(ExitReason::Shutdown)))), "{told:?}");
    }
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn trap_13_callers_of_a_busy_supervisor_wait_and_are_all_answered() {
    let supervisor = Supervisor::builder().start().await.unwrap();
    supervisor.suspend();
    let callers: Vec<_> = (0..300)
        .map(|_| {
            let supervisor = supervisor.clone();
            tokio::spawn(async move { supervisor.count_children().await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(callers.iter().all(|caller| !caller.is_finished()));
    supervisor.resume();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn trap_16_a_name_of_ours_is_not_in_the_registry_of_ractor() {
    let registry = Registry::<String>::unique().build();
    let supervisor = Supervisor::builder().via(registry.name("tree".into(), ())).start().await.unwrap();
    assert!(ractor::registry::where_is("tree").is_none());
    // Another actor comes and goes under the same name there.
    let runs = Arc::new(AtomicU32::new(7));
    let stranger = Panics { place: In::Nowhere, runs };
    let (stranger, task) = Actor::spawn(Some("tree".into()), stranger, ()).await.unwrap();
    stranger.stop(None);
    task.await.unwrap();
    let found = registry.whereis("tree").unwrap().unwrap();
    assert_eq!(found.get_id(), supervisor.cell().get_id());
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_17_supervisors_that_link_and_unlink_at_once_do_not_wait_for_each_other_for_ever() {
    let churn = || async {
        let runs = Arc::new(AtomicU32::new(7));
        let supervisor = Supervisor::builder().dynamic(None).start().await.unwrap();
        for _ in 0..100 {
            let started = supervisor.start_child(panics("a", In::Nowhere, &runs)).await.unwrap();
            supervisor.terminate_run(started.child().unwrap().run_id()).await.unwrap();
        }
        supervisor.stop(ExitReason::Shutdown).await;
    };
    let both = async { tokio::join!(tokio::spawn(churn()), tokio::spawn(churn())) };
    let (one, two) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    one.unwrap();
    two.unwrap();
}
