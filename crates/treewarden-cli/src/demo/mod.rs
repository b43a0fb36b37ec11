//! The demo: a session is killed in the middle of an answer, and its conversation is carried on.
//!
//! Everything in it is real but the model: the config file, the tree, the processes, `kill -9`. The CLI is a
//! stand-in, which is this very program under another name, so that neither a key nor Claude Code is needed.

mod stage;
mod story;
mod voice;

use std::process::ExitCode;

pub(crate) use stage::stand_in;

/// Runs the demo; what it started is gone at its end, whatever happens.
pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    let stage = stage::Stage::new()?;
    let tree = stage.start().await?;
    let told = tokio::select! {
        told = story::tell(&stage, &tree) => told,
        stopped = tokio::signal::ctrl_c() => stopped.map_err(Into::into),
    };
    tree.stop().await;
    let cleared = stage.clear().await;
    told.and(cleared).map(|()| ExitCode::SUCCESS)
}
