//! What a start must have before it may spawn: a place among the live CLIs, the right to write the conversation, and the proof
//! that nobody writes it any more.
//!
//! It is not for what the conversation holds: that is `start.rs`. A proof may never be had without the lease, since to prove a
//! tree gone is to end what is left of it, and only the holder may do that.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use treewarden_core::session::{PermanentKind, StartFailure};
use treewarden_process::{Cookie, NotGone, TreeGone};
use treewarden_proto::SessionId;
use treewarden_store::{Lease, LeaseError};

use super::launch::permanent;
use crate::places::{AllPinned, Place};
use crate::session::desk::{Desk, Inherited};

/// So long the disk may take for the name in a lease.
const SYNC: Duration = Duration::from_secs(2);

/// A place among the live CLIs. Whoever has to wait for one keeps no lease meanwhile, and so no proof; `waits` is told.
pub(super) async fn place(desk: &Arc<Desk>, waits: &watch::Sender<bool>) -> Result<Place, StartFailure> {
    let request = desk.host.inner.places.ask(desk);
    // Whoever waits gives its lease up, so that another host may have the conversation meanwhile: then the
    // proof that came with the lease says nothing.
    if request.waits() {
        drop(desk.inherit());
        waits.send_replace(true);
    }
    let granted = request.granted().await;
    waits.send_replace(false);
    granted.map_err(|AllPinned { limit }| {
        let message = format!(
            "pinned sessions have every place for a live CLI, of which there are {limit}; raise `max_live` or pin fewer sessions"
        );
        permanent(PermanentKind::NoPlace, message)
    })
}

/// The right to write the conversation, and the proof that nobody else does.
///
/// The lease comes before the proof; see the [module](self).
pub(super) async fn lease_and_proof(
    desk: &Desk,
    id: SessionId,
    config_dir: &Path,
) -> Result<(Lease, TreeGone), StartFailure> {
    // A clear may have given the session another conversation since; a proof holds for the one that it was
    // made for.
    if let Some(Inherited { gone, lease, .. }) = desk.inherit().filter(|inherited| inherited.id == id) {
        if lease.is_in(config_dir) {
            return Ok((lease, gone));
        }
        // The session's options name another config directory now, and with it another conversation of this id.
        // It is given up first: both leases lock one file in the state directory (`earlier`), so that the
        // second would be refused as held by this very process.
        drop(lease);
        let lease = self::lease(desk, id, config_dir)?;
        sync(desk, &lease).await;
        return Ok((lease, gone));
    }
    let lease = lease(desk, id, config_dir)?;
    sync(desk, &lease).await;
    // The lease was free, so that another host may have settled turns of the conversation; what is remembered
    // here may not be the last of them.
    desk.forget_completed();
    let gone = treewarden_process::prove_gone(Cookie::new(id.to_string())).await;
    let gone = gone.map_err(|error| not_gone(desk, &error))?;
    desk.note_gone(&gone);
    Ok((lease, gone))
}

pub(super) fn not_gone(desk: &Desk, error: &NotGone) -> StartFailure {
    if error.is_shortage() {
        return StartFailure::Shortage(error.to_string());
    }
    desk.note_not_gone(error);
    let message = format!("processes of the session's last CLI cannot be ended: {error}");
    permanent(PermanentKind::NotGone, message)
}

/// Has the disk keep which session a new conversation is of, before anything is asked in it: a machine that goes down may take the
/// session's record along, and the name is not to begin blank then.
pub(super) async fn sync(desk: &Desk, lease: &Lease) {
    if !lease.is_to_be_synced() {
        return;
    }
    let watch = lease.watch();
    let synced = tokio::task::spawn_blocking(move || watch.sync());
    // What the disk does not take in time it takes later, or the next start says that the newest may be missing.
    match tokio::time::timeout(SYNC, synced).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(session = %desk.name, %error, "a lease is not on the disk yet"),
        Ok(Err(_)) | Err(_) => tracing::warn!(session = %desk.name, "a lease is not on the disk yet"),
    }
}

fn lease(desk: &Desk, id: SessionId, config_dir: &Path) -> Result<Lease, StartFailure> {
    let state = desk.host.state();
    Lease::acquire(config_dir, state.path(), id, &desk.holder()).map_err(|error| match error {
        LeaseError::Held(held) => permanent(
            PermanentKind::Held,
            format!("the conversation {id} is held by {held}; only one may write it"),
        ),
        // A want of descriptors passes when other sessions end. As a permanent failure it would settle every
        // turn that waits.
        LeaseError::Shortage { message } => StartFailure::Shortage(message),
        other => permanent(PermanentKind::NoLease, other.to_string()),
    })
}
