//! What ractor's own supervision does not guarantee, and this crate does; one test for each trap.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, ActorStatus};
use treewarden_otp::registry::Registry;
use treewarden_otp::supervisor::{
    Child, ChildSpec, ExitReason, Report, Resource, Restart, RunningChild, Shutdown, StartContext,
    StartFailure, Started, Supervisor,
};

use support::eventually;

type Log = Arc<Mutex<Vec<String>>>;

fn write(log: &Log, line: impl Into<String>) {
    log.lock().unwrap().push(line.into());
}

#[derive(Debug, Clone, Copy)]
enum Do {
    Fail,
    Panic,
    Block(u64),
    Exit,
}

/// An actor whose state takes its time to be dropped, and writes down when it is.
struct Probe {
    log: Log,
    slow_stop: Duration,
    panics_in_drop: bool,
}

struct Held {
    log: Log,
    panics: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(5));
        write(&self.log, "state dropped");
        if self.panics {
            std::panic::resume_unwind(Box::new("in drop"));
        }
    }
}

impl Actor for Probe {
    type Msg = Do;
    type State = Held;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Do>, (): ()) -> Result<Held, ActorProcessingErr> {
        write(&self.log, "up");
        Ok(Held { log: self.log.clone(), panics: self.panics_in_drop })
    }

    async fn handle(&self, me: ActorRef<Do>, message: Do, _: &mut Held) -> Result<(), ActorProcessingErr> {
        match message {
            Do::Fail => return Err(Box::new(ExitReason::message("typed"))),
            Do::Panic => std::panic::resume_unwind(Box::new("a panic")),
            Do::Block(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Do::Exit => me.stop(None),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Do>, _: &mut Held) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(self.slow_stop).await;
        write(&self.log, "post_stop");
        Ok(())
    }
}

fn probe(id: &str, log: &Log) -> ChildSpec {
    let log = log.clone();
    ChildSpec::actor(id, move || {
        (Probe { log: log.clone(), slow_stop: Duration::ZERO, panics_in_drop: false }, ())
    })
}

fn tell(child: &RunningChild, what: Do) {
    child.extension::<ActorRef<Do>>().unwrap().cast(what).unwrap();
}

async fn next_run(supervisor: &Supervisor, id: &str, after: &RunningChild) -> RunningChild {
    eventually(async || supervisor.child(id).await.ok().filter(|child| child.run_id() != after.run_id()))
        .await
}

#[tokio::test]
async fn trap_1_a_key_is_not_free_before_the_stop_hook_of_its_owner_has_run() {
    let (log, registry) = (Log::default(), Registry::<String>::unique().build());
    let slow = Probe { log: log.clone(), slow_stop: Duration::from_millis(50), panics_in_drop: false };
    let (first, task) = Actor::spawn(None, slow, ()).await.unwrap();
    registry.register(&first.get_cell(), "name".into(), ()).unwrap();
    first.stop(None);
    eventually(async || (first.get_status() == ActorStatus::Stopping).then_some(())).await;
    let quick = Probe { log: log.clone(), slow_stop: Duration::ZERO, panics_in_drop: false };
    let (second, _task) = Actor::spawn(None, quick, ()).await.unwrap();
    assert!(registry.register(&second.get_cell(), "name".into(), ()).is_err());
    task.await.unwrap();
    registry.register(&second.get_cell(), "name".into(), ()).unwrap();
    second.stop(None);
}

