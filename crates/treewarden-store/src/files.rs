//! The files of the store that are open, looked at again: whatever was removed keeps nobody away and is read by nobody.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::dir::companions;
use crate::lock::Place;
use crate::patience::Patience;
use crate::{StoreError, schema};

#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    database: (PathBuf, Place),
    /// SQLite's log and shared memory, once they were seen. While the database is open they are never replaced: what was
    /// committed to a log that is gone is read by nobody, and two that share no memory write one log at once.
    companions: Mutex<[(PathBuf, Option<Place>); 2]>,
    /// Keeps others from setting the database aside.
    shared: Mutex<(File, Place)>,
}

impl Files {
    pub(crate) fn new(dir: &Path, database: &Path, shared: File) -> Result<Self, StoreError> {
        let place = Place::of(&fs::symlink_metadata(database)?);
        let shared_place = Place::of(&shared.metadata()?);
        Ok(Self {
            dir: dir.to_owned(),
            database: (database.to_owned(), place),
            companions: Mutex::new(companions(database).map(|path| (path, None))),
            shared: Mutex::new((shared, shared_place)),
        })
    }

    /// SQLite's log was removed, and nothing else.
    pub(crate) fn has_lost_the_log(&self) -> bool {
        let [(log, log_place), (memory, memory_place)] = &*lock(&self.companions);
        let is_there = |path: &PathBuf, place: &Option<Place>| place.is_some_and(|place| place.is_at(path));
        log_place.is_some() && !is_there(log, log_place) && is_there(memory, memory_place)
    }

    pub(crate) fn look_again(&self) -> Result<Option<PathBuf>, StoreError> {
        let (path, place) = &self.database;
        if !place.is_at(path) {
            return Err(if self.dir.exists() {
                StoreError::database_removed(path)
            } else {
                StoreError::removed(&self.dir)
            });
        }
        for (path, place) in lock(&self.companions).iter_mut() {
            match place {
                Some(place) if !place.is_at(path) => return Err(StoreError::removed(path)),
                Some(_) => {}
                None => *place = fs::symlink_metadata(&*path).ok().map(|meta| Place::of(&meta)),
            }
        }
        let path = schema::lock_path(&self.dir);
        let mut shared = lock(&self.shared);
        if shared.1.is_at(&path) {
            return Ok(None);
        }
        // Whoever finds the removed lock's path free could set the database aside while it is used here: so
        // it is made anew and shared at once.
        let file = crate::lock::open(&path)?;
        schema::share(&file, Patience::of_an_open_store())?;
        let place = Place::of(&file.metadata()?);
        *shared = (file, place);
        Ok(Some(path))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
