//! The config file, read again: what has changed in it is applied to the tree.

use std::path::{Path, PathBuf};
use std::time::Duration;

use treewarden::config::{self, ConfigError, TreeSpec};
use treewarden::tree::{ApplyError, Change, NotApplied, TreeDiff};

use crate::answer::{Answer, NotReloaded, Reloaded};
use crate::refusal::{Code, Refusal, Unanswered};
use crate::service::{Service, still_there};
use crate::sink::{Gone, Sink};
use crate::unsaved;

/// How long the disk may take to give the file.
const READ: Duration = Duration::from_secs(30);

/// How the file is read again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reload {
    /// Show what would change, and change nothing.
    pub(crate) dry_run: bool,
    /// Stop every session if the file declares none.
    pub(crate) allow_empty: bool,
    /// End sessions whose conversation is not on disk.
    pub(crate) force: bool,
}

/// Reads a file and makes the tree what it says, or only says what that would mean. It waits for no other reload.
pub(crate) async fn asked(
    service: &Service,
    sink: &mut impl Sink,
    file: Option<PathBuf>,
    how: Reload,
) -> Result<Answer, Unanswered> {
    // A second reload is refused and not queued: its file may say something else by the time that its turn
    // comes. A dry run changes nothing, and waits for nobody.
    let _reloading = match service.reloading.try_lock() {
        _ if how.dry_run => None,
        Ok(reloading) => Some(reloading),
        Err(_) => return Err(ApplyError::Busy.into()),
    };
    Ok(Answer::Reloaded(change(service, file, how, || still_there(sink)).await?))
}

/// Does so for nobody, once no other reload is under way.
pub(crate) async fn unasked(service: &Service) -> Result<Reloaded, Refusal> {
    // Nobody waits for the answer to a signal, so that it cannot be refused: it waits for a reload under way,
    // and then reads the file as it is.
    let _reloading = service.reloading.lock().await;
    match change(service, None, Reload::default(), || Ok(())).await {
        Ok(reloaded) => Ok(reloaded),
        Err(Unanswered::Refused(refusal)) => Err(refusal),
        Err(Unanswered::Gone) => Err(Refusal::failed(Gone)),
    }
}

async fn change(
    service: &Service,
    file: Option<PathBuf>,
    how: Reload,
    still_wanted: impl Fn() -> Result<(), Gone>,
) -> Result<Reloaded, Unanswered> {
    let Reload { dry_run, allow_empty, force } = how;
    let Some(file) = file.or_else(|| service.file.clone()) else {
        return Err(Refusal::new(Code::BadRequest, "the tree was started from no file: name one").into());
    };
    let reading = file.clone();
    // A file on a disk that hangs keeps no thread that answers others.
    let reading = tokio::task::spawn_blocking(move || config::load_regular(&reading));
    // A disk that does not answer would keep every later reload waiting behind this one.
    let read = tokio::time::timeout(READ, reading).await.map_err(|_| {
        let text = format!("{} did not come within {} s; nothing is changed", file.display(), READ.as_secs());
        Refusal::new(Code::Busy, text)
    })?;
    let read = read.map_err(Refusal::failed)?;
    let spec = read.map_err(|error| Refusal::new(Code::Config, invalid(&file, &error)))?;
    // An editor that truncates before it writes and a full disk leave an empty file, which means that to nobody.
    // One that holds its templates alone is the half of a file whose children come behind them.
    let lost = lost(&service.tree.spec(), &spec);
    if lost > 0 && !allow_empty && !dry_run {
        let message = format!(
            "{}: the file declares no child, and the tree has {lost}: nothing is changed, since all of them would be \
             stopped",
            file.display()
        );
        return Err(Refusal::new(Code::Config, message).unless("allow_empty").into());
    }
    let diff = service.tree.diff(spec);
    // A dry run is refused as well: it would promise what cannot be done.
    if !diff.conflicts.is_empty() {
        return Err(ApplyError::Names(diff.conflicts).into());
    }
    if !dry_run && !force {
        // Asked before anything is changed: a reload that is refused half-way would leave a tree of neither
        // file.
        unsaved::refuse(service, diff.ended_sessions(), "nothing is changed").await?;
    }
    // The look may have taken seconds.
    still_wanted()?;
    let failed = if dry_run || diff.is_empty() {
        Vec::new()
    } else {
        // The diff says of which revision it is: a tree that was changed meanwhile refuses it as `Stale`.
        match service.tree.apply(diff.clone()).await {
            Ok(()) => Vec::new(),
            Err(ApplyError::Partial(failed)) => failed,
            Err(error) => return Err(error.into()),
        }
    };
    for failed in &failed {
        tracing::error!(child = %failed.path, reason = %failed.reason, "not changed by the reload");
    }
    Ok(reloaded(&diff, &failed, dry_run))
}

/// How many children a tree would lose to a file that declares none at all, or none but templates.
fn lost(running: &TreeSpec, file: &TreeSpec) -> usize {
    let declared = |tree: &TreeSpec| tree.root.children.len() - tree.templates().count();
    match (file.root.children.is_empty(), declared(file)) {
        (true, _) => running.root.children.len(),
        (false, 0) => declared(running),
        (false, _) => 0,
    }
}

fn reloaded(diff: &TreeDiff, failed: &[NotApplied], dry_run: bool) -> Reloaded {
    let unchanged = diff.nodes.iter().skip(1).filter(|node| node.change == Change::Unchanged).count();
    let failed = failed
        .iter()
        .map(|failed| NotReloaded { path: failed.path.clone(), reason: failed.reason.to_string() })
        .collect();
    Reloaded {
        dry_run,
        changed: !diff.is_empty(),
        unchanged,
        nodes: diff.nodes.clone(),
        failed,
        text: diff.to_string(),
    }
}

/// Everything that is wrong with a file, in words.
pub fn invalid(file: &Path, error: &ConfigError) -> String {
    let count = error.faults().len();
    let word = if count == 1 { "error" } else { "errors" };
    format!("{error}\n\n{} is not valid: {count} {word}", file.display())
}
