//! Dynamic supervisors, partitions, tasks, hot updates, parking and back-off.

mod support;
#[path = "support/worker.rs"]
mod worker;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::Actor;
use treewarden_otp::supervisor::{
    Backoff, Child, ChildSpec, ChildState, ExitReason, FindChildError, GiveUp, PartitionSupervisor, Restart,
    RestartChildError, StartCause, StartChildError, StartContext, StartFailure, Started, Supervisor, Tasks,
};

use support::eventually;
use worker::{Worker, crash, worker};

#[tokio::test]
async fn a_dynamic_supervisor_refuses_a_child_over_its_maximum_and_takes_one_when_another_has_gone() {
    let supervisor = Supervisor::builder().dynamic(Some(2)).start().await.unwrap();
    let first = supervisor.start_child(worker("x")).await.unwrap();
    supervisor.start_child(worker("x")).await.unwrap();
    let refused = supervisor.start_child(worker("x")).await;
    assert!(matches!(refused, Err(StartChildError::MaxChildren { max: 2, .. })));
    let pid = first.child().unwrap().run_id();
    supervisor.terminate_run(pid).await.unwrap();
    assert_eq!(supervisor.terminate_run(pid).await, Err(FindChildError::NotFound));
    supervisor.start_child(worker("x")).await.unwrap();
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_key_always_goes_to_the_same_partition() {
    let size = NonZeroUsize::new(4).unwrap();
    let partitions =
        PartitionSupervisor::start(Supervisor::builder(), size, |id, _| worker(&id)).await.unwrap();
    let child = partitions.child("tenant-7").await.unwrap();
    assert_eq!(child, partitions.child("tenant-7").await.unwrap());
    assert_eq!(child.id().as_str(), partitions.partition_of("tenant-7").to_string());
    assert_eq!(partitions.partition_of_number(-7), 3);
    partitions.resize(0).await.unwrap();
    assert!(partitions.child("tenant-7").await.is_err());
    partitions.resize(4).await.unwrap();
    assert!(partitions.child("tenant-7").await.is_ok());
    assert!(partitions.resize(5).await.is_err());
    partitions.supervisor().stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_task_gives_its_result_or_says_how_it_ended() {
    let tasks = Tasks::start(Supervisor::builder(), None).await.unwrap();
    assert_eq!(tasks.spawn("sum", async { 1 + 1 }).await.unwrap().join().await.unwrap(), 2);
    let panics = async { std::panic::resume_unwind(Box::new("oh")) };
    let panicked = tasks.spawn::<(), _>("panics", panics).await.unwrap().join().await;
    assert!(matches!(panicked, Err(ExitReason::Panic(text)) if &*text == "oh"));
    let slow = tasks.spawn("slow", std::future::pending::<()>()).await.unwrap();
    assert!(matches!(slow.join_or_stop(Duration::from_millis(5)).await, Err(ExitReason::Shutdown)));
    eventually(async || (tasks.supervisor().count_children().await.unwrap().specs == 0).then_some(())).await;
    let orphan = tasks.spawn("orphan", std::future::pending::<()>()).await.unwrap();
    tasks.supervisor().stop(ExitReason::Shutdown).await;
    assert!(orphan.join().await.is_err());
}

#[tokio::test]
async fn an_update_touches_only_what_has_changed() {
    let (kept, changed) = (worker("kept"), worker("changed"));
    let supervisor = Supervisor::builder()
        .children([kept.clone(), changed.clone(), worker("gone")])
        .start()
        .await
        .unwrap();
    let before = (supervisor.child("kept").await.unwrap(), supervisor.child("changed").await.unwrap());
    let specs = vec![kept, changed.start_timeout(Duration::from_secs(1)), worker("new")];
    let diff = supervisor.diff(specs).await.unwrap();
    assert_eq!(diff.to_string(), "- gone\n~ changed\n+ new\n");
    assert_eq!(supervisor.child("changed").await.unwrap(), before.1, "a diff changes nothing");
    supervisor.apply(diff).await.unwrap();
    assert_eq!(supervisor.child("kept").await.unwrap(), before.0);
    assert_ne!(supervisor.child("changed").await.unwrap(), before.1);
    assert!(supervisor.child("new").await.is_ok());
    assert_eq!(supervisor.count_children().await.unwrap().specs, 3);
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_parked_child_is_visible_and_its_siblings_live_on() {
    let supervisor = Supervisor::builder()
        .max_restarts(0)
        .give_up(GiveUp::Park)
        .child(worker("weak"))
        .child(worker("strong"))
        .start()
        .await
        .unwrap();
    let weak = supervisor.child("weak").await.unwrap();
    crash(&weak);
    eventually(async || {
        let children = supervisor.which_children().await.unwrap();
        children.iter().any(|child| child.state == ChildState::Parked).then_some(())
    })
    .await;
    assert!(supervisor.child("strong").await.unwrap().is_alive());
    supervisor.restart_child("weak").await.unwrap();
    assert!(supervisor.child("weak").await.is_ok());
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_child_that_comes_and_goes_is_restarted_by_any_of_its_runs_where_it_is_parked() {
    let builder = Supervisor::builder().dynamic(Some(1)).max_restarts(1).give_up(GiveUp::Park);
    let supervisor = builder.start().await.unwrap();
    let first = supervisor.start_child(worker("a")).await.unwrap().child().unwrap().clone();
    let second = supervisor.restart_run(first.run_id()).await.unwrap().child().unwrap().clone();
    assert!(!first.is_alive() && second.is_alive(), "the first has ended before the second began");
    let gone = supervisor.restart_run(first.run_id()).await;
    assert!(matches!(gone, Err(RestartChildError::NotFound)), "while it runs it is found by its run alone");
    crash(&second);
    let third = eventually(async || supervisor.child("a").await.ok().filter(|child| *child != second)).await;
    crash(&third);
    eventually(async || {
        let children = supervisor.which_children().await.unwrap();
        (children[0].state == ChildState::Parked).then_some(())
    })
    .await;
    // The budget is spent: it is whole again for whoever restarts the child by hand.
    let fourth = supervisor.restart_run(second.run_id()).await.unwrap().child().unwrap().clone();
    crash(&fourth);
    let fifth = eventually(async || supervisor.child("a").await.ok().filter(|child| *child != fourth)).await;
    supervisor.terminate_run(fifth.run_id()).await.unwrap();
    assert_eq!(supervisor.count_children().await.unwrap().specs, 0);
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_temporary_child_that_comes_and_goes_is_not_stopped_for_a_restart_that_cannot_be() {
    let supervisor = Supervisor::builder().dynamic(None).start().await.unwrap();
    let spec = worker("a").restart(Restart::Temporary);
    let child = supervisor.start_child(spec).await.unwrap().child().unwrap().clone();
    let refused = supervisor.restart_run(child.run_id()).await;
    assert!(matches!(refused, Err(RestartChildError::Temporary)), "{refused:?}");
    assert!(child.is_alive());
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_start_is_told_why_and_by_whom() {
    let causes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noting = |id: &str| {
        let causes = causes.clone();
        let start = move |context: StartContext| {
            causes.lock().unwrap().push((context.id().to_string(), context.cause()));
            let parent = context.parent();
            async move {
                let (actor, join) = Actor::spawn_linked(None, Worker, (), context.supervisor()).await?;
                let child = Child::new(actor.get_cell(), join).extension(parent);
                Ok::<Started, StartFailure>(child.into())
            }
        };
        ChildSpec::new(id, start)
    };
    let supervisor = Supervisor::builder().child(noting("listed")).start().await.unwrap();
    let added = supervisor.start_child(noting("added")).await.unwrap().child().unwrap().clone();
    let parent = added.extension::<Supervisor>().expect("the start was told its supervisor");
    assert_eq!(parent.cell().get_id(), supervisor.cell().get_id());
    added.cell().kill();
    eventually(async || supervisor.child("added").await.ok().filter(|child| *child != added)).await;
    supervisor.terminate_child("listed").await.unwrap();
    supervisor.restart_child("listed").await.unwrap();
    let (listed, added) = ("listed".to_owned(), "added".to_owned());
    let wanted = [
        (listed.clone(), StartCause::Listed),
        (added.clone(), StartCause::Added),
        (added, StartCause::Ended),
        (listed, StartCause::Asked),
    ];
    assert_eq!(*causes.lock().unwrap(), wanted);
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_waits_for_its_restart_is_restarting_and_can_be_terminated() {
    let backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(60)).jitter(0.0);
    let supervisor = Supervisor::builder().child(worker("a").backoff(backoff)).start().await.unwrap();
    for run in 1..=2 {
        let child = eventually(async || {
            supervisor.child("a").await.ok().filter(|child| child.run_id().incarnation == run)
        })
        .await;
        crash(&child);
    }
    eventually(async || {
        let children = supervisor.which_children().await.unwrap();
        (children[0].state == ChildState::Restarting).then_some(())
    })
    .await;
    supervisor.terminate_child("a").await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(supervisor.child("a").await.is_err(), "a terminated child stays down");
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_tasks_is_ordered_and_bounded_and_ends_its_tasks_with_it() {
    use futures_util::StreamExt;
    let tasks = Tasks::start(Supervisor::builder(), None).await.unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work = |number: u64| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(10 - number)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            if number == 4 {
                std::panic::resume_unwind(Box::new("four"));
            }
            number
        }
    };
    let at_once = NonZeroUsize::new(3).unwrap();
    let results: Vec<_> = tasks.stream("n", at_once, (0..8).map(work)).collect().await;
    let shown: Vec<_> = results.into_iter().map(|result| result.ok()).collect();
    assert_eq!(shown, [Some(0), Some(1), Some(2), Some(3), None, Some(5), Some(6), Some(7)]);
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let endless = tasks.stream("n", at_once, (0..).map(|_| std::future::pending::<()>()));
    let waited = tokio::time::timeout(Duration::from_secs(1), Box::pin(endless).next()).await;
    assert!(waited.is_err());
    eventually(async || (tasks.supervisor().count_children().await.unwrap().specs == 0).then_some(())).await;
    tasks.supervisor().stop(ExitReason::Shutdown).await;
}
