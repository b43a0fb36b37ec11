//! One event of the stream, and what a reader is told of those that it missed.
//!
//! It is for the shape that all events have. What can happen is [`Happening`]'s.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use treewarden_otp::supervisor::ChildId;
use treewarden_proto::SessionName;

use super::happening::{Happening, as_text};
use super::{Boot, Position};

/// Something that happened in a host.
///
/// Written as JSON it is one object: `boot`, `seq`, `at`, `path`, `place`, `name` if it happened to a session, `event`, and the keys
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
    /// Where in the tree, for people: the names of [`place`](Self::place), joined with `/`. A name may hold a `/` as well,
    /// so that two places may have one path.
    #[serde(serialize_with = "as_text")]
    pub path: Arc<str>,
    /// Where in the tree: the names from the root down. The supervisor that reports, or the session; a session outside a
    /// tree by its name. Empty for the root, and for what concerns the host as a whole.
    #[serde(serialize_with = "as_texts")]
    pub place: Arc<[ChildId]>,
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
    pub(super) fn size(at: &Site, what: &Happening) -> usize {
        let names = size_of_val(&*at.place);
        // Two counters stand before what is shared. The names themselves are the tree's.
        size_of::<Self>() + 2 * size_of::<usize>() + at.path.len() + names + what.size()
    }
}

fn as_texts<S: Serializer>(names: &Arc<[ChildId]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(ChildId::as_str))
}

/// Where something happens, in both forms that an event has; none of the tree by default, as for the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Site {
    /// The names joined with `/`.
    pub(crate) path: Arc<str>,
    /// The names from the root down.
    pub(crate) place: Arc<[ChildId]>,
}

impl Site {
    /// That of a session outside a tree.
    pub(crate) fn of(name: &str) -> Self {
        Self { path: name.into(), place: [ChildId::from(name)].into() }
    }
}

/// Says that a reader has missed events: it was too slow, or asked for what is not kept any more.
///
/// It is that reader's alone, has no number, and is kept nowhere. Written as JSON it is
/// `{"event":"missed","at":…,"boot":…,"events":…,"why":…}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename = "missed")]
#[non_exhaustive]
pub struct Gap {
    /// When it was noticed, in milliseconds of the Unix epoch.
    pub at: u64,
    /// The life of the host in which the next event is.
    pub boot: Boot,
    /// How many events were missed; `None` if nobody can say.
    #[serde(rename = "events")]
    pub missed: Option<u64>,
    /// Why.
    pub why: GapKind,
}

/// Why a reader has missed events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GapKind {
    /// They are not kept any more: it was too slow, or came too late.
    Gone,
    /// It comes from another life of the host.
    OtherLife,
    /// It says that it has seen an event whose number was not given yet.
    NotGiven,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.why, self.missed) {
            (GapKind::NotGiven, _) => f.write_str(
                "read every event: the one that is named as the last that was seen has not happened yet",
            ),
            (_, Some(1)) => f.write_str("read every event: 1 is not kept any more"),
            (_, Some(missed)) => write!(f, "read every event: {missed} are not kept any more"),
            (_, None) => f.write_str("read every event: those since then were of another life of the host"),
        }
    }
}

impl std::error::Error for Gap {}
