//! The rows of the tables: how each is written with its checksum, and looked at when it is read.
//!
//! It is for what a row holds. It is not for which rows are asked for. Nothing is given out here whose checksum does not fit.

pub(crate) mod expired;
pub(crate) mod line;
pub(crate) mod name;
pub(crate) mod turn;

use std::fmt::Display;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use treewarden_store::{StoreError, StoreErrorKind};
use uuid::Uuid;

use crate::checksum::{DAMAGED, sum};
use crate::error::Fault;

/// The first cells of a row, of which the next one is the sum; an error says that it does not fit.
fn cells<'r, const N: usize>(
    table: &str,
    row: &'r Row<'_>,
) -> rusqlite::Result<Result<[ValueRef<'r>; N], String>> {
    let mut cells = [ValueRef::Null; N];
    for (n, cell) in cells.iter_mut().enumerate() {
        *cell = row.get_ref(n)?;
    }
    let fits = row.get_ref(N)? == ValueRef::Integer(sum(table, &cells));
    Ok(if fits { Ok(cells) } else { Err(DAMAGED.to_owned()) })
}

// The sum fits: what follows fails only where a program wrote what it should not have.

fn text(cell: ValueRef<'_>) -> Result<&str, String> {
    cell.as_str().map_err(|error| error.to_string())
}

fn optional_text(cell: ValueRef<'_>) -> Result<Option<&str>, String> {
    cell.as_str_or_null().map_err(|error| error.to_string())
}

fn number(cell: ValueRef<'_>) -> Result<i64, String> {
    cell.as_i64().map_err(|error| error.to_string())
}

fn uuid(cell: ValueRef<'_>) -> Result<Uuid, String> {
    cell.as_blob()
        .map_err(|error| error.to_string())
        .and_then(|blob| Uuid::from_slice(blob).map_err(|error| error.to_string()))
}

fn optional_uuid(cell: ValueRef<'_>) -> Result<Option<Uuid>, String> {
    if cell == ValueRef::Null { Ok(None) } else { uuid(cell).map(Some) }
}

/// An index led to the row of another.
fn of_another(table: &str, asked: impl Display, found: impl Display) -> Fault {
    let why = format!(
        "use the state database: the index of `{table}` is damaged, and has {found} for {asked}; stop what has it open, and \
         the next start makes the index anew"
    );
    StoreError::new(StoreErrorKind::Corrupt, why).into()
}

/// A cell of what may be missing.
fn optional<'a, T: ?Sized>(value: Option<&'a T>, cell: impl FnOnce(&'a T) -> ValueRef<'a>) -> ValueRef<'a> {
    value.map_or(ValueRef::Null, cell)
}
