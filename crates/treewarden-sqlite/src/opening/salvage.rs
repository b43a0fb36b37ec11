//! Carries over into a new database what can still be read of a damaged one.
//!
//! It is for one damaged page not to cost what stands in the others. It mends nothing: a row is carried over as it is, or not at
//! all, and none whose checksum does not fit. The damaged file is only read. A name that is seen anywhere in it, and whose row
//! cannot be read, is known as one whose record is lost.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use treewarden_proto::{SessionId, SessionName};
use uuid::Uuid;

use crate::checksum::sum;
use crate::error::Fault;
use crate::options::SqliteOptions;
use crate::quarantine::lose;
use crate::transaction::Transaction;
use crate::{connection, meta, row};

/// A table whose rows are carried over.
struct Table {
    name: &'static str,
    /// The sum last.
    columns: &'static str,
    /// By which it is ordered.
    key: &'static str,
    /// Indexes that lead to rows behind a page that cannot be read.
    indexes: &'static [&'static str],
}

const NAMES: Table =
    Table { name: "names", columns: row::name::COLUMNS, key: "id", indexes: &["names_by_name"] };
const TURNS: Table = Table {
    name: "turns",
    columns: row::turn::COLUMNS,
    key: "seq",
    indexes: &["turns_by_turn", "turns_by_name", "turns_by_conversation"],
};
const LINES: Table =
    Table { name: "lines", columns: row::line::COLUMNS, key: "conversation, subpath, seq", indexes: &[] };
const EXPIRED: Table =
    Table { name: "expired_ids", columns: "turn, digest, at, sum", key: "turn", indexes: &[] };
const QUARANTINE: Table =
    Table { name: "quarantine", columns: "id, kind, key, reason, body, at, sum", key: "id", indexes: &[] };

/// What the new database has of its own stays: above all its generation.
const META: Table = Table { name: "meta", columns: "key, value, sum", key: "key", indexes: &[] };

/// What was carried over, for a person.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    names: usize,
    turns: usize,
    lost: usize,
    /// All names were carried over. An index does not show that: a bit that flipped in a name makes it another one.
    pub(super) knows_all_names: bool,
}

impl Carried {
    /// There was nothing in it that could be read.
    pub(crate) fn is_nothing(&self) -> bool {
        (self.names, self.turns, self.lost) == (0, 0, 0)
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, turns, lost, .. } = self;
        write!(
            f,
            "{names} records and {turns} turns of it could be read, and {lost} names are known to have lost theirs"
        )
    }
}

/// Carries over what can be read of a [damaged](readable) database, all or nothing; `dir` is the state directory.
///
/// # Errors
///
/// What the new database says. That of the damaged one nothing can be read is no failure.
pub(super) fn carry_over(damaged: Option<Connection>, to: &Connection, dir: &Path) -> Result<Carried, Fault> {
    let Some(from) = damaged else { return Ok(Carried::default()) };
    to.execute_batch("BEGIN IMMEDIATE")?;
    let carried = carry(&from, to, dir).and_then(|carried| {
        to.execute_batch("COMMIT")?;
        Ok(carried)
    });
    if carried.is_err() && !to.is_autocommit() {
        to.execute_batch("ROLLBACK")?;
    }
    carried
}

pub(super) fn open_to_read(path: &Path, options: &SqliteOptions) -> Result<Connection, Fault> {
    readable(connection::open(path, options)?)
}

/// Has a connection read what it can of a damaged database, and write nothing.
pub(crate) fn readable(db: Connection) -> Result<Connection, Fault> {
    // It is evidence: what stands in its log is not to be written into it.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.pragma_update(None, "query_only", true)?;
    // A table whose text is damaged must not hide the others.
    db.pragma_update(None, "writable_schema", true)?;
    db.pragma_update(None, "cell_size_check", true)?;
    Ok(db)
}

fn carry(from: &Connection, to: &Connection, dir: &Path) -> Result<Carried, Fault> {
    let (mut carried, mut seen) = (Carried::default(), BTreeMap::new());
    (carried.names, carried.knows_all_names) = NAMES.carry(from, to)?;
    (carried.turns, _) = TURNS.carry(from, to)?;
    for table in [LINES, EXPIRED, QUARANTINE, META] {
        table.carry(from, to)?;
    }
    names_in_the_index(from, &mut seen);
    names_of_turns(to, &mut seen)?;
    // No number is drawn twice, those of rows that could not be read included.
    let drawn = meta::count(from, meta::NUMBERS).unwrap_or_default();
    meta::put(to, meta::NUMBERS, drawn.max(meta::beyond(to)?))?;
    let before = rows(to, "names")?;
    let transaction = Transaction::of(to, dir)?;
    for (name, id) in seen {
        lose(&transaction, name, "its row is in a part that is damaged", id)?;
    }
    transaction.count()?;
    carried.lost = rows(to, "names")? - before;
    Ok(carried)
}

