//! Starts a session, asks it two things, stops it.
//!
//! Run with `cargo run -p treewarden-examples --example 01_start_and_query`. The second answer knows what the first
//! prompt said: a session is one conversation. `start` starts no CLI; the first turn does.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use treewarden::Session;
use treewarden_examples::Stage;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let spec =
        stage.spec().model("sonnet").system_prompt("You answer briefly.").timeout(Duration::from_secs(120));

    let session = Session::start(stage.options(spec)).await?;
    println!("started, with {} CLIs so far", session.status().await?.generation);

    println!("{}", session.query("My name is Alice.").await?);
    let answer = session.query("What is my name?").await?;
    println!("{answer}");
    println!("the conversation is {}", answer.session_id);

    session.stop().await?;
    println!("stopped; alive: {}", session.is_alive().await);
    Ok(())
}
