//! The files of the store that are open, looked at again: whatever was removed keeps nobody away and is read by nobody.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::lock::{self, Place};
use crate::patience::Patience;
use crate::{StoreError, schema};

#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    database: (PathBuf, Place),
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
            shared: Mutex::new((shared, shared_place)),
        })
    }

    pub(crate) fn look_again(&self) -> Result<Option<PathBuf>, StoreError> {
        let (path, place) = &self.database;
        if !place.is_at(path) {
            return Err(StoreError::removed(if self.dir.exists() { path } else { &self.dir }));
        }
        let path = schema::lock_path(&self.dir);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.1.is_at(&path) {
            return Ok(None);
        }
        let file = lock::open(&path)?;
        schema::share(&file, Patience::of_an_open_store())?;
        let place = Place::of(&file.metadata()?);
        *shared = (file, place);
        Ok(Some(path))
    }
}
