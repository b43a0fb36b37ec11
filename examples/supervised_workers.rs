//! Supervises plain ractor workers, with no session in sight: it needs the crate `treewarden-otp` alone.
//!
//! Run with `cargo run -p treewarden-examples --example supervised_workers`. A pool of counters stands under a
//! supervisor; one of them fails now and then, and comes back; the reports show what the supervisor did.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use treewarden_otp::supervisor::{ChildSpec, ExitReason, Report, RunningChild, Strategy, Supervisor};

/// Counts what it is given, and cannot bear the number 13.
struct Counter;

impl Actor for Counter {
    type Msg = u64;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<u64>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(&self, _: ActorRef<u64>, number: u64, sum: &mut u64) -> Result<(), ActorProcessingErr> {
        if number == 13 {
            return Err("13 is too much".into());
        }
        *sum += number;
        Ok(())
    }
}

fn counter(id: &str) -> ChildSpec {
    ChildSpec::actor(id, || (Counter, ()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let pool =
        Supervisor::builder().strategy(Strategy::OneForAll).child(counter("left")).child(counter("right"));
    let root = Supervisor::builder()
        .name("workers")
        .child(counter("single"))
        .child(pool.into_child("pool"))
        .on_report(|event| match &event.report {
            Report::Progress(child) => println!("{}: started {}", event.supervisor, child.id),
            Report::Error(context, reason, child) => {
                println!("{}: {} of {}: {reason:?}", event.supervisor, context.as_str(), child.id);
            }
            _ => {}
        })
        .start()
        .await?;

    let first = root.child("single").await?;
    if let Some(actor) = first.extension::<ActorRef<u64>>() {
        actor.cast(13)?;
    }
    let second = next_run(&root, &first).await?;
    println!("single is on its run {}", second.run_id().incarnation);

    root.stop(ExitReason::Shutdown).await;
    println!("stopped, newest first");
    Ok(())
}

/// Waits for the run that replaces `old`.
async fn next_run(supervisor: &Supervisor, old: &RunningChild) -> anyhow::Result<RunningChild> {
    for _ in 0..500 {
        match supervisor.child(old.id().clone()).await {
            Ok(child) if child != *old => return Ok(child),
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    anyhow::bail!("{} did not come back", old.id())
}
