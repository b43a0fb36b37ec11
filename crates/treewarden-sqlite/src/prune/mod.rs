//! Takes what is old out of the database, and gives its pages back: in small steps, between which others are served.
//!
//! A [reader](plan) says which rows are old, the writer [removes](remove) them: a row that is settled changes no more, and a turn
//! that the CLI must have written is old only once a newer one is there, so that what was found stays true. Nothing here may
//! remove a row whose id would not be known as expired afterwards.

mod plan;
mod remove;

use treewarden_store::{Keep, Pruned, StoreError, now};

use self::plan::{Cursor, Plan};
use crate::row::expired;
use crate::store::{SqliteStore, failure};

pub(crate) use remove::{expired_of, is_expired};

/// So many rows go at a time.
const STEP: usize = 200;

/// So many pages are given back at a time.
const PAGES: i64 = 64;

/// So many free pages stay: turns come again, and each page that was given back would have to be asked for.
const SPARE: i64 = 256;

impl SqliteStore {
    pub(crate) async fn prune_in_steps(&self, keep: Keep) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let now = now();
        let mut from = Some(Cursor::begin());
        while let Some(cursor) = from {
            let found = self.inner.readers.ask(move |db| plan::plan(db, &cursor, keep, now, STEP)).await?;
            let Plan { old, next } = self.without_bad_turns(found).await;
            if !old.is_empty() {
                let removed = self.inner.writer.ask(4096, move |to| remove::remove(to, &old, now)).await;
                pruned.turns += removed.map_err(failure)?;
            }
            from = next;
        }
        let ids = u64::try_from(keep.ids.as_millis()).unwrap_or(u64::MAX);
        let before = now.saturating_sub(ids);
        loop {
            let forget = self.inner.writer.ask(256, move |to| expired::forget(to.db(), before, STEP)).await;
            let forgotten = forget.map_err(failure)?;
            pruned.ids += forgotten;
            if forgotten < STEP {
                break;
            }
        }
        self.give_back().await?;
        Ok(pruned)
    }

    /// Gives free pages back to the file system, of a database that was made so that it can.
    async fn give_back(&self) -> Result<(), StoreError> {
        let free = |db: &rusqlite::Connection| -> Result<i64, crate::error::Fault> {
            let is_incremental = db.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0))? == 2;
            let free = db.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0))?;
            Ok(if is_incremental { free } else { 0 })
        };
        let mut left = self.inner.readers.ask(free).await?;
        while left > SPARE {
            let vacuum = self.inner.writer.ask(256, |to| {
                let mut vacuum = to.db().prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
                let mut rows = vacuum.query([])?;
                while rows.next()?.is_some() {}
                Ok(())
            });
            vacuum.await.map_err(failure)?;
            let now = self.inner.readers.ask(free).await?;
            // Another process may be at it, or somebody deletes: what does not get less is left.
            if now >= left {
                break;
            }
            left = now;
        }
        Ok(())
    }
}
