//! Before CLIs are ended because somebody wants it: would a conversation be lost with one?
//!
//! A CLI that cannot write has the only copy of its conversation. Whoever can be refused is refused; whoever cannot, as a
//! signal, is answered in the log and the events.

use std::time::Duration;

use treewarden::SessionName;
use treewarden::tree::{NodeKind, Outline};

use crate::refusal::{Code, Refusal};
use crate::service::Service;

/// How long the end of a tree waits for a look at all transcripts.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// Refuses to end the CLIs of these sessions if one of them has the only copy of its conversation.
pub(crate) async fn refuse(
    service: &Service,
    names: impl IntoIterator<Item = &str>,
    what: &str,
) -> Result<(), Refusal> {
    // A name that no session can have is none whose conversation could be lost.
    let names: Vec<SessionName> = names.into_iter().filter_map(|name| SessionName::new(name).ok()).collect();
    let unsaved = service.tree.host().unsaved(names).await;
    if unsaved.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = unsaved.iter().map(|one| format!("that of {}: {}", one.name, one.why)).collect();
    let message = format!(
        "{what}, since a conversation is not on disk, and would not be found at the next start: {}. See that the CLI can \
         write there",
        all.join("; ")
    );
    Err(Refusal::new(Code::Unsaved, message).unless("force"))
}

/// Says which conversations are lost with the tree's end, since that cannot be refused.
pub(crate) async fn say(service: &Service) {
    let host = service.tree.host();
    let names: Vec<SessionName> = host.sessions().into_iter().map(|session| session.name).collect();
    // The look has a bound: this is the daemon's way out, and a disk that hangs must not keep it.
    let Ok(unsaved) = tokio::time::timeout(LAST_LOOK, host.unsaved(names)).await else {
        return tracing::warn!("whether all conversations are on disk could not be seen in time");
    };
    for one in unsaved {
        tracing::error!(session = %one.name, why = %one.why, "a CLI is ended whose conversation is not on disk");
        host.note_unsaved(&one);
    }
}

/// The sessions below a supervisor of this name.
pub(crate) fn below(node: &Outline, name: &str) -> Vec<String> {
    if node.kind == NodeKind::Supervisor && node.name == name {
        return sessions(node);
    }
    node.children.iter().flat_map(|child| below(child, name)).collect()
}

fn sessions(node: &Outline) -> Vec<String> {
    let own = node.session.as_ref().map(|session| session.name.to_string());
    own.into_iter().chain(node.children.iter().flat_map(sessions)).collect()
}
