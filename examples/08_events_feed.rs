//! Listens to what happens to all sessions of a host.
//!
//! Run with `cargo run -p treewarden-examples --example 08_events_feed`. The feed is for dashboards, logs and metrics: it
//! keeps 1,024 events for a slow listener and then says how many were missed; it never makes a session wait.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use tokio::sync::broadcast::error::RecvError;
use treewarden::Session;
use treewarden::host::Happening;
use treewarden_examples::Stage;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let mut feed = stage.host().subscribe();
    let listener = tokio::spawn(async move {
        loop {
            match feed.recv().await {
                Ok(event) => {
                    let name = &event.name;
                    match event.what {
                        Happening::State { state, .. } => println!("{name}: {state:?}"),
                        Happening::TurnOpened { .. } => println!("{name}: a turn is opened"),
                        Happening::TurnSettled { outcome, .. } => println!("{name}: a turn is {outcome}"),
                        Happening::Exited { class } => println!("{name}: its CLI ended: {class}"),
                        // Frames that belong to no turn, and what later versions add.
                        _ => {}
                    }
                }
                Err(RecvError::Lagged(missed)) => println!("{missed} events were missed"),
                Err(RecvError::Closed) => return,
            }
        }
    });

    let session = Session::start(stage.options(stage.spec().name("assistant".parse()?))).await?;
    session.query("My name is Alice.").await?;
    session.query("What is my name?").await?;
    session.stop().await?;

    // The feed ends with the last handle of its host.
    drop((session, stage));
    tokio::time::timeout(std::time::Duration::from_secs(5), listener).await??;
    Ok(())
}
