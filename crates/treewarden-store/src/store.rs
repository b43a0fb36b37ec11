//! The database: one file in the state directory, in WAL mode, which several processes may open.
//!
//! What a commit survives is chosen by [`Durability`]. Calls are synchronous and short.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, params};
use treewarden_proto::SessionName;

use crate::{SessionRecord, StoreError, StoreErrorKind};

const SCHEMA: i64 = 1;

/// What a stored value survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process, `kill -9` included.
    #[default]
    Process,
    /// The death of the machine: every commit is synced.
    Power,
}

/// The options of a [`Store`].
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing until they open a store"]
pub struct StoreOptions {
    durability: Durability,
}

impl StoreOptions {
    /// Chooses what a stored value survives.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    db: Mutex<Connection>,
}

/// What outlives the process; a cheap clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Opens the store of `dir`, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the directory cannot be made, or the database cannot be opened or is of a newer version.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let file = dir.join("treewarden.db");
        // SQLite gives its WAL and shared-memory files the mode of the database.
        fs::OpenOptions::new().append(true).create(true).open(&file)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let db = Connection::open(&file)?;
        db.busy_timeout(Duration::from_secs(2))?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > SCHEMA {
            let message = format!(
                "open {}: its schema {version} is newer than {SCHEMA}; use a newer treewarden",
                file.display()
            );
            return Err(StoreError::new(StoreErrorKind::NewerSchema, message));
        }
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        db.pragma_update(
            None,
            "synchronous",
            if options.durability == Durability::Power { "FULL" } else { "OFF" },
        )?;
        db.execute_batch(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS sessions(name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS turns(seq INTEGER PRIMARY KEY AUTOINCREMENT, turn TEXT NOT NULL UNIQUE,
               name TEXT NOT NULL, session_id TEXT NOT NULL, prompt TEXT NOT NULL, at_most_once INTEGER NOT NULL,
               sent INTEGER NOT NULL DEFAULT 0, interruptions INTEGER NOT NULL DEFAULT 0, outcome TEXT,
               opened_at INTEGER NOT NULL, settled_at INTEGER);
             CREATE INDEX IF NOT EXISTS open_turns ON turns(name, seq) WHERE outcome IS NULL;
             CREATE INDEX IF NOT EXISTS turns_of ON turns(session_id);
             PRAGMA user_version = 1;
             COMMIT;",
        )?;
        Ok(Self { inner: Arc::new(Inner { dir: dir.to_owned(), db: Mutex::new(db) }) })
    }

    pub(crate) fn db(&self) -> MutexGuard<'_, Connection> {
        self.inner.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The record of a session, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read.
    pub fn record(&self, name: &SessionName) -> Result<Option<SessionRecord>, StoreError> {
        let text: Option<String> = self
            .db()
            .prepare_cached("SELECT record FROM sessions WHERE name = ?")?
            .query_row([name.as_str()], |row| row.get(0))
            .optional()?;
        Ok(text.as_deref().map(serde_json::from_str).transpose()?)
    }

    /// Stores a record in place of the one that has its name.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be stored.
    pub fn put(&self, record: &SessionRecord) -> Result<(), StoreError> {
        let text = serde_json::to_string(&SessionRecord { updated_at: now(), ..record.clone() })?;
        self.db()
            .prepare_cached(
                "INSERT INTO sessions VALUES (?,?) ON CONFLICT(name) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.name.as_str(), text])?;
        Ok(())
    }

    /// Every record, by name; one that cannot be read is left out and warned about.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the table cannot be read.
    pub fn all(&self) -> Result<Vec<SessionRecord>, StoreError> {
        let db = self.db();
        let mut query = db.prepare_cached("SELECT name, record FROM sessions ORDER BY name")?;
        let mut rows = query.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            match serde_json::from_str(row.get_ref(1)?.as_str().unwrap_or_default()) {
                Ok(record) => all.push(record),
                Err(error) => {
                    tracing::warn!(%error, name = row.get::<_, String>(0)?, "a session record cannot be read")
                }
            }
        }
        Ok(all)
    }

    /// Removes the record of a session; its turns stay.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be removed.
    pub fn remove(&self, name: &SessionName) -> Result<(), StoreError> {
        self.db().prepare_cached("DELETE FROM sessions WHERE name = ?")?.execute([name.as_str()])?;
        Ok(())
    }
}

/// Where the state is kept unless the user says otherwise.
pub fn default_state_dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    base.map(|base| base.join("treewarden"))
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
