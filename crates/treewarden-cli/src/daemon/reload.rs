//! The config file, read again: what has changed in it is applied to the running tree.

use std::convert::Infallible;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::sync::Notify;
use treewarden::config;
use treewarden::tree::{ApplyError, Change, NotApplied, TreeDiff};

use super::Shared;
use crate::verbs;
use crate::wire::{Code, Refusal};

/// Reads the file again whenever somebody sends a hangup; several that come during a reload are one.
pub(super) async fn on_hangup(shared: &Shared, hangup: &Notify) -> Infallible {
    loop {
        hangup.notified().await;
        let _reloading = shared.reloading.lock().await;
        match change(shared, None, false).await {
            Ok(answer) => tracing::info!("reloaded:\n{}", answer["text"].as_str().unwrap_or_default()),
            Err(refusal) => tracing::error!("not reloaded: {}", refusal.message),
        }
    }
}

/// Reads a file and makes the tree what it says, or only shows what that would mean.
pub(super) async fn reload(shared: &Shared, file: Option<PathBuf>, dry_run: bool) -> Result<Value, Refusal> {
    if dry_run {
        return change(shared, file, true).await;
    }
    match shared.reloading.try_lock() {
        Ok(_reloading) => change(shared, file, false).await,
        Err(_) => Err(refusal(&ApplyError::Busy)),
    }
}

async fn change(shared: &Shared, file: Option<PathBuf>, dry_run: bool) -> Result<Value, Refusal> {
    let file = file.unwrap_or_else(|| shared.file.clone());
    let reading = file.clone();
    let read = tokio::task::spawn_blocking(move || config::load(&reading)).await;
    let read = read.map_err(|error| Refusal::new(Code::Failed, error))?;
    let spec = read.map_err(|error| Refusal::new(Code::Config, verbs::invalid(&file, &error)))?;
    let diff = shared.tree.diff(spec);
    let failed = if dry_run || diff.is_empty() {
        Vec::new()
    } else {
        match shared.tree.apply(diff.clone()).await {
            Ok(()) => Vec::new(),
            Err(ApplyError::Partial(failed)) => failed,
            Err(error) => return Err(refusal(&error)),
        }
    };
    for failed in &failed {
        tracing::error!(child = %failed.path, reason = %failed.reason, "not changed by the reload");
    }
    Ok(answer(&diff, &failed, dry_run))
}

fn answer(diff: &TreeDiff, failed: &[NotApplied], dry_run: bool) -> Value {
    let unchanged = diff.nodes.iter().skip(1).filter(|node| node.change == Change::Unchanged).count();
    let failed: Vec<Value> = failed
        .iter()
        .map(|failed| json!({ "path": failed.path, "reason": failed.reason.to_string() }))
        .collect();
    json!({
        "dry_run": dry_run, "changed": !diff.is_empty(), "unchanged": unchanged, "nodes": diff.nodes,
        "failed": failed, "text": diff.to_string(),
    })
}

fn refusal(error: &ApplyError) -> Refusal {
    let code = match error {
        ApplyError::Busy | ApplyError::Stale => Code::Busy,
        ApplyError::Stopping => Code::Stopped,
        _ => Code::Failed,
    };
    Refusal::new(code, error)
}
