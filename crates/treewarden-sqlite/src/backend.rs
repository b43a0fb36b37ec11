//! The contract, by the writer and the readers.

use std::path::PathBuf;

use rusqlite::Connection;
use tokio::sync::watch;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{
    Backend, Change, CommitError, Committed, Completed, Keep, Lines, LostNames, NameState, NewTurn,
    OpenError, Pending, Problem, Pruned, SessionRecord, StoreError, StoreErrorKind, StoredTurn, Taken,
    Tenure, Told, TurnRow,
};

use crate::commit::{self, Lost, digest};
use crate::error::Fault;
use crate::prune::is_expired;
use crate::store::{SAVING, SqliteStore, failure};
use crate::transaction::Transaction;
use crate::{lost, problems, read};

/// About what a change holds in memory.
fn bytes(change: &Change) -> usize {
    let outcomes: usize = change.settle.iter().map(|settle| settle.outcome.len()).sum();
    let lines: usize = change.lines.iter().map(|lines| lines.entries.len() + lines.subpath.len()).sum();
    // A record is small, unless it keeps the fields of a newer version.
    let record = change.record.as_ref().map_or(0, |record| 1024 + record.extra.len() * 256);
    1024 + outcomes + lines + record + 16 * (change.sent.len() + change.interrupted.len())
}

