//! A store that is slow, fails, forgets its answers or is taken over, as a test says; what it takes is in another one.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{
    Backend, Change, CommitError, Committed, Completed, Keep, Lines, LostNames, NameState, NewTurn,
    OpenError, Pending, Problem, Pruned, SessionRecord, StoreError, StoreErrorKind, StoredTurn, Taken,
    Tenure, Told, TurnRow,
};

/// A store with faults; see the [module](self).
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    /// Commits of this name wait until it is another.
    stuck: watch::Sender<Option<SessionName>>,
    /// The same for openings of turns.
    stuck_openings: watch::Sender<Option<SessionName>>,
    openings: AtomicUsize,
    /// Commits that settle a turn wait until this is over.
    held: watch::Sender<bool>,
    /// So many of them came to that.
    waiting: watch::Sender<usize>,
    locked: AtomicBool,
    /// Outcomes with this text are refused for good.
    refused: Mutex<Option<String>>,
    /// So many answers to commits are lost.
    lost: AtomicUsize,
    /// So many answers to openings are lost.
    lost_openings: AtomicUsize,
    /// Before the next commit another host writes the record.
    stolen: AtomicBool,
    commits: AtomicUsize,
    /// The records are gone until one is stored.
    blank: AtomicBool,
    /// So many names were asked for, and until it is so many nobody is answered.
    asked: watch::Sender<usize>,
    together: AtomicUsize,
}

impl Faulty {
    /// Without a fault.
    pub fn new(inner: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            stuck: watch::Sender::new(None),
            stuck_openings: watch::Sender::new(None),
            openings: AtomicUsize::new(0),
            held: watch::Sender::new(false),
            waiting: watch::Sender::new(0),
            locked: AtomicBool::new(false),
            refused: Mutex::default(),
            lost: AtomicUsize::new(0),
            lost_openings: AtomicUsize::new(0),
            stolen: AtomicBool::new(false),
            commits: AtomicUsize::new(0),
            blank: AtomicBool::new(false),
            asked: watch::Sender::new(0),
            together: AtomicUsize::new(0),
        })
    }

    /// Commits of this name wait; of none any more.
    pub fn stick(&self, name: Option<SessionName>) {
        self.stuck.send_replace(name);
    }

    /// Openings of this name's turns wait; of none any more.
    pub fn stick_openings(&self, name: Option<SessionName>) {
        self.stuck_openings.send_replace(name);
    }

    /// Commits that settle a turn wait from here on, and all others do not.
    pub fn hold_outcomes(&self) {
        self.held.send_replace(true);
    }

    /// Waits until a commit that settles a turn waits.
    pub async fn outcome_waits(&self) {
        // The sender lives as long as this does.
        drop(self.waiting.subscribe().wait_for(|count| *count > 0).await);
    }

    /// Another program has the store locked, or has not any more.
    pub fn lock(&self, locked: bool) {
        self.locked.store(locked, Ordering::SeqCst);
    }

    /// Outcomes with this text are refused for good; none is any more.
    pub fn refuse(&self, text: Option<&str>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = text.map(str::to_owned);
    }

    fn refuses(&self, change: &Change) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().is_some_and(|text| change.settle.iter().any(|settle| settle.outcome.contains(text)))
    }

    /// The answers to the next commits are lost, though they are stored; and those to openings.
    pub fn lose(&self, commits: usize, openings: usize) {
        self.lost.store(commits, Ordering::SeqCst);
        self.lost_openings.store(openings, Ordering::SeqCst);
    }

    /// Another host writes the record before the next commit.
    pub fn steal(&self) {
        self.stolen.store(true, Ordering::SeqCst);
    }

    /// Every record is lost, until one is stored.
    pub fn lose_records(&self) {
        self.blank.store(true, Ordering::SeqCst);
    }

    /// Whoever asks for what is known of a name waits until so many have asked since the store was made.
    pub fn answer_together(&self, count: usize) {
        self.together.store(count, Ordering::SeqCst);
    }

    /// How many commits were asked for.
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    /// How many openings were asked for.
    pub fn openings(&self) -> usize {
        self.openings.load(Ordering::SeqCst)
    }

    async fn committed(&self, tenure: Tenure, change: Change) -> Result<Committed, CommitError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let mut stuck = self.stuck.subscribe();
        // The sender lives as long as this does.
        drop(stuck.wait_for(|name| name.as_ref() != Some(&tenure.name)).await);
        if !change.settle.is_empty() && *self.held.borrow() {
            self.waiting.send_modify(|count| *count += 1);
            drop(self.held.subscribe().wait_for(|held| !held).await);
        }
        if self.locked.load(Ordering::SeqCst) {
            let error = StoreError::new(StoreErrorKind::Busy, "database is locked");
            return Err(CommitError::Failed { error, retryable: true });
        }
        if self.refuses(&change) {
            let error = StoreError::new(StoreErrorKind::Other, "string or blob too big");
            return Err(CommitError::Failed { error, retryable: false });
        }
        if self.stolen.swap(false, Ordering::SeqCst) {
            let Told::Record(mut record) = self.inner.record(tenure.name.clone()).await? else {
                panic!("there is a record")
            };
            record.model = Some("the other's".to_owned());
            let change = Change { record: Some(*record), ..Change::default() };
            let epoch = tenure.epoch + 1;
            self.inner.commit(tenure, change).await?;
            return Err(CommitError::LeaseLost { epoch });
        }
        if change.record.is_some() {
            self.blank.store(false, Ordering::SeqCst);
        }
        let committed = self.inner.commit(tenure, change).await?;
        if take(&self.lost) {
            return Err(CommitError::Unknown(lost()));
        }
        Ok(committed)
    }
}