#[tokio::test]
async fn trap_2_a_supervisor_that_is_stopped_waits_for_the_stop_hooks_of_its_children() {
    let log = Log::default();
    let spec = {
        let log = log.clone();
        ChildSpec::actor("a", move || {
            (Probe { log: log.clone(), slow_stop: Duration::from_millis(30), panics_in_drop: false }, ())
        })
    };
    let supervisor = Supervisor::builder().child(spec).start().await.unwrap();
    // ractor's own way of stopping an actor, as a foreign parent would do it.
    supervisor.cell().stop_and_wait(None, None).await.unwrap();
    assert!(log.lock().unwrap().contains(&"post_stop".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traps_3_and_4_the_state_of_a_run_is_dropped_before_the_next_one_starts() {
    for end in [Do::Fail, Do::Panic, Do::Exit] {
        let log = Log::default();
        let supervisor = Supervisor::builder().child(probe("a", &log)).start().await.unwrap();
        let first = supervisor.child("a").await.unwrap();
        tell(&first, end);
        next_run(&supervisor, "a", &first).await;
        let lines = log.lock().unwrap().clone();
        let dropped = lines.iter().position(|line| line == "state dropped").unwrap();
        let second = lines.iter().rposition(|line| line == "up").unwrap();
        assert!(dropped < second, "{end:?}: {lines:?}");
        supervisor.stop(ExitReason::Shutdown).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_4_a_killed_child_leaves_no_state_behind_in_an_event() {
    let log = Log::default();
    let supervisor = Supervisor::builder().child(probe("a", &log)).start().await.unwrap();
    let first = supervisor.child("a").await.unwrap();
    first.cell().kill();
    next_run(&supervisor, "a", &first).await;
    assert_eq!(log.lock().unwrap()[..], ["up", "state dropped", "up"]);
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_5_a_handler_that_does_not_yield_is_waited_for_and_never_doubled() {
    let log = Log::default();
    let supervisor =
        Supervisor::builder().child(probe("a", &log).shutdown(Shutdown::BrutalKill)).start().await.unwrap();
    let first = supervisor.child("a").await.unwrap();
    tell(&first, Do::Block(150));
    tokio::time::sleep(Duration::from_millis(20)).await;
    supervisor.terminate_child("a").await.unwrap();
    assert!(!first.is_alive(), "the call returned while the handler still ran");
    supervisor.restart_child("a").await.unwrap();
    assert_eq!(log.lock().unwrap()[..], ["up", "state dropped", "up"]);
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test(start_paused = true)]
async fn trap_5_a_child_that_a_kill_does_not_end_is_reported_as_quarantined() {
    struct Stuck;
    impl Resource for Stuck {
        fn release(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(tokio::time::sleep(Duration::from_secs(60)))
        }
    }
    let log = Log::default();
    let start = move |context: StartContext| {
        let probe = Probe { log: log.clone(), slow_stop: Duration::ZERO, panics_in_drop: false };
        async move {
            let (actor, task) = Actor::spawn_linked(None, probe, (), context.supervisor()).await?;
            Ok::<_, StartFailure>(Started::Running(
                Child::new(actor.get_cell(), task).resource(Arc::new(Stuck)),
            ))
        }
    };
    let spec = ChildSpec::new("a", start).shutdown(Shutdown::BrutalKill);
    let supervisor = Supervisor::builder().child(spec).start().await.unwrap();
    let mut feed = supervisor.subscribe();
    let began = tokio::time::Instant::now();
    let (stopped, event) = tokio::join!(supervisor.terminate_child("a"), feed.next());
    assert!(matches!(event.unwrap().report, Report::Quarantined(_)));
    stopped.unwrap();
    assert_eq!(began.elapsed().as_secs(), 60, "it is waited for without limit");
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test(start_paused = true)]
async fn trap_6_a_start_that_hangs_is_given_up_after_its_timeout() {
    let start = |_: StartContext| async {
        std::future::pending::<()>().await;
        Ok(Started::Ignore)
    };
    let spec = ChildSpec::new("a", start).start_timeout(Duration::from_secs(3));
    let error = Supervisor::builder().child(spec).start().await.unwrap_err();
    assert!(error.to_string().contains("did not finish in time"), "{error}");
}

#[tokio::test]
async fn trap_7_each_of_two_stops_waits_for_the_end() {
    let log = Log::default();
    let supervisor = Supervisor::builder().child(probe("a", &log)).start().await.unwrap();
    let (first, second) = tokio::join!(
        supervisor.stop(ExitReason::message("first")),
        supervisor.stop(ExitReason::message("second"))
    );
    assert_eq!((first.to_string().as_str(), second.to_string().as_str()), ("first", "first"));
    assert!(log.lock().unwrap().contains(&"post_stop".to_owned()));
}

#[tokio::test]
async fn trap_8_a_child_that_ended_before_it_could_be_linked_is_noticed() {
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    let start = move |_: StartContext| {
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            let probe = Probe { log: Log::default(), slow_stop: Duration::ZERO, panics_in_drop: false };
            let (actor, task) = Actor::spawn(None, probe, ()).await?;
            actor.stop_and_wait(None, None).await?;
            Ok::<_, StartFailure>(Child::new(actor.get_cell(), task).into())
        }
    };
    let supervisor =
        Supervisor::builder().max_restarts(2).child(ChildSpec::new("a", start)).start().await.unwrap();
    assert!(matches!(supervisor.wait().await, ExitReason::Shutdown));
    assert_eq!(starts.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn trap_10_a_stopping_owner_is_not_found() {
    let registry = Registry::<String>::unique().build();
    let slow = Probe { log: Log::default(), slow_stop: Duration::from_millis(30), panics_in_drop: false };
    let (actor, task) = Actor::spawn(None, slow, ()).await.unwrap();
    registry.register(&actor.get_cell(), "name".into(), ()).unwrap();
    assert!(registry.whereis("name").unwrap().is_some());
    actor.stop(None);
    eventually(async || (actor.get_status() >= ActorStatus::Stopping).then_some(())).await;
    assert!(registry.whereis("name").unwrap().is_none());
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_11_a_restarted_subtree_never_meets_its_own_named_grandchildren() {
    let registry = Registry::<String>::unique().build();
    let clashes = Arc::new(AtomicU32::new(0));
    let named = {
        let (registry, clashes) = (registry.clone(), clashes.clone());
        move |context: StartContext| {
            let (registry, clashes) = (registry.clone(), clashes.clone());
            async move {
                let probe =
                    Probe { log: Log::default(), slow_stop: Duration::from_millis(1), panics_in_drop: false };
                let (actor, task) = Actor::spawn_linked(None, probe, (), context.supervisor()).await?;
                if registry.register(&actor.get_cell(), "leaf".into(), ()).is_err() {
                    clashes.fetch_add(1, Ordering::SeqCst);
                }
                Ok::<_, StartFailure>(Child::new(actor.get_cell(), task).into())
            }
        }
    };
    let below = Supervisor::builder().child(ChildSpec::new("leaf", named));
    let root = Supervisor::builder().max_restarts(1000).child(below.into_child("s")).start().await.unwrap();
    for round in 0..60 {
        let subtree = root.child("s").await.unwrap();
        if round % 2 == 0 {
            subtree.cell().kill()
        } else {
            subtree.cell().stop(None)
        }
        next_run(&root, "s", &subtree).await;
    }
    assert_eq!(clashes.load(Ordering::SeqCst), 0);
    root.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn typed_reasons_survive_the_way_through_ractor() {
    let log = Log::default();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = seen.clone();
    let supervisor = Supervisor::builder()
        .child(probe("a", &log))
        .on_report(move |event| {
            if let Report::Error(_, reason, _) = &event.report {
                heard.lock().unwrap().push(format!("{reason:?}"));
            }
        })
        .start()
        .await
        .unwrap();
    let first = supervisor.child("a").await.unwrap();
    tell(&first, Do::Fail);
    next_run(&supervisor, "a", &first).await;
    assert!(seen.lock().unwrap()[0].contains("typed"), "{:?}", seen.lock().unwrap());
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_panic_in_any_callback_takes_only_its_child_down() {
    let dropped = Arc::new(AtomicBool::new(false));
    let log = Log::default();
    let panics = {
        let log = log.clone();
        move || (Probe { log: log.clone(), slow_stop: Duration::ZERO, panics_in_drop: true }, ())
    };
    let factory_panics = |_: StartContext| async {
        std::panic::resume_unwind(Box::new("in the factory"));
        #[expect(unreachable_code, reason = "it gives the block its type")]
        Ok(Started::Ignore)
    };
    let supervisor = Supervisor::builder()
        .child(ChildSpec::actor("drop", panics).restart(Restart::Temporary))
        .child(probe("bystander", &log))
        .start()
        .await
        .unwrap();
    let error = supervisor.start_child(ChildSpec::new("factory", factory_panics)).await.unwrap_err();
    assert!(error.to_string().contains("in the factory"), "{error}");
    let child = supervisor.child("drop").await.unwrap();
    tell(&child, Do::Exit);
    eventually(async || supervisor.child("drop").await.is_err().then_some(())).await;
    assert!(supervisor.child("bystander").await.unwrap().is_alive());
    dropped.store(true, Ordering::SeqCst);
    supervisor.stop(ExitReason::Shutdown).await;
}
