//! Listens to what happens to all sessions of a host.
//!
//! Run with `cargo run -p treewarden-examples --example 08_events_feed`. The events are for dashboards, logs and metrics:
//! the last 1,024 are kept, a listener that is too slow is told how many it missed, and no session ever waits for one.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use treewarden::Session;
use treewarden::events::Happening;
use treewarden_examples::Stage;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let mut events = stage.host().events().now();
    let listener = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let path = &event.path;
                    match &event.what {
                        Happening::State { state, .. } => println!("{path}: {state:?}"),
                        Happening::TurnOpened { .. } => println!("{path}: a turn is opened"),
                        Happening::TurnSettled { outcome, .. } => println!("{path}: a turn is {outcome}"),
                        Happening::Exited { class } => println!("{path}: its CLI ended: {class}"),
                        // Frames that belong to no turn, and what later versions add.
                        _ => {}
                    }
                }
                Err(gap) => println!("{gap}"),
            }
        }
    });

    let session = Session::start(stage.options(stage.spec().name("assistant".parse()?))).await?;
    session.query("My name is Alice.").await?;
    session.query("What is my name?").await?;
    session.stop().await?;

    // The events end with the last handle of their host.
    drop((session, stage));
    tokio::time::timeout(std::time::Duration::from_secs(5), listener).await??;
    Ok(())
}
