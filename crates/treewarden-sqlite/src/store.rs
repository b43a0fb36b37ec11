//! The open store, and how it is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use treewarden_store::dir::prepare_dir;
use treewarden_store::{CommitError, Durability, Problem, ProblemKind, StoreError, StoreErrorKind, now};

use crate::checksum::Bad;
use crate::error::{Fault, database};
use crate::opening::{self, Opened};
use crate::options::SqliteOptions;
use crate::patience::Patience;
use crate::place::Place;
use crate::quarantine::{set_names_aside, set_turns_aside};
use crate::read::Found;
use crate::readers::Readers;
use crate::transaction::Transaction;
use crate::witness::Witness;
use crate::writer::Writer;
use crate::{connection, lost, meta, problems};

/// So many threads read.
const READERS: usize = 2;

/// How long a look at the files may take that has the log saved.
pub(crate) const SAVING: Duration = Duration::from_secs(2);

/// The store of a state directory, which several processes may open; a cheap clone.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) keeps_turns: bool,
    /// Up to where a host had told of the problems when the store was opened.
    pub(crate) told: u64,
    // The order of the drops: the readers end, then the writer stores what it was given and ends alone: of two connections that
    // are closed at one time each takes the other for one that stays, and neither puts SQLite's log into the file. Until all are
    // through the lock in `place` keeps others from setting the database aside.
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
    pub(crate) place: Arc<Place>,
}

impl SqliteStore {
    /// Opens the store of `dir`, which is made if it is missing; what others may read of it is closed to them.
    ///
    /// A damaged database is set aside and a new one made; damaged rows are set aside in it; [`problems`] says so.
    ///
    /// It blocks, and waits for other processes that are at the database, thirty seconds at most.
    ///
    /// [`problems`]: treewarden_store::Backend::problems
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the directory cannot be made, or the database cannot be opened, is of a newer version, lies where
    /// SQLite can keep no log, or is kept locked for longer than that ([`StoreErrorKind::Busy`]).
    ///
    /// [`StoreErrorKind::Busy`]: treewarden_store::StoreErrorKind::Busy
    pub fn open(dir: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let path = database(dir);
        prepare_dir(dir).map_err(|error| Fault::from(error).tell(&path))?;
        Self::open_in(dir, &options).map_err(|fault| fault.tell(&path))
    }

    fn open_in(dir: &Path, options: &SqliteOptions) -> Result<Self, Fault> {
        let patience = Patience::of_an_opening(options.opening);
        let Opened { db, path, lock } = opening::open(dir, options, patience)?;
        let connections = (0..READERS).map(|_| patience.run(&path, || connection::reader(&path, options)));
        let connections = connections.collect::<Result<_, _>>()?;
        let commits = meta::count(&db, meta::COMMITS)?.unsigned_abs();
        let told = problems::told(&db)?;
        let witness = Witness::begin(dir, lost::generation(&db)?, commits, options.durability);
        // A full disk is no reason to refuse what can be read.
        let witness = witness.inspect_err(|error| {
            tracing::warn!(%error, "how far the state database is cannot be noted beside it");
        });
        let place = Arc::new(Place::new(dir, &path, lock, witness.ok())?);
        let writer = Writer::start(db, Arc::clone(&place), options.limits)?;
        let readers = Readers::start(connections, Arc::clone(&place), options.limits.begin)?;
        let keeps_turns = options.durability != Durability::Nothing;
        Ok(Self { inner: Arc::new(Inner { keeps_turns, told, writer, readers, place }) })
    }

    /// Gives out what was found, once the records that could not be read are set aside.
    pub(crate) async fn without_bad_names<T>(&self, Found { found, bad }: Found<T>) -> T {
        if !bad.is_empty() {
            self.set_aside(ProblemKind::Record, &bad.clone(), move |to| set_names_aside(to, &bad)).await;
        }
        found
    }

    /// Gives out what was found, once the turns that could not be read are set aside.
    pub(crate) async fn without_bad_turns<T>(&self, Found { found, bad }: Found<T>) -> T {
        if !bad.is_empty() {
            self.set_aside(ProblemKind::Turn, &bad.clone(), move |to| set_turns_aside(to, &bad)).await;
        }
        found
    }

    async fn set_aside<F>(&self, kind: ProblemKind, bad: &[Bad], aside: F)
    where
        F: FnMut(&Transaction<'_>) -> Result<(), Fault> + Send + 'static,
    {
        if let Err(error) = self.inner.writer.ask(0, aside).await {
            // They are not given out all the same, and found again at the next question.
            let what = kind.as_str();
            tracing::error!(%error, what, "what cannot be read in the state database cannot be set aside");
            for Bad { row, reason } in bad {
                let reason = format!(
                    "a row of the state database that is a {what} cannot be read ({reason}), nor set aside: failed to {error}"
                );
                let problem = Problem::new(kind, format!("row {row}"), reason, now());
                self.inner.place.findings().keep(problem);
            }
        }
    }
}

/// What a call says that only knows how the store fails.
pub(crate) fn failure(error: CommitError) -> StoreError {
    match error {
        CommitError::Failed { error, .. } | CommitError::Unknown(error) => error,
        lost @ CommitError::LeaseLost { .. } => StoreError::new(StoreErrorKind::Other, lost.to_string()),
    }
}
