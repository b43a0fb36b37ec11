//! A row of `names`: who may write it, and its record.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{SessionRecord, Told};

use super::{cells, number, of_another, optional, optional_text, optional_uuid, text};
use crate::checksum::{Bad, sum};
use crate::error::Fault;

pub(crate) const COLUMNS: &str = "id, name, epoch, seq, last, lost_id, watermark, lost, record, sum";

/// What is kept of a name.
#[derive(Debug, Clone)]
pub(crate) struct NameRow {
    pub(crate) id: i64,
    pub(crate) name: SessionName,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    /// The digest of the last commit.
    pub(crate) last: i64,
    /// The conversation of a record that is lost.
    pub(crate) lost_id: Option<SessionId>,
    /// The newest id of a turn that was removed as it was old.
    pub(crate) watermark: Option<TurnId>,
    /// What happened to a record that is lost.
    pub(crate) lost: Option<Box<str>>,
    pub(crate) record: Option<Box<str>>,
}

impl NameRow {
    /// A name that nobody took before.
    pub(crate) fn new(id: i64, name: SessionName) -> Self {
        let (epoch, seq, last) = (0, 0, 0);
        Self { id, name, epoch, seq, last, lost_id: None, watermark: None, lost: None, record: None }
    }

    /// The row of a name, if there is one.
    pub(crate) fn find(db: &Connection, name: &SessionName) -> Result<Option<Result<Self, Bad>>, Fault> {
        let found = db
            .prepare_cached("SELECT id, name, epoch, seq, last, lost_id, watermark, lost, record, sum FROM names WHERE name = ?")?
            .query_row([name.as_str()], Self::read)
            .optional()?;
        match found {
            // The row is whole, and not to be set aside.
            Some(Ok(row)) if row.name != *name => Err(of_another("names", name, &row.name)),
            found => Ok(found),
        }
    }

    /// Reads a row of [`COLUMNS`].
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Self, Bad>> {
        let id = row.get(0)?;
        Ok(cells(TABLE, row)?.and_then(Self::decode).map_err(|reason| Bad { row: id, reason }))
    }

    /// Looks at a row of [`COLUMNS`], and names it if it cannot be read.
    pub(crate) fn look(row: &Row<'_>) -> rusqlite::Result<Option<Bad>> {
        let id = row.get(0)?;
        Ok(cells::<9>(TABLE, row)?.err().map(|reason| Bad { row: id, reason }))
    }

    fn decode(cells: [ValueRef<'_>; 9]) -> Result<Self, String> {
        let [id, name, epoch, seq, last, lost_id, watermark, lost, record] = cells;
        Ok(Self {
            id: number(id)?,
            name: SessionName::new(text(name)?).map_err(|error| error.to_string())?,
            epoch: number(epoch)?.cast_unsigned(),
            seq: number(seq)?.cast_unsigned(),
            last: number(last)?,
            lost_id: optional_uuid(lost_id)?.map(SessionId::from_uuid),
            watermark: optional_uuid(watermark)?.map(TurnId::from_uuid),
            lost: optional_text(lost)?.map(Into::into),
            record: optional_text(record)?.map(Into::into),
        })
    }

    /// Stores the row, in place of the one that is there.
    pub(crate) fn put(&self, db: &Connection) -> Result<(), Fault> {
        let (lost_id, watermark) = (
            self.lost_id.as_ref().map(|id| id.as_uuid().as_bytes().as_slice()),
            self.watermark.as_ref().map(|id| id.as_uuid().as_bytes().as_slice()),
        );
        let (epoch, seq) = (self.epoch.cast_signed(), self.seq.cast_signed());
        let sum = sum(
            TABLE,
            &[
                ValueRef::Integer(self.id),
                ValueRef::Text(self.name.as_str().as_bytes()),
                ValueRef::Integer(epoch),
                ValueRef::Integer(seq),
                ValueRef::Integer(self.last),
                optional(lost_id, ValueRef::Blob),
                optional(watermark, ValueRef::Blob),
                optional(self.lost.as_deref(), |text| ValueRef::Text(text.as_bytes())),
                optional(self.record.as_deref(), |text| ValueRef::Text(text.as_bytes())),
            ],
        );
        db.prepare_cached(
            "INSERT INTO names(id, name, epoch, seq, last, lost_id, watermark, lost, record, sum)
             VALUES (?,?,?,?,?,?,?,?,?,?)
             ON CONFLICT(id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, last = excluded.last,
               lost_id = excluded.lost_id, watermark = excluded.watermark, lost = excluded.lost,
               record = excluded.record, sum = excluded.sum",
        )?
        .execute(params![
            self.id,
            self.name.as_str(),
            epoch,
            seq,
            self.last,
            lost_id,
            watermark,
            self.lost,
            self.record,
            sum
        ])?;
        Ok(())
    }

    /// What is known of the name; an error says why its record cannot be read.
    pub(crate) fn told(&self) -> Result<Told, String> {
        if let Some(record) = &self.record {
            let record: SessionRecord = serde_json::from_str(record).map_err(|error| error.to_string())?;
            if record.name != self.name {
                return Err(format!("it says that it is of {}", record.name));
            }
            return Ok(Told::Record(Box::new(record)));
        }
        Ok(match &self.lost {
            Some(why) => Told::Lost { why: why.to_string(), session_id: self.lost_id },
            None => Told::Never,
        })
    }
}

const TABLE: &str = "names";
