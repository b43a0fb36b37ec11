//! A supervisor is driven by its own task: what callers, starts and ends that come at once may rely on.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;
#[path = "support/worker.rs"]
mod worker;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use treewarden_otp::supervisor::{
    Child, ChildSpec, ExitReason, Restart, StartContext, StartFailure, Started, Supervisor,
};

use support::eventually;
use worker::{Worker, crash, worker};

fn two_workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_caller_of_another_runtime_starts_no_child_on_its_own() {
    let home = two_workers();
    let supervisor = home.block_on(Supervisor::builder().start()).unwrap();
    let started_on = Arc::new(OnceLock::new());
    let seen = started_on.clone();
    let spec = ChildSpec::new("a", move |context: StartContext| {
        seen.set(Handle::current().id()).unwrap();
        async move {
            let (actor, task) = Worker::spawn_linked(None, Worker, (), context.supervisor()).await?;
            Ok::<_, StartFailure>(Child::new(actor.get_cell(), task).into())
        }
    });
    let guest = two_workers();
    let started = guest.block_on(supervisor.start_child(spec)).unwrap();
    drop(guest);
    assert_eq!(started_on.get(), Some(&home.handle().id()));
    assert!(started.child().unwrap().is_alive(), "the child ended with the runtime of the caller");
    home.block_on(supervisor.stop(ExitReason::Shutdown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_function_that_uses_its_own_supervisor_is_answered_after_the_start() {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let (own, count) = (supervisor.clone(), Arc::new(AtomicU32::new(0)));
    let counted = count.clone();
    let spec = ChildSpec::new("a", move |_: StartContext| {
        let (own, counted) = (own.clone(), counted.clone());
        async move {
            // What it asks for waits until the start is over; so it must not wait for that.
            let asked = tokio::spawn(async move {
                counted.store(own.count_children().await.unwrap().specs as u32, Ordering::SeqCst);
            });
            assert!(tokio::time::timeout(Duration::from_millis(20), asked).await.is_err(), "it was answered");
            let (actor, task) = Worker::spawn(None, Worker, ()).await?;
            Ok::<_, StartFailure>(Child::new(actor.get_cell(), task).into())
        }
    });
    supervisor.start_child(spec).await.unwrap();
    eventually(async || (count.load(Ordering::SeqCst) == 1).then_some(())).await;
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn an_observer_may_use_the_supervisor_that_reports() {
    let handle = Arc::new(OnceLock::<Supervisor>::new());
    let own = handle.clone();
    let builder = Supervisor::builder().child(worker("a")).on_report(move |_| {
        if let Some(supervisor) = own.get() {
            supervisor.suspend();
            let supervisor = supervisor.clone();
            tokio::spawn(async move {
                supervisor.resume();
                supervisor.count_children().await
            });
        }
    });
    let supervisor = builder.start().await.unwrap();
    handle.set(supervisor.clone()).unwrap();
    let first = supervisor.child("a").await.unwrap();
    crash(&first);
    eventually(async || supervisor.child("a").await.ok().filter(|child| child.run_id() != first.run_id()))
        .await;
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_call_whose_caller_is_gone_is_carried_out() {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let (go, reached) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, begun) = (go.clone(), reached.clone());
    let spec = ChildSpec::new("a", move |context: StartContext| {
        let (wait, begun) = (wait.clone(), begun.clone());
        async move {
            begun.notify_one();
            wait.notified().await;
            let (actor, task) = Worker::spawn_linked(None, Worker, (), context.supervisor()).await?;
            Ok::<_, StartFailure>(Child::new(actor.get_cell(), task).into())
        }
    });
    tokio::select! {
        biased;
        _ = supervisor.start_child(spec) => panic!("it waits"),
        () = reached.notified() => {}
    }
    go.notify_one();
    assert!(supervisor.child("a").await.unwrap().is_alive());
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_suspended_supervisor_serves_no_caller_and_sees_no_end() {
    let supervisor = Supervisor::builder().child(worker("a")).start().await.unwrap();
    let first = supervisor.child("a").await.unwrap();
    supervisor.suspend();
    crash(&first);
    eventually(async || (!first.is_alive()).then_some(())).await;
    let call = supervisor.count_children();
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err(), "it was served");
    supervisor.resume();
    eventually(async || supervisor.child("a").await.ok().filter(|child| child.run_id() != first.run_id()))
        .await;
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_end_is_overlooked_when_many_bring_events_at_once() {
    let supervisor = Supervisor::builder().dynamic(None).max_restarts(u32::MAX).start().await.unwrap();
    let mut callers = Vec::new();
    for caller in 0..8 {
        let supervisor = supervisor.clone();
        callers.push(tokio::spawn(async move {
            for round in 0..100 {
                let restart = if round % 2 == 0 { Restart::Temporary } else { Restart::Permanent };
                let spec = worker(&caller.to_string()).restart(restart);
                let started = supervisor.start_child(spec).await.unwrap();
                crash(started.child().unwrap());
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    let settled = async || {
        let counts = supervisor.count_children().await.unwrap();
        (counts.specs == 400 && counts.active == 400).then_some(())
    };
    eventually(settled).await;
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_child_that_unlinks_itself_while_it_stops_is_missed_by_nobody() {
    struct Leaver;
    impl Actor for Leaver {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn post_stop(&self, me: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
            let watcher = me.try_get_supervisor().unwrap();
            me.unlink(watcher);
            Ok(())
        }
    }
    let supervisor =
        Supervisor::builder().child(ChildSpec::actor("a", || (Leaver, ()))).start().await.unwrap();
    let first = supervisor.child("a").await.unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(3), supervisor.terminate_child("a")).await;
    stopped.expect("its end is noticed long before its deadline").unwrap();
    assert!(!first.is_alive());
    supervisor.stop(ExitReason::Shutdown).await;

    // All are told at once; that some end as they should is no word of the others.
    let supervisor = Supervisor::builder().dynamic(None).start().await.unwrap();
    for _ in 0..3 {
        supervisor.start_child(ChildSpec::actor("a", || (Leaver, ()))).await.unwrap();
        supervisor.start_child(worker("b")).await.unwrap();
    }
    let stopped = tokio::time::timeout(Duration::from_secs(3), supervisor.stop(ExitReason::Shutdown)).await;
    stopped.expect("their ends are noticed long before their deadlines");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_was_off_and_an_earlier_one_after_it_are_both_right() {
    let hang = |_: StartContext| async {
        std::future::pending::<()>().await;
        Ok(Started::Ignore)
    };
    let supervisor = Supervisor::builder().child(worker("a")).start().await.unwrap();
    // Arms the timer for five seconds, and is over at once.
    supervisor.terminate_child("a").await.unwrap();
    let began = tokio::time::Instant::now();
    let spec = ChildSpec::new("b", hang).start_timeout(Duration::from_secs(2));
    assert!(supervisor.start_child(spec).await.is_err());
    assert_eq!(began.elapsed().as_secs(), 2);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(supervisor.is_alive());
    supervisor.stop(ExitReason::Shutdown).await;
}

/// Panics when it is dropped, as what a start function holds may do.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the spec is dropped");
    }
}

#[tokio::test]
async fn a_driver_that_panics_ends_its_supervisor_and_nobody_else() {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let other = Supervisor::builder().start().await.unwrap();
    other.start_child(worker("a")).await.unwrap();
    let sibling = supervisor.start_child(worker("a")).await.unwrap();
    let bomb = Bomb;
    let spec = ChildSpec::actor("b", move || {
        let _ = &bomb;
        (Worker, ())
    });
    supervisor.start_child(spec).await.unwrap();
    supervisor.terminate_child("b").await.unwrap();
    // The spec is dropped in the driver's turn.
    assert!(supervisor.delete_child("b").await.is_err());
    supervisor.wait().await;
    assert!(!supervisor.is_alive());
    let sibling = sibling.child().unwrap().clone();
    eventually(async || (!sibling.is_alive()).then_some(())).await;
    assert_eq!(other.count_children().await.unwrap().active, 1);
    other.stop(ExitReason::Shutdown).await;
}
