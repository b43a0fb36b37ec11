//! What the checks begin with: a place for a store, ids with a date, a hand that commits one change after another.
//!
//! It is for what several checks share. It asserts only what every check takes for granted: that a commit that goes well answers with the next
//! number of the same epoch. It must never make a store wait or look at its folder: a check knows a store by its answers.
//!
//! Times are milliseconds since 1970, as in the records, and most turns are opened in the past: what was opened in the last ten minutes is never
//! removed, and a check of pruning cannot wait for that.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{
    Backend, Change, CommitError, Committed, NewTurn, SessionRecord, Settle, StoredTurn, Tenure, TurnRow,
};
use uuid::{NoContext, Timestamp, Uuid};

pub(super) use treewarden_store::now;

/// A store that is being opened.
pub(super) type Opened = Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send>>;
/// How the backend's author opens the store of a folder; called for several folders and for one folder again, by `schedules.rs` from a thread
/// that is no task of the runtime.
pub(super) type Open = Arc<dyn Fn(PathBuf) -> Opened + Send + Sync>;

/// In milliseconds.
pub(super) const MINUTE: u64 = 60_000;
/// In milliseconds, without a thought of the calendar.
pub(super) const DAY: u64 = 24 * 60 * MINUTE;

/// Where the stores of one check are.
#[derive(Clone)]
pub(super) struct Place {
    /// As it was given to `Conformance::new`.
    open: Open,
    /// The folder of the check, which is removed with all in it when the check is over.
    folder: PathBuf,
    /// The name of the next store's folder below it.
    next: Arc<AtomicU64>,
}

impl Place {
    pub(super) fn new(open: Open, folder: &Path) -> Self {
        Self { open, folder: folder.to_owned(), next: Arc::default() }
    }

    /// An empty store, and its folder.
    pub(super) async fn fresh(&self) -> (Arc<dyn Backend>, PathBuf) {
        let folder = self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&folder).expect("a folder can be made");
        (self.at(&folder).await, folder)
    }

    /// An empty store.
    pub(super) async fn store(&self) -> Arc<dyn Backend> {
        self.fresh().await.0
    }

    /// The store of a folder.
    pub(super) async fn at(&self, folder: &Path) -> Arc<dyn Backend> {
        (self.open)(folder.to_owned()).await
    }
}

/// The name of a session, from a text that is a valid one.
pub(super) fn name(text: &str) -> SessionName {
    text.parse().expect("a valid name")
}

/// An id that says that it was made at this time.
pub(super) fn made(at: u64) -> TurnId {
    let nanos = u32::try_from(at % 1000).expect("less than a thousand") * 1_000_000;
    TurnId::from_uuid(Uuid::new_v7(Timestamp::from_unix(NoContext, at / 1000, nanos)))
}

/// An id that says nothing of its age.
pub(super) fn undated() -> TurnId {
    TurnId::from_uuid(Uuid::new_v4())
}

/// A turn that is opened now.
pub(super) fn new(of: &str, conversation: SessionId) -> NewTurn {
    opened(of, conversation, now())
}

/// A turn that was opened at this time, with an id of it.
pub(super) fn opened(of: &str, session_id: SessionId, opened_at: u64) -> NewTurn {
    NewTurn {
        turn: made(opened_at),
        name: name(of),
        session_id,
        prompt: r#""a prompt""#.into(),
        at_most_once: false,
        opened_at,
    }
}

/// A turn's outcome, now; the text of the outcome is stored as it is, and need be no more than JSON.
pub(super) fn settle(turn: TurnId, outcome: &str) -> Settle {
    Settle { turn, outcome: outcome.into(), answered_in: None, at: now() }
}

/// A change that settles one turn and does nothing else.
pub(super) fn settling(turn: TurnId, outcome: &str) -> Change {
    Change { settle: vec![settle(turn, outcome)], ..Change::default() }
}

/// A change that stores a record which says this of its model.
///
/// The model stands for the whole record: a check reads off it which change was stored last.
pub(super) fn saying(of: &str, model: &str) -> Change {
    let mut record = SessionRecord::new(name(of), SessionId::from_uuid(Uuid::from_u128(7)));
    record.created_at = 1;
    record.model = Some(model.to_owned());
    Change { record: Some(record), ..Change::default() }
}

/// Without what the store itself writes into a record.
///
/// When it was written is the store's to say, and no two say the same.
pub(super) fn plain(mut record: SessionRecord) -> SessionRecord {
    record.updated_at = 0;
    record
}

/// Whoever has a name, and makes one commit after another.
pub(super) struct Hand {
    /// The handle by which this one asks; others may have their own.
    pub(super) store: Arc<dyn Backend>,
    /// That of the next commit. A check that keeps an older one plays the writer who lost the name, or who asks again.
    pub(super) tenure: Tenure,
}

impl Hand {
    /// Takes the name from whoever has it; from then on their commits are refused.
    pub(super) async fn take(store: &Arc<dyn Backend>, of: &str) -> Self {
        let tenure = store.take(name(of)).await.expect("taken").tenure;
        Self { store: Arc::clone(store), tenure }
    }

    /// Commits, which goes well.
    pub(super) async fn commit(&mut self, change: Change) -> Committed {
        let committed = self.store.commit(self.tenure.clone(), change).await.expect("stored");
        let Tenure { name, epoch, seq } = &self.tenure;
        assert_eq!(committed.next, Tenure { name: name.clone(), epoch: *epoch, seq: seq + 1 });
        self.tenure = committed.next.clone();
        committed
    }

    /// Settles one turn, and returns what the store says of that.
    pub(super) async fn settle(&mut self, turn: TurnId, outcome: &str) -> Committed {
        self.commit(settling(turn, outcome)).await
    }

    /// Opens a turn and settles it.
    pub(super) async fn settled(&mut self, new: NewTurn, outcome: &str) {
        let turn = new.turn;
        let change = Change {
            settle: vec![Settle { at: new.opened_at, ..settle(turn, outcome) }],
            ..Change::default()
        };
        self.store.open(new).await.expect("opened");
        let committed = self.commit(change).await;
        assert_eq!((committed.already, committed.unknown), (Vec::new(), Vec::new()));
    }
}

/// The row of a turn that is held.
pub(super) async fn held(store: &Arc<dyn Backend>, turn: TurnId) -> TurnRow {
    match store.turn(turn).await.expect("read") {
        Some(StoredTurn::Held(row)) => *row,
        other => panic!("the turn {turn} is to be held, and is {other:?}"),
    }
}

/// The open turns of a name, in the order of the store.
pub(super) async fn open_ids(store: &Arc<dyn Backend>, of: &str) -> Vec<TurnId> {
    store.open_turns(name(of)).await.expect("read").into_iter().map(|row| row.turn).collect()
}

/// The turns of a name, newest first; more than a check ever opens.
pub(super) async fn history(store: &Arc<dyn Backend>, of: &str) -> Vec<TurnId> {
    store.turns(name(of), 1000).await.expect("read").into_iter().map(|row| row.turn).collect()
}

/// The epoch that has the name, where a commit was refused since it was taken.
pub(super) fn lost(result: Result<Committed, CommitError>) -> u64 {
    match result {
        Err(CommitError::LeaseLost { epoch }) => epoch,
        other => panic!("to be refused as the name was taken by another, and was {other:?}"),
    }
}

/// Why nothing of a commit was stored, where it is of no use to ask again.
pub(super) fn refused(result: Result<Committed, CommitError>) -> String {
    match result {
        Err(CommitError::Failed { error, retryable: false }) => error.to_string(),
        other => panic!("to be refused for good, and was {other:?}"),
    }
}
