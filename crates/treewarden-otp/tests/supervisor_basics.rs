//! A supervisor over plain ractor actors: start order, restarts, budget, orderly stop.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use treewarden_otp::supervisor::{
    ChildSpec, ChildState, ExitReason, InitError, Restart, RunningChild, Shutdown, StartError, Strategy,
    Supervisor,
};

use support::eventually;

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down its life; any message makes it fail with that text.
struct Worker {
    name: &'static str,
    log: Log,
}

impl Actor for Worker {
    type Msg = String;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<String>, (): ()) -> Result<(), ActorProcessingErr> {
        if self.name == "broken" {
            return Err("broken".into());
        }
        self.log.lock().unwrap().push(format!("{} up", self.name));
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<String>,
        message: String,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Err(message.into())
    }

    async fn post_stop(&self, _: ActorRef<String>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.log.lock().unwrap().push(format!("{} down", self.name));
        Ok(())
    }
}

fn worker(name: &'static str, log: &Log) -> ChildSpec {
    let log = log.clone();
    ChildSpec::actor(name, move || (Worker { name, log: log.clone() }, ()))
}

fn crash(child: &RunningChild) {
    child.extension::<ActorRef<String>>().unwrap().cast("boom".to_owned()).unwrap();
}

async fn next_run(supervisor: &Supervisor, id: &str, after: &RunningChild) -> RunningChild {
    eventually(async || supervisor.child(id).await.ok().filter(|child| child.run_id() != after.run_id()))
        .await
}

#[tokio::test]
async fn children_start_in_order_and_stop_newest_first() {
    let log = Log::default();
    let supervisor =
        Supervisor::builder().child(worker("a", &log)).child(worker("b", &log)).start().await.unwrap();
    assert!(supervisor.is_alive());
    assert!(matches!(supervisor.stop(ExitReason::Shutdown).await, ExitReason::Shutdown));
    assert_eq!(*log.lock().unwrap(), ["a up", "b up", "b down", "a down"]);
    assert!(!supervisor.is_alive());
    assert!(supervisor.which_children().await.is_err());
}