impl Backend for SqliteStore {
    fn take(&self, name: SessionName) -> Pending<'_, Result<Taken, StoreError>> {
        Box::pin(async move {
            self.inner.writer.ask(256, move |to| commit::take(to, &name)).await.map_err(failure)
        })
    }

    fn open(&self, turn: NewTurn) -> Pending<'_, Result<(), OpenError>> {
        Box::pin(async move {
            if !self.inner.keeps_turns {
                return Ok(());
            }
            let bytes = 1024 + turn.prompt.len();
            let opened = self.inner.writer.ask(bytes, move |to| commit::open(to, &turn)).await;
            opened.map_err(failure)?
        })
    }

    fn commit(&self, tenure: Tenure, change: Change) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let keeps_turns = self.inner.keeps_turns;
            if !keeps_turns && change.record.is_none() && change.lines.is_empty() {
                // It is about turns alone, of which nothing is stored: the fence guards nothing here.
                return Ok(Committed { next: tenure, already: Vec::new(), unknown: Vec::new() });
            }
            // Here and not on the writer's thread, which all wait for.
            let (digest, bytes) = (digest(&change), bytes(&change));
            let op = move |to: &Transaction<'_>| commit::commit(to, &tenure, &change, digest, keeps_turns);
            match self.inner.writer.ask(bytes, op).await? {
                Ok(committed) => Ok(committed),
                Err(Lost(epoch)) => Err(CommitError::LeaseLost { epoch }),
            }
        })
    }

    fn record(&self, name: SessionName) -> Pending<'_, Result<Told, StoreError>> {
        Box::pin(async move {
            let of = name.clone();
            let found = self.inner.readers.ask(move |db| read::record(db, &of)).await?;
            if found.bad.is_empty() {
                return Ok(found.found);
            }
            let _unread = self.without_bad_names(found).await;
            // What was set aside left a row in its place, of which the lease files say more than the damaged one.
            Ok(self.inner.readers.ask(move |db| read::record(db, &name)).await?.found)
        })
    }

    fn name_state(&self, name: SessionName) -> Pending<'_, Result<NameState, StoreError>> {
        Box::pin(async move {
            let (told, open) = self.inner.readers.ask(move |db| read::name_state(db, &name)).await?;
            let told = self.without_bad_names(told).await;
            Ok(NameState { told, open: self.without_bad_turns(open).await })
        })
    }

    fn records(&self) -> Pending<'_, Result<Vec<SessionRecord>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.readers.ask(read::records).await?;
            Ok(self.without_bad_names(found).await)
        })
    }

    fn turn(&self, turn: TurnId) -> Pending<'_, Result<Option<StoredTurn>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.readers.ask(move |db| read::turn(db, turn)).await?;
            let why = found.bad.first().map(|bad| bad.reason.clone());
            if let Some(row) = self.without_bad_turns(found).await {
                return Ok(Some(StoredTurn::Held(Box::new(row))));
            }
            // Also one that was set aside long ago: it is not unknown.
            let (damaged, expired) = self
                .inner
                .readers
                .ask(move |db| Ok((problems::of_turn(db, turn)?, is_expired(db, turn)?)))
                .await?;
            let why = damaged.map(|problem| problem.reason).or_else(|| {
                why.map(|why| {
                    format!("the turn {turn} is damaged: its prompt and its outcome cannot be read ({why})")
                })
            });
            match why {
                Some(why) => {
                    Err(StoreError::new(StoreErrorKind::Corrupt, format!("read the turn {turn}: {why}")))
                }
                None => Ok(expired.then_some(StoredTurn::Expired)),
            }
        })
    }

    fn open_turns(&self, name: SessionName) -> Pending<'_, Result<Vec<TurnRow>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.readers.ask(move |db| read::open_turns(db, &name)).await?;
            Ok(self.without_bad_turns(found).await)
        })
    }

    fn turns(&self, name: SessionName, limit: usize) -> Pending<'_, Result<Vec<TurnRow>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.readers.ask(move |db| read::turns(db, &name, limit)).await?;
            Ok(self.without_bad_turns(found).await)
        })
    }

    fn completed(&self, conversation: SessionId) -> Pending<'_, Result<Vec<Completed>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.readers.ask(move |db| read::completed(db, conversation)).await?;
            Ok(self.without_bad_turns(found).await)
        })
    }

    fn lines(
        &self,
        conversation: SessionId,
        subpath: String,
        from: u64,
        limit: usize,
    ) -> Pending<'_, Result<Vec<Lines>, StoreError>> {
        Box::pin(async move {
            let of = format!("{conversation} {subpath:?}");
            let op = move |db: &Connection| read::lines(db, conversation, &subpath, from, limit);
            let lines = self.inner.readers.ask(op).await?;
            // A transcript with a hole is not given out as one.
            lines.into_iter().collect::<Result<_, String>>().map_err(|why| {
                let place = &self.inner.place;
                let error = Fault::corrupt(place.path(), format!("the lines of {of} from {from} on: {why}"))
                    .tell(place.path());
                place.found(&error);
                error
            })
        })
    }

    fn problems(&self) -> Pending<'_, Result<Vec<Problem>, StoreError>> {
        Box::pin(async move {
            let told = self.inner.told;
            let stored = self.inner.readers.ask(move |db| problems::problems(db, told)).await;
            let unstored = self.inner.place.findings().all();
            match stored {
                // What is known must not wait for what cannot be read.
                Err(error) if unstored.is_empty() => Err(error),
                stored => Ok(stored.unwrap_or_default().into_iter().chain(unstored).collect()),
            }
        })
    }

    fn note_told(&self, number: u64) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let told = self.inner.writer.ask(64, move |to| problems::note_told(to, number)).await;
            told.map_err(failure)
        })
    }

    fn bell(&self) -> watch::Receiver<u64> {
        self.inner.place.findings().bell()
    }

    fn lost(&self) -> Pending<'_, Result<LostNames, StoreError>> {
        Box::pin(async move { self.inner.readers.ask(lost::names).await })
    }

    fn forgive_lost(&self) -> Pending<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            let forgiven = self.inner.writer.ask(0, lost::forgive).await.map_err(failure)?;
            self.inner.place.findings().forget();
            Ok(forgiven)
        })
    }

    fn prune(&self, keep: Keep) -> Pending<'_, Result<Pruned, StoreError>> {
        Box::pin(self.prune_in_steps(keep))
    }

    fn backup(&self, to: PathBuf) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(self.copy_to(to))
    }

    fn close(&self) -> Pending<'_, ()> {
        let store = self.clone();
        Box::pin(async move {
            let closed = tokio::task::spawn_blocking(move || {
                // In the order in which they are dropped, for the same reason.
                store.inner.readers.end();
                store.inner.writer.end();
                store.inner.place.end();
            });
            if let Err(error) = closed.await {
                tracing::error!(%error, "the state database is not closed in order");
            }
        })
    }

    fn keeps_turns(&self) -> bool {
        self.inner.keeps_turns
    }

    fn look_again(&self) -> Result<Option<PathBuf>, StoreError> {
        let place = &self.inner.place;
        place.look_again().inspect_err(|_| {
            if place.has_lost_the_log() {
                // Has the database take what was committed to a log where nobody else will ever read it.
                let save =
                    |db: &Connection| Ok(db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?);
                if let Err(error) = self.inner.readers.ask_and_wait(SAVING, save) {
                    tracing::warn!(%error, "the database cannot be completed from its log");
                }
            }
        })
    }
}
