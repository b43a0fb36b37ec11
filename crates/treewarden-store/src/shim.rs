//! The contract over the store of schema 3, as long as that is in use.

use std::path::PathBuf;

use treewarden_proto::{SessionId, SessionName, TurnId};

use crate::journal::Settled;
use crate::{
    Backend, Change, CommitError, Committed, Completed, Keep, Lines, NewTurn, OpenError, Pending, Problem,
    Pruned, SessionRecord, Settle, Store, StoreError, StoreErrorKind, StoredTurn, Taken, Tenure, Told,
    TurnRow,
};

fn told(record: Option<SessionRecord>) -> Told {
    record.map_or(Told::Never, |record| Told::Record(Box::new(record)))
}

impl Backend for Store {
    fn take(&self, name: SessionName) -> Pending<'_, Result<Taken, StoreError>> {
        Box::pin(async move {
            let told = told(Self::record(self, &name)?);
            Ok(Taken { tenure: Tenure { name, epoch: 1, seq: 0 }, told })
        })
    }

    fn open(&self, turn: NewTurn) -> Pending<'_, Result<(), OpenError>> {
        Box::pin(async move {
            let prompt = serde_json::from_str(&turn.prompt).map_err(StoreError::from)?;
            let mut row = TurnRow::new(turn.turn, turn.name, turn.session_id, prompt, turn.at_most_once);
            row.opened_at = turn.opened_at;
            Ok(self.open_turn_durable(&row).await?)
        })
    }

    fn commit(&self, tenure: Tenure, change: Change) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let mut already = Vec::new();
            if let Some(record) = &change.record {
                self.put_durable(record).await?;
            }
            for turn in change.sent {
                self.mark_sent(turn)?;
            }
            for turn in change.interrupted {
                self.mark_interrupted(turn)?;
            }
            for Settle { turn, outcome, answered_in, .. } in change.settle {
                if let Settled::Already(first) = self.settle_json(turn, answered_in, || Ok(outcome.into()))? {
                    already.push((turn, first.get().into()));
                }
            }
            let next = Tenure { seq: tenure.seq + 1, ..tenure };
            Ok(Committed { next, already, unknown: Vec::new() })
        })
    }

    fn record(&self, name: SessionName) -> Pending<'_, Result<Told, StoreError>> {
        Box::pin(async move { Ok(told(Self::record(self, &name)?)) })
    }

    fn records(&self) -> Pending<'_, Result<Vec<SessionRecord>, StoreError>> {
        Box::pin(async move { self.all() })
    }

    fn turn(&self, turn: TurnId) -> Pending<'_, Result<Option<StoredTurn>, StoreError>> {
        Box::pin(async move { Ok(Self::turn(self, turn)?.map(|row| StoredTurn::Held(Box::new(row)))) })
    }

    fn open_turns(&self, name: SessionName) -> Pending<'_, Result<Vec<TurnRow>, StoreError>> {
        Box::pin(async move { Self::open_turns(self, &name) })
    }

    fn turns(&self, name: SessionName, limit: usize) -> Pending<'_, Result<Vec<TurnRow>, StoreError>> {
        Box::pin(async move { Self::turns(self, &name, limit) })
    }

    fn completed(&self, conversation: SessionId) -> Pending<'_, Result<Vec<Completed>, StoreError>> {
        Box::pin(async move { Self::completed(self, conversation) })
    }

    fn lines(
        &self,
        _conversation: SessionId,
        _subpath: String,
        _from: u64,
        _limit: usize,
    ) -> Pending<'_, Result<Vec<Lines>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn problems(&self) -> Pending<'_, Result<Vec<Problem>, StoreError>> {
        Box::pin(async move { Self::problems(self) })
    }

    fn prune(&self, keep: Keep) -> Pending<'_, Result<Pruned, StoreError>> {
        Box::pin(async move {
            let turns = Self::prune(self, keep.turns.unwrap_or(usize::MAX))?;
            Ok(Pruned { turns, ids: 0 })
        })
    }

    fn backup(&self, _to: PathBuf) -> Pending<'_, Result<(), StoreError>> {
        let error = StoreError::new(StoreErrorKind::Other, "copy the store: this one cannot be copied");
        Box::pin(async { Err(error) })
    }

    fn keeps_turns(&self) -> bool {
        Self::keeps_turns(self)
    }

    fn look_again(&self) -> Result<Option<PathBuf>, StoreError> {
        Self::look_again(self)
    }
}
