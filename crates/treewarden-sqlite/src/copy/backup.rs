//! Makes a copy of the store while it is in use.
//!
//! It has a connection and a thread of its own: it is one long question, of what stood there when it began, and neither writers
//! nor readers wait for it. Until it is done the log cannot be folded into the database, and grows.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::InterruptHandle;
use tokio::sync::oneshot;
use treewarden_store::dir::{companions, prepare_dir};
use treewarden_store::placed::refuse_dangling;
use treewarden_store::{StoreError, StoreErrorKind};

use super::{copy, remove_left, source, step, sync_folder_of, unwritten};
use crate::error::{Fault, database};
use crate::store::SqliteStore;

/// A copy that takes longer is given up.
const DEADLINE: Duration = Duration::from_secs(600);

/// Ends a copy that nobody waits for any more; dropping it does.
#[derive(Default)]
struct Stop {
    handle: OnceLock<InterruptHandle>,
    is_stopped: AtomicBool,
}

struct Waiting(Arc<Stop>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Release);
        if let Some(handle) = self.0.handle.get() {
            handle.interrupt();
        }
    }
}

impl SqliteStore {
    pub(crate) async fn copy_to(&self, to: PathBuf) -> Result<(), StoreError> {
        let from = self.inner.place.path().to_owned();
        let stop = Arc::new(Stop::default());
        let waiting = Waiting(Arc::clone(&stop));
        let (reply, answer) = oneshot::channel();
        let (at, into) = (from.clone(), to.clone());
        let thread = std::thread::Builder::new().name("treewarden-copy".into()).spawn(move || {
            let made = make(&at, &into, &stop).map_err(|fault| told(&fault, &at, &into));
            // Whoever does not wait any more has had it ended.
            let _gone = reply.send(made);
        });
        thread.map_err(|error| told(&error.into(), &from, &to))?;
        let answer = tokio::time::timeout(DEADLINE, answer).await;
        drop(waiting);
        match answer {
            Ok(Ok(made)) => made,
            Ok(Err(_)) => Err(said(
                &to,
                StoreErrorKind::Other,
                "its thread panicked, which is a fault of treewarden; no copy is left",
            )),
            Err(_) => {
                let why = format!("it is not done within {} s, and is given up", DEADLINE.as_secs());
                Err(said(&to, StoreErrorKind::Other, &why))
            }
        }
    }
}

/// The copy in a folder until it is whole: one that is killed at it leaves nothing that could be taken for a copy.
pub(super) fn part(folder: &Path) -> PathBuf {
    database(folder).with_extension("db.part")
}

fn make(from: &Path, to: &Path, stop: &Stop) -> Result<(), Fault> {
    refuse_dangling(to)?;
    refuse_used(to)?;
    let new: Vec<&Path> = to.ancestors().take_while(|folder| !folder.exists()).collect();
    let made = prepare_dir(to).map_err(Fault::from).and_then(|()| {
        step("folder");
        fill(from, to, stop)
    });
    if made.is_err() {
        // What cannot be removed is not what went wrong: that is told.
        let removed = new.iter().filter(|folder| folder.exists()).try_for_each(fs::remove_dir);
        if let Err(error) = removed {
            tracing::warn!(%error, to = %to.display(), "the folder of a copy that was not made cannot be removed");
        }
    }
    made
}

fn fill(from: &Path, to: &Path, stop: &Stop) -> Result<(), Fault> {
    let part = part(to);
    // Of two that begin at one moment, one has it.
    fs::File::options().write(true).create_new(true).mode(0o600).open(&part)?;
    step("begun");
    let made = source(from).and_then(|db| {
        // In this order: whoever stops it finds the handle, or is seen to have stopped it.
        let _first = stop.handle.set(db.get_interrupt_handle());
        if stop.is_stopped.load(Ordering::Acquire) {
            return Err(StoreError::new(StoreErrorKind::Other, "nobody waits for it").into());
        }
        copy(&db, &part)?;
        step("copied");
        fs::rename(&part, database(to))?;
        sync_folder_of(&part).or_else(|error| fs::remove_file(database(to)).and(Err(error)))?;
        Ok(())
    });
    step("named");
    if made.is_err()
        && let Err(error) = remove_left(&part)
    {
        tracing::warn!(%error, to = %to.display(), "a copy that is not finished cannot be removed");
    }
    made
}

/// What is in the folder would be mixed with the copy, or be taken for a part of it: of two copies the first one stays.
fn refuse_used(to: &Path) -> Result<(), Fault> {
    let used = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    if !used {
        return Ok(());
    }
    let why = if part(to).exists() {
        "a copy was begun there, and is being made or was not finished: name another folder, or remove this one if nobody makes it"
    } else {
        "it is there and not empty: name a folder that is not there yet"
    };
    Err(said(to, StoreErrorKind::Other, why).into())
}

/// In words; what is copied has so many bytes, with its log.
fn told(fault: &Fault, from: &Path, to: &Path) -> StoreError {
    match fault {
        Fault::Told(error) => error.clone(),
        fault => {
            let [log, _] = companions(from);
            let bytes = |file: &Path| fs::metadata(file).map_or(0, |meta| meta.len());
            // The folder may be gone again that was made for it.
            let there = to.ancestors().find(|folder| folder.is_dir()).unwrap_or(to);
            let (kind, why) = unwritten::at(&there.join("copy"), bytes(from) + bytes(&log), fault);
            said(to, kind, &why)
        }
    }
}

fn said(to: &Path, kind: StoreErrorKind, why: &str) -> StoreError {
    StoreError::new(kind, format!("write a copy to {}: {why}", to.display()))
}
