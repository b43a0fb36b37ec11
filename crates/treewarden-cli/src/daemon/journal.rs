//! What happened lately, and what happens: the events of all sessions and supervisors as lines of JSON.
//!
//! The last 1,024 lines are kept. A follower who is slower than that is told how many it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::broadcast;
use treewarden::Tree;
use treewarden::supervisor::{Feed, Reason, Report, SupervisionEvent};

const KEPT: usize = 1024;

/// The events, as they are read by any number of clients.
#[derive(Debug, Clone)]
pub(super) struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<VecDeque<Arc<Value>>>,
    live: broadcast::Sender<Arc<Value>>,
}

impl Journal {
    /// Begins to listen to a tree.
    pub(super) fn start(tree: &Tree) -> Self {
        let inner = Inner { kept: Mutex::default(), live: broadcast::Sender::new(KEPT) };
        let journal = Self(Arc::new(inner));
        tokio::spawn(journal.clone().sessions(tree.host().subscribe()));
        tokio::spawn(journal.clone().supervisors(tree.supervisor().subscribe(), tree.clone()));
        journal
    }

    /// What happened lately, and a receiver of what happens from now on.
    pub(super) fn read(&self) -> (Vec<Arc<Value>>, broadcast::Receiver<Arc<Value>>) {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.0.live.subscribe())
    }

    fn note(&self, event: Value) {
        let event = Arc::new(event);
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&event));
        let _nobody = self.0.live.send(event);
    }

    /// Notes that something was removed under the daemon.
    pub(super) fn removed(&self, what: &str, mended: bool) {
        self.note(json!({ "at": now(), "event": "removed", "what": what, "mended": mended }));
    }

    /// Notes that a session is ended whose conversation is on no disk.
    pub(super) fn unsaved(&self, name: &str, why: &str) {
        self.note(json!({ "at": now(), "name": name, "event": "unsaved", "why": why }));
    }

    async fn sessions(self, mut feed: broadcast::Receiver<treewarden::host::SessionEvent>) {
        loop {
            match feed.recv().await {
                Ok(event) => match serde_json::to_value(&event) {
                    Ok(event) => self.note(event),
                    Err(error) => tracing::warn!(%error, "an event is no JSON"),
                },
                Err(broadcast::error::RecvError::Lagged(missed)) => self.note(lagged(missed)),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    async fn supervisors(self, mut feed: Feed, tree: Tree) {
        let ended = tree.wait();
        tokio::pin!(ended);
        loop {
            let event = tokio::select! {
                event = feed.next() => event,
                _reason = &mut ended => return,
            };
            match event {
                Ok(event) => self.note(supervision(&event)),
                Err(missed) => self.note(lagged(missed.0)),
            }
        }
    }
}

/// The line that stands for events that came too fast.
pub(super) fn lagged(missed: u64) -> Value {
    json!({ "at": now(), "event": "missed", "events": missed })
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A reason in words.
pub(crate) fn said(reason: &Reason) -> String {
    match reason {
        Reason::Exit(reason) => reason.to_string(),
        _ => "reached max restart intensity".to_owned(),
    }
}

fn supervision(event: &SupervisionEvent) -> Value {
    let (context, child, reason) = match &event.report {
        Report::Progress(child) => ("progress", Some(&child.id), None),
        Report::Error(context, reason, child) => (context.as_str(), Some(&child.id), Some(said(reason))),
        Report::Quarantined(child) => ("quarantined", Some(&child.id), None),
        Report::Parked(child) => ("parked", Some(&child.id), None),
        _ => ("other", None, None),
    };
    json!({
        "at": now(), "event": "supervision", "supervisor": &*event.supervisor, "context": context,
        "child": child.map(ToString::to_string), "reason": reason,
    })
}
