//! The config file, read again: what has changed in it is applied to the running tree.

use std::convert::Infallible;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::sync::Notify;
use treewarden::config;
use treewarden::tree::{ApplyError, Change, NotApplied, TreeDiff};

use super::{Shared, unsaved};
use crate::verbs;
use crate::wire::{Code, Refusal};

/// Reads the file again whenever somebody sends a hangup; several that come during a reload are one.
pub(super) async fn on_hangup(shared: &Shared, hangup: &Notify) -> Infallible {
    loop {
        hangup.notified().await;
        let _reloading = shared.reloading.lock().await;
        match change(shared, None, Reload::default()).await {
            Ok(answer) => tracing::info!("reloaded:\n{}", answer["text"].as_str().unwrap_or_default()),
            Err(refusal) => tracing::error!("not reloaded: {}", refusal.message),
        }
    }
}

/// How the file is read again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reload {
    /// Show what would change, and change nothing.
    pub(super) dry_run: bool,
    /// Stop every session if the file declares none.
    pub(super) allow_empty: bool,
    /// End sessions whose conversation is not on disk.
    pub(super) force: bool,
}

/// Reads a file and makes the tree what it says, or only shows what that would mean.
pub(super) async fn reload(shared: &Shared, file: Option<PathBuf>, how: Reload) -> Result<Value, Refusal> {
    if how.dry_run {
        return change(shared, file, how).await;
    }
    match shared.reloading.try_lock() {
        Ok(_reloading) => change(shared, file, how).await,
        Err(_) => Err(refusal(&ApplyError::Busy)),
    }
}

async fn change(shared: &Shared, file: Option<PathBuf>, how: Reload) -> Result<Value, Refusal> {
    let Reload { dry_run, allow_empty, force } = how;
    let file = file.unwrap_or_else(|| shared.file.clone());
    let reading = file.clone();
    let read = tokio::task::spawn_blocking(move || config::load(&reading)).await;
    let read = read.map_err(|error| Refusal::new(Code::Failed, error))?;
    let spec = read.map_err(|error| Refusal::new(Code::Config, verbs::invalid(&file, &error)))?;
    // An editor that truncates before it writes and a full disk leave an empty file, which means that to nobody.
    let running = shared.tree.spec().root.children.len();
    if spec.root.children.is_empty() && running > 0 && !allow_empty && !dry_run {
        let message = format!(
            "{}: the file declares no child, and the tree has {running}: nothing is changed; if all of them are to be \
             stopped, use `treewarden reload --allow-empty`",
            file.display()
        );
        return Err(Refusal::new(Code::Config, message));
    }
    let diff = shared.tree.diff(spec);
    if !dry_run && !force {
        unsaved::refuse(shared, diff.ended_sessions(), "nothing is changed", "reload").await?;
    }
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
