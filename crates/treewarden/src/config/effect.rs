//! What another value of a key means to a tree that runs.

use serde::Serialize;

/// What a setting that differs means to what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// It holds at once, and nothing is restarted for it.
    AtOnce,
    /// It holds for turns that are opened from now on.
    NextTurn,
    /// The session's CLI is replaced: at once if it is idle, after its turn if it is busy.
    NextCli,
    /// The child is restarted.
    Restart,
    /// The child is stopped, and another is started in its place.
    Replace,
    /// It holds when the tree is started again.
    NextTree,
}

impl Effect {
    /// The effect in words.
    pub(crate) const fn said(self) -> &'static str {
        match self {
            Self::AtOnce => "at once",
            Self::NextTurn => "from the next turn on",
            Self::NextCli => "another CLI: at once if it is idle, else after its turn",
            Self::Restart => "restarts the child",
            Self::Replace => "replaces the child",
            Self::NextTree => "not before the tree is started again",
        }
    }
}
