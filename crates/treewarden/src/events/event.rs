//! One event of the stream, and what a reader is told of those that it missed.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use treewarden_proto::SessionName;

use super::happening::{Happening, as_text};
use super::{Boot, Position};

/// Something that happened in a host.
///
/// Written as JSON it is one object: `boot`, `seq`, `at`, `path`, `name` if it happened to a session, `event`, and the keys
/// of what happened.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct HostEvent {
    /// The life of the host, in which `seq` counts.
    pub boot: Boot,
    /// Its number, one higher than that of the event before it; the first is 1.
    pub seq: u64,
    /// When, in milliseconds of the Unix epoch.
    pub at: u64,
    /// Where in the tree: the names from the root down, joined with `/`. The supervisor that reports, or the session; a
    /// session outside a tree by its name. Empty for the root, and for what concerns the host as a whole.
    #[serde(serialize_with = "as_text")]
    pub path: Arc<str>,
    /// The session, if it happened to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<SessionName>,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

impl HostEvent {
    /// The place in the stream behind this event: whoever has it goes on there with [`Events::since`](super::Events::since).
    #[must_use]
    pub fn position(&self) -> Position {
        Position { boot: self.boot, seq: self.seq }
    }

    /// The memory that the event takes.
    pub(super) fn size(path: &str, what: &Happening) -> usize {
        // Two counters stand before what is shared.
        size_of::<Self>() + 2 * size_of::<usize>() + path.len() + what.size()
    }
}

/// Says that a reader has missed events: it was too slow, or asked for what is not kept any more.
///
/// It is that reader's alone, has no number, and is kept nowhere. Written as JSON it is
/// `{"event":"missed","at":…,"boot":…,"events":…}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename = "missed")]
#[non_exhaustive]
pub struct Gap {
    /// When it was noticed, in milliseconds of the Unix epoch.
    pub at: u64,
    /// The life of the host in which the next event is.
    pub boot: Boot,
    /// How many events were missed; `None` if nobody can say, as the reader comes from another life of the host.
    #[serde(rename = "events")]
    pub missed: Option<u64>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.missed {
            Some(missed) => write!(f, "read every event: {missed} were missed"),
            None => f.write_str("read every event: those since then were of another life of the host"),
        }
    }
}

impl std::error::Error for Gap {}
