//! The look at a database that is opened: damage is to be found before a name begins blank or an open turn is forgotten.
//!
//! Every row of `names` is read and its checksum compared, and so is every open turn. An index holds nothing that its table does
//! not hold, but for this: the name of a row that is gone. So each index is compared with its table, by sums over both, which one
//! pass over each gives; only where they differ is it looked for what differs. The texts of settled turns are not read here: each
//! is looked at when it is asked for. They are, with all pages, once damage was [noted](crate::place::to_be_read).

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash};
use std::path::Path;

use foldhash::quality::FixedState;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use treewarden_proto::SessionName;
use treewarden_store::StoreErrorKind;

use crate::checksum::Bad;
use crate::error::Fault;
use crate::quarantine::{lose, reindex, set_names_aside, set_turns_aside};
use crate::row::name::{self, NameRow};
use crate::row::turn::{self, StoredRow};
use crate::transaction::Transaction;

/// Looks, sets aside what cannot be read, and makes indexes anew that do not fit.
pub(super) fn look(db: &Connection, path: &Path, all: bool) -> Result<(), Fault> {
    let (found, dir) = (find(db, path, all)?, path.parent().unwrap_or(path));
    if found.is_nothing() {
        return Ok(());
    }
    match found.mend(db, dir) {
        // What can be read is served all the same; what cannot is found again.
        Err(fault) if matches!(fault.kind(), StoreErrorKind::DiskFull | StoreErrorKind::ReadOnly) => {
            tracing::error!(%fault, "what is damaged in the state database cannot be set aside");
            Ok(())
        }
        mended => mended,
    }
}

/// Looks for what cannot be read, and changes nothing; with `all` at every page, and at settled turns too.
pub(crate) fn find(db: &Connection, path: &Path, all: bool) -> Result<Found, Fault> {
    if all {
        let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(Fault::corrupt(path, found));
        }
    }
    // At one moment: a table and its index are compared, and another process may write in between.
    db.execute_batch("BEGIN")?;
    let found = names(db).and_then(|names| Ok(Found { names, turns: turns(db, all)? }));
    db.execute_batch("ROLLBACK")?;
    found
}

/// What cannot be read of names and turns, and which of their indexes do not fit.
#[derive(Debug)]
pub(crate) struct Found {
    names: Table,
    turns: Table,
}

#[derive(Debug, Default)]
struct Table {
    bad: Vec<Bad>,
    /// An index says something else than the table.
    differs: bool,
    /// Names that only the index has.
    gone: Vec<SessionName>,
}

impl Found {
    fn is_nothing(&self) -> bool {
        [&self.names, &self.turns].iter().all(|table| table.bad.is_empty() && !table.differs)
    }

    /// How many names and turns cannot be read; names whose rows are gone are among them.
    pub(crate) fn damaged(&self) -> (usize, usize) {
        (self.names.bad.len() + self.names.gone.len(), self.turns.bad.len())
    }

    /// Sets aside what cannot be read, and makes indexes anew that do not fit, in a transaction of its own; `dir` is the state
    /// directory, by whose lease files it is known which conversations those names had.
    pub(crate) fn mend(self, db: &Connection, dir: &Path) -> Result<(), Fault> {
        db.execute_batch("BEGIN IMMEDIATE")?;
        let mended = self.mend_in(&Transaction::of(db, dir)?).and_then(|()| Ok(db.execute_batch("COMMIT")?));
        if mended.is_err() && !db.is_autocommit() {
            db.execute_batch("ROLLBACK")?;
        }
        mended
    }

    fn mend_in(self, to: &Transaction<'_>) -> Result<(), Fault> {
        set_names_aside(to, &self.names.bad)?;
        set_turns_aside(to, &self.turns.bad)?;
        for (table, found) in [("names", &self.names), ("turns", &self.turns)] {
            if found.differs {
                tracing::error!(table, "an index of the state database is damaged, and is made anew");
                reindex(to.db(), table)?;
            }
        }
        let why = "its row is gone, and its index has the name";
        self.names.gone.into_iter().try_for_each(|name| lose(to, name, why, None))?;
        to.count()
    }
}

fn names(db: &Connection) -> Result<Table, Fault> {
    let (mut found, mut table) = (Table::default(), Sum::default());
    let mut query = db.prepare(&format!("SELECT {} FROM names NOT INDEXED", name::COLUMNS))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        table.add(row.get_ref(1)?, row.get_ref(0)?);
        found.bad.extend(NameRow::look(row)?);
    }
    let index = "SELECT name, id FROM names INDEXED BY names_by_name ORDER BY name";
    if table != of_index(db, index)? {
        found.differs = true;
        found.gone = only_in_index(db)?;
    }
    Ok(found)
}