fn lost() -> StoreError {
    StoreError::new(StoreErrorKind::Unknown, "the answer was lost")
}

/// One of so many, if there is one left.
fn take(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Backend for Faulty {
    fn take(&self, name: SessionName) -> Pending<'_, Result<Taken, StoreError>> {
        self.inner.take(name)
    }

    fn open(&self, turn: NewTurn) -> Pending<'_, Result<(), OpenError>> {
        Box::pin(async move {
            self.openings.fetch_add(1, Ordering::SeqCst);
            let mut stuck = self.stuck_openings.subscribe();
            // The sender lives as long as this does.
            drop(stuck.wait_for(|name| name.as_ref() != Some(&turn.name)).await);
            // The store of today takes a turn twice; one of the contract does not.
            if self.inner.turn(turn.turn).await?.is_some() {
                return Err(OpenError::Exists);
            }
            self.inner.open(turn).await?;
            if take(&self.lost_openings) { Err(lost().into()) } else { Ok(()) }
        })
    }

    fn commit(&self, tenure: Tenure, change: Change) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(self.committed(tenure, change))
    }

    fn record(&self, name: SessionName) -> Pending<'_, Result<Told, StoreError>> {
        Box::pin(async move {
            match self.inner.record(name).await? {
                Told::Record(record) if self.blank.load(Ordering::SeqCst) => {
                    let why = "the database was removed".to_owned();
                    Ok(Told::Lost { why, session_id: Some(record.session_id) })
                }
                told => Ok(told),
            }
        })
    }

    fn name_state(&self, name: SessionName) -> Pending<'_, Result<NameState, StoreError>> {
        Box::pin(async move {
            self.asked.send_modify(|count| *count += 1);
            let enough = |count: &usize| *count >= self.together.load(Ordering::SeqCst);
            // The sender lives as long as this does.
            drop(self.asked.subscribe().wait_for(enough).await);
            let told = self.record(name.clone()).await?;
            Ok(NameState { told, ..self.inner.name_state(name).await? })
        })
    }

    fn records(&self) -> Pending<'_, Result<Vec<SessionRecord>, StoreError>> {
        self.inner.records()
    }

    fn turn(&self, turn: TurnId) -> Pending<'_, Result<Option<StoredTurn>, StoreError>> {
        self.inner.turn(turn)
    }

    fn open_turns(&self, name: SessionName) -> Pending<'_, Result<Vec<TurnRow>, StoreError>> {
        self.inner.open_turns(name)
    }

    fn turns(&self, name: SessionName, limit: usize) -> Pending<'_, Result<Vec<TurnRow>, StoreError>> {
        self.inner.turns(name, limit)
    }

    fn completed(&self, conversation: SessionId) -> Pending<'_, Result<Vec<Completed>, StoreError>> {
        self.inner.completed(conversation)
    }

    fn lines(
        &self,
        conversation: SessionId,
        subpath: String,
        from: u64,
        limit: usize,
    ) -> Pending<'_, Result<Vec<Lines>, StoreError>> {
        self.inner.lines(conversation, subpath, from, limit)
    }

    fn problems(&self) -> Pending<'_, Result<Vec<Problem>, StoreError>> {
        self.inner.problems()
    }

    fn lost(&self) -> Pending<'_, Result<LostNames, StoreError>> {
        self.inner.lost()
    }

    fn forgive_lost(&self) -> Pending<'_, Result<usize, StoreError>> {
        self.inner.forgive_lost()
    }

    fn prune(&self, keep: Keep) -> Pending<'_, Result<Pruned, StoreError>> {
        self.inner.prune(keep)
    }

    fn backup(&self, to: PathBuf) -> Pending<'_, Result<(), StoreError>> {
        self.inner.backup(to)
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }

    fn keeps_turns(&self) -> bool {
        self.inner.keeps_turns()
    }

    fn look_again(&self) -> Result<Option<PathBuf>, StoreError> {
        self.inner.look_again()
    }
}
