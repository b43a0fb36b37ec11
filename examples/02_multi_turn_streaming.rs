//! Streams answers as they are made, in a conversation of several turns.
//!
//! Run with `cargo run -p treewarden-examples --example 02_multi_turn_streaming`. A turn is a stream of events that ends
//! with its one outcome; the views `text_deltas`, `text`, `tool_uses`, `collect` and `final_text` pick what you want.
//! The last turn is interrupted: its stream still ends with an outcome, and the session takes the next one.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::Write;

use treewarden::Session;
use treewarden::session::Event;
use treewarden_examples::Stage;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let spec = stage.spec();
    let session = Session::start(stage.options(spec)).await?;

    // As it comes.
    let mut turn = session.stream("Explain ownership in Rust.").await?;
    let mut pieces = 0;
    while let Some(text) = turn.text_deltas().next().await {
        pieces += 1;
        print!("{text}");
        std::io::stdout().flush()?;
    }
    println!("\n({pieces} pieces)");

    // Only the text, when it is whole.
    println!("{}", session.stream("Say that in one word.").await?.final_text().await?);

    // Everything at once.
    let all = session.stream("Explain ownership again.").await?.collect().await?;
    println!("{} characters, {} tools called", all.text.len(), all.tool_uses.len());

    // Enough of it: an interrupted turn comes to an outcome as well.
    let mut turn = session.stream("Explain ownership, and take your time.").await?;
    turn.interrupt();
    while let Some(event) = turn.next().await {
        if let Event::Outcome(outcome) = event {
            println!("the turn was {}", outcome.word());
        }
    }

    session.stop().await?;
    Ok(())
}
