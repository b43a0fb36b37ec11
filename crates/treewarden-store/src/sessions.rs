//! The records of the sessions.
//!
//! A record that cannot be read is set aside and reported by [`Store::problems`]; it stops nothing else.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use treewarden_proto::SessionName;

use crate::problem::Bad;
use crate::store::now;
use crate::{SessionRecord, Store, StoreError};

fn decode(name: &str, text: ValueRef<'_>) -> Result<SessionRecord, String> {
    let text = text.as_str().map_err(|error| error.to_string())?;
    let record: SessionRecord = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if record.name.as_str() == name {
        Ok(record)
    } else {
        Err(format!("it says that it is of {}", record.name))
    }
}

fn put(
    record: &SessionRecord,
) -> Result<impl FnOnce(&Connection) -> Result<(), StoreError> + use<>, StoreError> {
    let text = serde_json::to_string(&SessionRecord { updated_at: now(), ..record.clone() })?;
    let name = record.name.clone();
    Ok(move |db: &Connection| {
        db.prepare_cached(
            "INSERT INTO sessions VALUES (?,?) ON CONFLICT(name) DO UPDATE SET record = excluded.record",
        )?
        .execute(params![name.as_str(), text])?;
        Ok(())
    })
}

impl Store {
    /// The record of a session, if there is one that can be read.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the table cannot be read.
    pub fn record(&self, name: &SessionName) -> Result<Option<SessionRecord>, StoreError> {
        let found = self
            .db()
            .prepare_cached("SELECT record FROM sessions WHERE name = ?")?
            .query_row([name.as_str()], |row| Ok(decode(name.as_str(), row.get_ref(0)?)))
            .optional()?;
        match found {
            Some(Err(reason)) => {
                self.quarantine_records(vec![Bad { key: name.as_str().to_owned(), reason }])?;
                Ok(None)
            }
            found => Ok(found.and_then(Result::ok)),
        }
    }

    /// Stores a record in place of the one that has its name.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be stored.
    pub fn put(&self, record: &SessionRecord) -> Result<(), StoreError> {
        self.write(put(record)?)
    }

    /// Does what [`Store::put`] does without blocking the thread while the disk syncs.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be stored.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a dropped call may have stored the record, or may still store it.
    pub async fn put_durable(&self, record: &SessionRecord) -> Result<(), StoreError> {
        self.write_durable(put(record)?).await
    }

    /// Every record that can be read, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the table cannot be read.
    pub fn all(&self) -> Result<Vec<SessionRecord>, StoreError> {
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        {
            // The lock ends with this block: setting aside takes it again, and this thread would wait for
            // itself.
            let db = self.db();
            let mut query = db.prepare_cached("SELECT name, record FROM sessions ORDER BY name")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let name = row.get_ref(0)?.as_str().unwrap_or_default();
                match decode(name, row.get_ref(1)?) {
                    Ok(record) => all.push(record),
                    Err(reason) => bad.push(Bad { key: name.to_owned(), reason }),
                }
            }
        }
        self.quarantine_records(bad)?;
        Ok(all)
    }

    /// Removes the record of a session; its turns stay.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be removed.
    pub fn remove(&self, name: &SessionName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |db| {
            db.prepare_cached("DELETE FROM sessions WHERE name = ?")?.execute([name.as_str()])?;
            Ok(())
        })
    }
}