#[tokio::test]
async fn a_child_that_fails_is_restarted() {
    let log = Log::default();
    let supervisor = Supervisor::builder().child(worker("a", &log)).start().await.unwrap();
    let first = supervisor.child("a").await.unwrap();
    crash(&first);
    let second = next_run(&supervisor, "a", &first).await;
    assert_eq!(second.run_id().incarnation, 2);
    assert!(!first.is_alive());
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn one_for_all_restarts_the_whole_group_in_order() {
    let log = Log::default();
    let supervisor = Supervisor::builder()
        .strategy(Strategy::OneForAll)
        .child(worker("a", &log))
        .child(worker("b", &log))
        .child(worker("c", &log))
        .start()
        .await
        .unwrap();
    let b = supervisor.child("b").await.unwrap();
    let c = supervisor.child("c").await.unwrap();
    crash(&b);
    next_run(&supervisor, "c", &c).await;
    assert_eq!(*log.lock().unwrap(), ["a up", "b up", "c up", "c down", "a down", "a up", "b up", "c up"]);
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_spent_budget_ends_the_supervisor_with_shutdown_and_drops_the_factories() {
    let log = Log::default();
    let supervisor = Supervisor::builder()
        .max_restarts(1)
        .child(worker("a", &log))
        .child(worker("b", &log))
        .start()
        .await
        .unwrap();
    let first = supervisor.child("a").await.unwrap();
    crash(&first);
    let second = next_run(&supervisor, "a", &first).await;
    crash(&second);
    assert!(matches!(supervisor.wait().await, ExitReason::Shutdown));
    assert_eq!(log.lock().unwrap().last().unwrap(), "b down");
    assert_eq!(Arc::strong_count(&log), 1, "a factory outlived its supervisor");
}

#[tokio::test]
async fn a_child_that_cannot_start_rolls_the_others_back() {
    let log = Log::default();
    let error = Supervisor::builder()
        .child(worker("a", &log))
        .child(worker("broken", &log))
        .child(worker("c", &log))
        .start()
        .await
        .unwrap_err();
    let StartError::Init(InitError::Child(failed)) = error else { panic!("{error}") };
    assert_eq!((failed.id.as_str(), failed.reason.to_string()), ("broken", "broken".to_owned()));
    assert_eq!(*log.lock().unwrap(), ["a up", "a down"]);
}

#[tokio::test]
async fn a_subtree_is_stopped_before_its_older_siblings() {
    let log = Log::default();
    let below = Supervisor::builder().child(worker("x", &log)).child(worker("y", &log));
    let supervisor = Supervisor::builder()
        .child(worker("a", &log))
        .child(below.into_child("s"))
        .child(worker("z", &log))
        .start()
        .await
        .unwrap();
    let s = supervisor.child("s").await.unwrap();
    assert_eq!(s.extension::<Supervisor>().unwrap().path(), "s");
    supervisor.stop(ExitReason::Shutdown).await;
    let log = log.lock().unwrap();
    assert_eq!(log[4..], ["z down", "y down", "x down", "a down"]);
}

#[tokio::test]
async fn a_killed_supervisor_leaves_no_child_behind() {
    let log = Log::default();
    let supervisor =
        Supervisor::builder().child(worker("a", &log)).child(worker("b", &log)).start().await.unwrap();
    let children: Vec<_> = supervisor.which_children().await.unwrap();
    supervisor.cell().kill();
    assert!(matches!(supervisor.wait().await, ExitReason::Killed));
    for child in children {
        let ChildState::Running(_, child) = child.state else { panic!("{child:?}") };
        assert!(!child.is_alive());
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_hangs_in_its_stop_is_killed_after_its_timeout() {
    struct Hanging;
    impl Actor for Hanging {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
        async fn post_stop(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
            std::future::pending().await
        }
    }
    let spec = ChildSpec::actor("h", || (Hanging, ())).shutdown(Shutdown::Timeout(Duration::from_secs(30)));
    let supervisor = Supervisor::builder().child(spec).start().await.unwrap();
    let began = tokio::time::Instant::now();
    supervisor.terminate_child("h").await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 30);
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_transient_child_that_stops_normally_is_kept_and_can_be_started_again() {
    let log = Log::default();
    let supervisor =
        Supervisor::builder().child(worker("a", &log).restart(Restart::Transient)).start().await.unwrap();
    let first = supervisor.child("a").await.unwrap();
    first.cell().stop(None);
    eventually(async || (supervisor.count_children().await.unwrap().active == 0).then_some(())).await;
    supervisor.restart_child("a").await.unwrap();
    assert_eq!(supervisor.child("a").await.unwrap().run_id().incarnation, 2);
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_supervisor_lives_under_an_actor_of_the_users() {
    struct Mine(Arc<AtomicU32>);
    impl Actor for Mine {
        type Msg = ();
        type State = Supervisor;
        type Arguments = Log;
        async fn pre_start(&self, me: ActorRef<()>, log: Log) -> Result<Supervisor, ActorProcessingErr> {
            let cell: ActorCell = me.get_cell();
            Ok(Supervisor::builder().child(worker("a", &log)).start_linked(cell).await?)
        }
        async fn post_stop(&self, _: ActorRef<()>, tree: &mut Supervisor) -> Result<(), ActorProcessingErr> {
            tree.stop(ExitReason::Shutdown).await;
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }
    let (log, stops) = (Log::default(), Arc::new(AtomicU32::new(0)));
    let (actor, task) = Mine::spawn(None, Mine(stops.clone()), log.clone()).await.unwrap();
    actor.stop(None);
    task.await.unwrap();
    assert_eq!(stops.load(Ordering::SeqCst), 1);
    assert_eq!(*log.lock().unwrap(), ["a up", "a down"]);
}

#[tokio::test]
async fn children_that_are_stopped_at_once_do_not_wait_for_each_others_end() {
    struct Together(Arc<tokio::sync::Barrier>);

    impl Actor for Together {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn post_stop(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
            self.0.wait().await;
            Ok(())
        }
    }

    let barrier = Arc::new(tokio::sync::Barrier::new(3));
    let child = |name: &'static str| {
        let barrier = Arc::clone(&barrier);
        ChildSpec::actor(name, move || (Together(Arc::clone(&barrier)), ())).shutdown(Shutdown::Infinity)
    };
    let supervisor =
        Supervisor::builder().stop_at_once().child(child("a")).child(child("b")).start().await.unwrap();
    supervisor.start_child(child("c")).await.unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(30), supervisor.stop(ExitReason::Shutdown)).await;
    assert!(stopped.is_ok(), "each waits for the end of the others");
}
