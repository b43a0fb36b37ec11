//! One transaction, as those who write in it see it: the connection, and numbers that nobody else gets.

use std::cell::Cell;

use rusqlite::Connection;

use crate::error::Fault;
use crate::meta;

/// A transaction that is under way.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    db: &'a Connection,
    commits: i64,
    /// The last number that was drawn, once one was.
    numbers: Cell<Option<i64>>,
    problems: Cell<bool>,
}

impl<'a> Transaction<'a> {
    /// The transaction that was begun on the connection.
    pub(crate) fn of(db: &'a Connection) -> Result<Self, Fault> {
        Ok(Self {
            db,
            commits: meta::count(db, meta::COMMITS)?,
            numbers: Cell::new(None),
            problems: Cell::new(false),
        })
    }

    pub(crate) fn db(&self) -> &'a Connection {
        self.db
    }

    /// Draws a number: higher than every one before, also of rows that are gone.
    pub(crate) fn number(&self) -> Result<i64, Fault> {
        let last = self.numbers.get().map_or_else(|| meta::count(self.db, meta::NUMBERS), Ok)?;
        let number = last + 1;
        self.numbers.set(Some(number));
        Ok(number)
    }

    /// Notes that there are other problems to be told once this one is stored.
    pub(crate) fn note_problems(&self) {
        self.problems.set(true);
    }

    /// Whether there are.
    pub(crate) fn has_other_problems(&self) -> bool {
        self.problems.get()
    }

    /// How many there are once this one is stored.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.unsigned_abs() + 1
    }

    /// Counts it; to be called last before the commit.
    pub(crate) fn count(&self) -> Result<(), Fault> {
        if let Some(numbers) = self.numbers.get() {
            meta::put(self.db, meta::NUMBERS, numbers)?;
        }
        meta::put(self.db, meta::COMMITS, self.commits + 1)
    }
}
