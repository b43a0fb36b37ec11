//! One transaction, as those who write in it see it: the connection, numbers that nobody else gets, and what the lease files of its
//! state directory say, by which a name is known whose row is damaged.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rusqlite::Connection;
use treewarden_proto::{SessionId, SessionName};
use treewarden_store::{lease_files, newest_of_each};

use crate::error::Fault;
use crate::meta;

/// A transaction that is under way.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    db: &'a Connection,
    /// The state directory.
    dir: &'a Path,
    /// What its lease files say, once that was asked.
    leases: OnceCell<BTreeMap<SessionName, SessionId>>,
    commits: i64,
    /// The last number that was drawn, once one was.
    numbers: Cell<Option<i64>>,
    problems: Cell<bool>,
}

impl<'a> Transaction<'a> {
    /// The transaction that was begun on the connection to the database of a state directory, or to one that is made for it.
    pub(crate) fn of(db: &'a Connection, dir: &'a Path) -> Result<Self, Fault> {
        Ok(Self {
            db,
            dir,
            leases: OnceCell::new(),
            commits: meta::count(db, meta::COMMITS)?,
            numbers: Cell::new(None),
            problems: Cell::new(false),
        })
    }

    pub(crate) fn db(&self) -> &'a Connection {
        self.db
    }

    pub(crate) fn dir(&self) -> &'a Path {
        self.dir
    }

    /// The conversation that each name had last, by the lease files; they are read once for all names of a transaction.
    pub(crate) fn leases(&self) -> io::Result<&BTreeMap<SessionName, SessionId>> {
        if let Some(leases) = self.leases.get() {
            return Ok(leases);
        }
        let leases = newest_of_each(&lease_files(self.dir)?);
        Ok(self.leases.get_or_init(|| leases))
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