impl Table {
    /// Carries over the rows whose checksum fits; returns how many there were, and whether these are all.
    fn carry(&self, from: &Connection, to: &Connection) -> Result<(usize, bool), Fault> {
        let before = rows(to, self.name)?;
        let marks = vec!["?"; self.columns.split(',').count()].join(",");
        let insert = format!("INSERT OR IGNORE INTO {}({}) VALUES ({marks})", self.name, self.columns);
        let mut insert = to.prepare(&insert)?;
        let mut all_fit = true;
        let mut take = |row: &Row<'_>| -> Result<(), Fault> {
            match self.cells(row) {
                Some(cells) => drop(insert.execute(params_from_iter(cells))?),
                None => all_fit = false,
            }
            Ok(())
        };
        let Self { name, columns, key, .. } = self;
        let whole = self.scan(from, "", &mut take)?;
        if !whole {
            // From the other end, up to the same page.
            let backwards =
                self.key.split(',').map(|key| format!("{key} DESC")).collect::<Vec<_>>().join(",");
            self.scan(from, &format!("ORDER BY {backwards}"), &mut take)?;
            let one = format!("SELECT {columns} FROM {name} NOT INDEXED WHERE {key} = ?");
            for id in self.indexes.iter().flat_map(|index| ids(from, name, index, key)) {
                if let Ok(mut query) = from.prepare_cached(&one)
                    && let Ok(mut rows) = query.query([id])
                    && let Ok(Some(row)) = rows.next()
                {
                    take(row)?;
                }
            }
        }
        Ok((rows(to, self.name)? - before, whole && all_fit))
    }

    /// Takes rows up to the first page that cannot be read; tells whether there was none.
    fn scan(
        &self,
        from: &Connection,
        order: &str,
        take: &mut impl FnMut(&Row<'_>) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let query = format!("SELECT {} FROM {} NOT INDEXED {order}", self.columns, self.name);
        let Ok(mut query) = from.prepare(&query) else { return Ok(false) };
        let Ok(mut rows) = query.query([]) else { return Ok(false) };
        loop {
            match rows.next() {
                Ok(Some(row)) => take(row)?,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    /// The cells of a row whose checksum fits.
    fn cells(&self, row: &Row<'_>) -> Option<Vec<Value>> {
        let count = self.columns.split(',').count();
        let cells: Vec<ValueRef<'_>> = (0..count).map(|n| row.get_ref(n).ok()).collect::<Option<_>>()?;
        let (last, rest) = cells.split_last()?;
        if *last != ValueRef::Integer(sum(self.name, rest)) {
            return None;
        }
        cells.into_iter().map(|cell| Value::try_from(cell).ok()).collect()
    }
}

/// How many rows there are besides those of names and turns whose checksum does not fit, each table in words.
pub(crate) fn damaged_in_others(db: &Connection) -> Result<Vec<String>, Fault> {
    let mut said = Vec::new();
    for table in [LINES, EXPIRED, QUARANTINE, META] {
        let mut query = db.prepare(&format!("SELECT {} FROM {} NOT INDEXED", table.columns, table.name))?;
        let (mut rows, mut all, mut damaged) = (query.query([])?, 0_u64, 0_u64);
        while let Some(row) = rows.next()? {
            all += 1;
            damaged += u64::from(table.cells(row).is_none());
        }
        if damaged > 0 {
            said.push(format!("{damaged} of {all} rows of `{}`", table.name));
        }
    }
    Ok(said)
}

/// The row numbers in an index, from both its ends up to a page that cannot be read.
fn ids(from: &Connection, table: &str, index: &str, key: &str) -> Vec<i64> {
    let mut ids = Vec::new();
    for order in ["", "DESC"] {
        let Ok(column) = first_column(from, index) else { continue };
        let query = format!("SELECT {key} FROM {table} INDEXED BY {index} ORDER BY {column} {order}");
        let Ok(mut query) = from.prepare(&query) else { continue };
        let Ok(found) = query.query_map([], |row| row.get::<_, i64>(0)) else { continue };
        ids.extend(found.map_while(Result::ok));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn first_column(from: &Connection, index: &str) -> rusqlite::Result<String> {
    from.query_row("SELECT name FROM pragma_index_info(?) WHERE seqno = 0", [index], |row| row.get(0))
}

/// The names that the index has, whatever became of their rows.
fn names_in_the_index(from: &Connection, seen: &mut BTreeMap<SessionName, Option<SessionId>>) {
    for order in ["", "DESC"] {
        let query = format!("SELECT name FROM names INDEXED BY names_by_name ORDER BY name {order}");
        let Ok(mut query) = from.prepare(&query) else { continue };
        let Ok(names) = query.query_map([], |row| row.get::<_, String>(0)) else { continue };
        for name in names.map_while(Result::ok) {
            if let Ok(name) = SessionName::new(&name) {
                seen.entry(name).or_default();
            }
        }
    }
}

/// The names of the turns that were carried over, each with the conversation of its newest turn.
fn names_of_turns(to: &Connection, seen: &mut BTreeMap<SessionName, Option<SessionId>>) -> Result<(), Fault> {
    let mut query = to.prepare("SELECT name, session_id, max(seq) FROM turns GROUP BY name")?;
    let found = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    for turn in found {
        let (name, id) = turn?;
        if let Ok(name) = SessionName::new(&name) {
            seen.insert(name, Uuid::from_slice(&id).ok().map(SessionId::from_uuid));
        }
    }
    Ok(())
}

fn rows(db: &Connection, table: &str) -> Result<usize, Fault> {
    let rows: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    Ok(usize::try_from(rows).unwrap_or_default())
}
