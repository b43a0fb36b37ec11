//! Finds sessions by their names, from anywhere in the program.
//!
//! Run with `cargo run -p treewarden-examples --example 04_named_sessions`. Two sessions stand under one supervisor. Tasks
//! that know nothing but a name talk to them, at the same time; each session takes its turns in order. A name that
//! nobody holds is an error at once, and a name is held only once.
//!
//! A program that uses the shared host writes `Session::named("assistant")`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use treewarden::session::QueryErrorKind;
use treewarden::{ExitReason, Session, Supervisor};
use treewarden_examples::Stage;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let host = stage.host().clone();
    let child = |name: &str| -> anyhow::Result<_> {
        Ok(stage.options(stage.spec().name(name.parse()?)).child_spec(&host)?)
    };
    let supervisor =
        Supervisor::builder().child(child("assistant")?).child(child("team/reviewer")?).start().await?;

    let tasks = [("assistant", "My name is Alice."), ("team/reviewer", "Review this change, please.")].map(
        |(name, prompt)| {
            let session = Session::named_in(&host, name);
            tokio::spawn(async move { session.query(prompt).await.map(|answer| format!("{name}: {answer}")) })
        },
    );
    for task in tasks {
        println!("{}", task.await??);
    }
    println!("assistant: {}", Session::named_in(&host, "assistant").query("What is my name?").await?);

    match Session::named_in(&host, "nobody").query("Hello?").await {
        Err(error) if error.kind() == QueryErrorKind::NoSuchSession => println!("nobody: {error}"),
        other => anyhow::bail!("a name that nobody holds answered: {other:?}"),
    }
    match Session::start(stage.options(stage.spec().name("assistant".parse()?))).await {
        Err(error) => println!("a second one: {error}"),
        Ok(_) => anyhow::bail!("a name was given away twice"),
    }

    supervisor.stop(ExitReason::Shutdown).await;
    println!("alive: {}", Session::named_in(&host, "assistant").is_alive().await);
    Ok(())
}
