//! The options of a store.

use std::time::Duration;

use treewarden_store::Durability;

use crate::patience::OPENING;
use crate::writer::Limits;

/// The options of a [`SqliteStore`](crate::SqliteStore).
#[derive(Debug, Clone)]
#[must_use = "options do nothing until they open a store"]
pub struct SqliteOptions {
    pub(crate) durability: Durability,
    pub(crate) vfs: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) opening: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { durability: Durability::default(), vfs: None, limits: Limits::USUAL, opening: OPENING }
    }
}

impl SqliteOptions {
    /// Chooses what a stored value survives.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Has SQLite reach its files by another layer, which is registered under this name. For tests.
    #[doc(hidden)]
    pub fn vfs(mut self, name: impl Into<String>) -> Self {
        self.vfs = Some(name.into());
        self
    }

    /// Has an opening wait for so long for other processes, and not thirty seconds. For tests.
    #[doc(hidden)]
    pub fn opening(mut self, within: Duration) -> Self {
        self.opening = within;
        self
    }

    /// Has callers wait for so long until what they ask for begins, and for its answer. For tests.
    #[doc(hidden)]
    pub fn limits(mut self, begin: Duration, answer: Duration) -> Self {
        self.limits = Limits { begin, answer };
        self
    }
}
