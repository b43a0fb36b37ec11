//! Carries a conversation on in another process.
//!
//! Run with `cargo run -p treewarden-examples --example 03_resume_across_restarts`. The program runs itself twice, as
//! two processes with one state directory. Both start a session of the same name; the second one finds the conversation
//! of the first. Nothing is passed on but the name.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use treewarden::{Host, Session, SessionOptions, SessionSpec};
use treewarden_examples::Stage;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    if let (Some(prompt), Some(spec)) = (args.next(), args.next()) {
        return process(&prompt, serde_json::from_str(&spec)?).await;
    }

    let stage = Stage::new()?;
    let spec = serde_json::to_string(&stage.spec().name("assistant".parse()?))?;
    for prompt in ["My name is Alice.", "What is my name?"] {
        let status = tokio::process::Command::new(std::env::current_exe()?)
            .args([prompt, &spec])
            .current_dir(stage.path())
            .kill_on_drop(true)
            .status()
            .await?;
        anyhow::ensure!(status.success(), "the process failed: {status}");
    }
    Ok(())
}

/// What each of the two processes does.
async fn process(prompt: &str, spec: SessionSpec) -> anyhow::Result<()> {
    let host = Host::options().state_dir("shared-state").open()?;
    let session = Session::start(SessionOptions::from(spec).host(&host)).await?;
    let known = session.id().await?.is_some();
    println!("{}: {prompt}", if known { "the name has a conversation" } else { "the name is new" });
    println!("  {}", session.query(prompt).await?);
    // A session that is stopped stays so until it is started by name again, as the next process does. Without the
    // stop, the CLI would end with its host, and the name would be there all the same.
    session.stop().await?;
    Ok(())
}
