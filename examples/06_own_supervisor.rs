//! Puts a session under a plain ractor supervisor of one's own.
//!
//! Run with `cargo run -p treewarden-examples --example 06_own_supervisor`. A session is a ractor actor: `Boss` spawns it,
//! linked, and is told when it ends. When its CLI is killed the session ends with `CliCrashed`; the one that `Boss`
//! spawns in its place takes over the name, the conversation and the turns that are open.
//!
//! A supervisor of treewarden's does that too, and counts restarts, waits for the old one to be gone, and reports.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use treewarden::session::{Event, SessionActor, SessionArguments};
use treewarden::{Session, SessionOptions};
use treewarden_examples::Stage;
use treewarden_testkit::faults;

struct Boss;

struct Charge {
    options: SessionOptions,
    restarts: u32,
}

impl Boss {
    async fn hire(boss: &ActorRef<()>, options: &SessionOptions) -> Result<(), ActorProcessingErr> {
        let arguments = SessionArguments::new(options.clone()).await?;
        Actor::spawn_linked(None, SessionActor, arguments, boss.get_cell()).await?;
        Ok(())
    }
}

impl Actor for Boss {
    type Msg = ();
    type State = Charge;
    type Arguments = SessionOptions;

    async fn pre_start(
        &self,
        me: ActorRef<()>,
        options: SessionOptions,
    ) -> Result<Charge, ActorProcessingErr> {
        Self::hire(&me, &options).await?;
        Ok(Charge { options, restarts: 0 })
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        charge: &mut Charge,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, reason) if charge.restarts < 3 => {
                charge.restarts += 1;
                println!("boss: {reason}");
                Self::hire(&me, &charge.options).await
            }
            SupervisionEvent::ActorFailed(_, reason) => Err(reason),
            _ => Ok(()),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let spec = stage.spec().name("charge".parse()?);
    let (boss, ended) = Actor::spawn(None, Boss, stage.options(spec)).await?;
    let session = Session::named_in(stage.host(), "charge");

    println!("{}", session.query("My name is Alice.").await?);

    let mut turn = session.stream("Explain ownership in Rust.").await?;
    turn.text_deltas().next().await;
    let pid = session.status().await?.pid.expect("a CLI works at the turn");
    faults::kill(pid)?;
    while let Some(event) = turn.next().await {
        match event {
            Event::Resumed { interruptions } => println!("carried on, {interruptions} CLI lost"),
            Event::Outcome(outcome) => println!("{}", outcome.word()),
            _ => {}
        }
    }
    println!("{}", session.query("What is my name?").await?);

    boss.stop_children_and_wait(None, Some(Duration::from_secs(10))).await;
    boss.stop(None);
    ended.await?;
    Ok(())
}
