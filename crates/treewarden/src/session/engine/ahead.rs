//! CLIs that are started ahead of the session's next conversation: which are wanted, and the one that is taken.
//!
//! It is not for their life before that, which is `warm/`. What is taken here must be as the session would start it now, or a
//! turn would run with options that no longer hold.

use std::sync::Arc;

use treewarden_core::session::{PermanentKind, StartFailure};
use treewarden_store::SessionRecord;

use super::cli::Cli;
use super::launch::{Surroundings, permanent, private, secrets};
use super::lease;
use crate::session::desk::Desk;
use crate::warm::Launch;

/// Has CLIs kept for the session's next conversation, if its options say so.
pub(in crate::session) async fn keep_warm(desk: &Desk) {
    if desk.options().warm == 0 {
        return;
    }
    // What cannot be started now (no program, no such folder) may be there when the first turn comes; that
    // start says what is wrong, and a session without a turn is no failure.
    let Ok(around) = Surroundings::of(desk) else { return };
    if let Ok(launch) = launch(desk, &around).await {
        want(desk, launch);
    }
}

async fn launch(desk: &Desk, around: &Surroundings) -> Result<Launch, StartFailure> {
    let private = private(desk, &around.cwd).await?;
    let Surroundings { path, environment, cwd, config_dir } = around;
    let (path, cwd, config_dir) = (path.clone(), cwd.clone(), config_dir.clone());
    let mut environment = environment.clone();
    // Compared by their values: a CLI that was started with a token that was renewed since is not taken.
    secrets(desk, &mut environment).await?;
    Ok(Launch::new(&desk.options().spec, private, path, environment, cwd, config_dir))
}

fn want(desk: &Desk, launch: Launch) {
    let n = desk.options().warm;
    if !desk.wants(&launch, n) {
        desk.want(Some(desk.host.inner.warm.want(launch, n)));
    }
}

/// Takes the CLI that has the id of the session's conversation already, if one was promised and is still as it would be
/// started now. Nothing was ever asked under that id, so that it is a new conversation without a look at the disk.
pub(super) async fn started_ahead(
    desk: &Arc<Desk>,
    record: &SessionRecord,
    around: &Surroundings,
) -> Result<Option<Box<Cli>>, StartFailure> {
    // A session whose `warm` was set to 0 since may still have been promised a CLI, so that only a host
    // without any pool skips the look; it spares a read of the settings file for each start.
    let warm = &desk.host.inner.warm;
    if desk.options().warm == 0 && warm.is_empty() {
        return Ok(None);
    }
    let launch = launch(desk, around).await?;
    let taken = warm.take(record.session_id, &launch).await;
    if desk.options().warm > 0 {
        want(desk, launch);
    } else {
        desk.want(None);
    }
    let Some(spare) = taken else { return Ok(None) };
    // As at any start, the record comes before the first prompt: a host that died in between would find a
    // conversation whose folders no record names.
    desk.put_record(&around.cwd, &around.config_dir).await.map_err(|error| {
        permanent(PermanentKind::Store, format!("the start could not be recorded: {error}"))
    })?;
    // What the lease says is for people. Others are kept away by its lock, which is held already.
    if let Err(error) = spare.lease.hand_over(&desk.holder()) {
        tracing::debug!(session = %desk.name, %error, "a lease still names the pool");
    }
    lease::sync(desk, &spare.lease).await;
    desk.watch(&spare.lease);
    // The CLI may have waited for minutes, in which a cleaner may have removed the lease's file. A lease that
    // is lost is said here; the turns that come after it are refused by `may_accept`.
    if let Err(error) = desk.look_at_lease() {
        tracing::warn!(session = %desk.name, %error, "the lease of a CLI that was started ahead is lost");
    }
    Ok(Some(Box::new(Cli::of_spare(desk, record.session_id, *spare))))
}
