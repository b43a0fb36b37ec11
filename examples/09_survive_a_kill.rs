//! Kills a session's CLI in the middle of an answer, as `kill -9` does, and gets the answer all the same.
//!
//! Run with `cargo run -p treewarden-examples --example 09_survive_a_kill`. The caller waits for one stream. Under it the CLI
//! dies, the supervisor restarts the session, another CLI resumes the same conversation, and the same turn comes to its
//! one answer. The prompt stands once in the conversation.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::Write;
use std::time::Instant;

use treewarden::Session;
use treewarden::session::Event;
use treewarden_examples::Stage;
use treewarden_testkit::faults;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let spec = stage.spec().name("assistant".parse()?);
    let session = Session::start(stage.options(spec)).await?;
    println!("{}", session.query("My name is Alice.").await?);

    let mut turn = session.stream("Explain ownership in Rust.").await?;
    let (mut words, mut killed) = (0, None);
    while let Some(event) = turn.next().await {
        match event {
            Event::Frame(frame) => {
                let Some(text) = frame.text_delta() else { continue };
                print!("{text}");
                std::io::stdout().flush()?;
                words += 1;
                if words == 12 && killed.is_none() {
                    let pid = session.status().await?.pid.expect("a CLI works at the turn");
                    println!("\n$ kill -9 {pid}");
                    faults::kill(pid)?;
                    killed = Some(Instant::now());
                }
            }
            Event::Resumed { .. } => println!("(the CLI is gone; another one carries the turn on)"),
            Event::Outcome(outcome) => {
                let after = killed.map(|at| at.elapsed().as_millis()).unwrap_or_default();
                println!("\n{}, {after} ms after the kill", outcome.word());
            }
            _ => {}
        }
    }

    println!("{}", session.query("What is my name?").await?);
    let status = session.status().await?;
    println!("CLIs: {}, restarts: {}, turns: {}", status.generation, status.restarts, status.turns);
    session.stop().await?;
    Ok(())
}