/// Names whose rows are gone.
fn only_in_index(db: &Connection) -> Result<Vec<SessionName>, Fault> {
    let mut table = db.prepare("SELECT id FROM names NOT INDEXED")?;
    let ids: BTreeSet<i64> = table.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut index = db.prepare("SELECT name, id FROM names INDEXED BY names_by_name")?;
    let mut rows = index.query([])?;
    let mut gone = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get_ref(1)?.as_i64().unwrap_or_default();
        // What is no name any more is nobody's.
        if !ids.contains(&id)
            && let Ok(name) = row.get_ref(0)?.as_str()
            && let Ok(name) = SessionName::new(name)
        {
            gone.push(name);
        }
    }
    Ok(gone)
}

/// The indexes of `turns`: each with its column, the place of that in the question for all rows, and which rows it has.
const INDEXES: [(&str, &str, usize, &str); 4] = [
    ("turns_by_turn", "turn", 1, ""),
    ("turns_by_name", "name", 2, ""),
    ("turns_by_conversation", "session_id", 3, ""),
    ("open_turns", "name", 2, "WHERE settled_at IS NULL"),
];

fn turns(db: &Connection, all: bool) -> Result<Table, Fault> {
    let (mut found, mut to_read) = (Table::default(), Vec::new());
    let mut sums: [Sum; INDEXES.len()] = Default::default();
    let mut query = db.prepare("SELECT seq, turn, name, session_id, settled_at FROM turns NOT INDEXED")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, is_open) = (row.get_ref(0)?, row.get_ref(4)? == ValueRef::Null);
        for (sum, (.., key, which)) in sums.iter_mut().zip(INDEXES) {
            if is_open || which.is_empty() {
                sum.add(row.get_ref(key)?, seq);
            }
        }
        if is_open || all {
            to_read.push(row.get::<_, i64>(0)?);
        }
    }
    // By their numbers: through an index, SQLite would take its cells for those of the row.
    let mut query = db.prepare(&format!("SELECT {} FROM turns WHERE seq = ?", turn::COLUMNS))?;
    for seq in to_read {
        found.bad.extend(query.query_row([seq], StoredRow::look)?);
    }
    for (sum, (index, key, _, which)) in sums.iter().zip(INDEXES) {
        let query = format!("SELECT {key}, seq FROM turns INDEXED BY {index} {which} ORDER BY {key}, seq");
        found.differs |= *sum != of_index(db, &query)?;
    }
    // Which of the two is right is told by the row: one that is damaged is not to be found under what it says now.
    if found.differs && !all { turns(db, true) } else { Ok(found) }
}

/// What a table and its index have in common, in whatever order it is read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    sum: u64,
}

impl Sum {
    fn add(&mut self, key: ValueRef<'_>, row: ValueRef<'_>) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(FixedState::default().hash_one((Cell(key), Cell(row))));
    }
}

/// A cell that can be hashed.
struct Cell<'a>(ValueRef<'a>);

impl Hash for Cell<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self.0 {
            ValueRef::Null => 0.hash(state),
            ValueRef::Integer(value) => (1, value).hash(state),
            ValueRef::Real(value) => (2, value.to_bits()).hash(state),
            ValueRef::Text(text) => (3, text).hash(state),
            ValueRef::Blob(blob) => (4, blob).hash(state),
        }
    }
}

/// The sum of an index, whose entries are asked for in its order; one that is out of order has none that fits.
fn of_index(db: &Connection, query: &str) -> Result<Sum, Fault> {
    let mut query = db.prepare(query)?;
    let mut rows = query.query([])?;
    let (mut sum, mut last) = (Sum::default(), (Vec::new(), i64::MIN));
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_bytes().unwrap_or_default();
        let next = (key, row.get_ref(1)?.as_i64().unwrap_or_default());
        if next <= (&last.0[..], last.1) {
            return Ok(Sum { rows: u64::MAX, sum: 0 });
        }
        sum.add(row.get_ref(0)?, row.get_ref(1)?);
        // In the same memory: there are many of them.
        last.0.clear();
        last.0.extend_from_slice(key);
        last.1 = next.1;
    }
    Ok(sum)
}
