//! Removes the sessions of templates that have had nothing to do for `remove_idle`.
//!
//! When that is, is [`treewarden_core::idle`]'s to say. This file sleeps until then, looks once more whether a
//! conversation would be lost, and removes. It must never remove a session that the file declares.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use treewarden_core::idle::{self, Look};
use treewarden_proto::SessionName;

use super::current::Current;
use super::dynamic::{self, Removal};
use crate::host::Host;
use crate::supervisor::Supervisor;

/// How many sessions are removed at once; a removal may wait for the end of a CLI.
const AT_ONCE: usize = 16;

/// Removes what is idle until the tree has ended.
pub(super) async fn keep(root: Supervisor, host: Host, current: Arc<Current>) {
    let ended = root.wait();
    tokio::pin!(ended);
    loop {
        let again = tokio::select! {
            _reason = &mut ended => return,
            // Removals that have begun go on in tasks of their own.
            again = look(&root, &host, &current) => again,
        };
        let wait = async {
            match again {
                Some(again) => tokio::time::sleep_until(again.into()).await,
                // No template removes anything.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _reason = &mut ended => return,
            () = wait => {}
            () = current.changed() => {}
        }
    }
}

/// Removes what is due, and says when to look again.
async fn look(root: &Supervisor, host: &Host, current: &Arc<Current>) -> Option<Instant> {
    let (due, again) = due(host, current);
    let removals = due.into_iter().map(|(name, since)| async move {
        let Some(desk) = host.find(name.as_str()) else { return };
        // It is kept, as its CLI is: what only the CLI has is shown, and counts as something to do.
        if let Some(why) = desk.unsaved().await {
            tracing::warn!(session = %name, why, "an idle session is kept, as its conversation is not on disk");
            return;
        }
        // The session must have been idle since then, and not only be idle now: a turn that came after the
        // look keeps it.
        let removal = Removal { name: name.to_string(), idle_since: Some(since) };
        match dynamic::remove(root.clone(), host.clone(), Arc::clone(current), removal).await {
            Ok(true) => tracing::info!(session = %name, "an idle session is removed"),
            Ok(false) => {}
            Err(error) => tracing::warn!(session = %name, %error, "an idle session is not removed"),
        }
    });
    futures_util::stream::iter(removals).buffer_unordered(AT_ONCE).collect::<()>().await;
    again
}

/// What is due of all templates, and when something may be due again.
fn due(host: &Host, current: &Current) -> (Vec<(SessionName, Instant)>, Option<Instant>) {
    let (mut all, mut first) = (Vec::new(), None::<Instant>);
    let now = Instant::now();
    for (limit, names) in limits(current) {
        let sessions = names.into_iter().map(|name| {
            let idle = host.find(name.as_str()).and_then(|desk| desk.idle_since());
            (name, idle)
        });
        let Look { due, again } = idle::look(now, limit, sessions);
        all.extend(due);
        first = Some(first.map_or(again, |first| first.min(again)));
    }
    (all, first)
}

/// The sessions of each template that removes idle ones, and how long they may be idle.
fn limits(current: &Current) -> Vec<(Duration, Vec<SessionName>)> {
    let made_of = current.made_of();
    let mut found = Vec::new();
    for (name, template) in made_of.spec.templates() {
        let Some(limit) = template.limits.remove_idle else { continue };
        found.push((limit, dynamic::names_of(&made_of, name)));
    }
    found
}
