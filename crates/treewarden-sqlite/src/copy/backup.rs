//! Makes a copy of the store while it is in use.
//!
//! It has a connection and a thread of its own: it is one long question, of what stood there when it began, and neither writers
//! nor readers wait for it. Until it is done the log cannot be folded into the database, and grows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::InterruptHandle;
use tokio::sync::oneshot;
use treewarden_store::dir::prepare_dir;
use treewarden_store::{StoreError, StoreErrorKind};

use super::{copy, remove_left, source};
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
            let made = make(&at, &into, &stop).map_err(|fault| told(&fault, &into));
            // Whoever does not wait any more has had it ended.
            let _gone = reply.send(made);
        });
        thread.map_err(|error| told(&error.into(), &to))?;
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

fn make(from: &Path, to: &Path, stop: &Stop) -> Result<(), Fault> {
    refuse_used(to)?;
    let is_new = !to.exists();
    prepare_dir(to)?;
    let file = database(to);
    let made = source(from).and_then(|db| {
        // In this order: whoever stops it finds the handle, or is seen to have stopped it.
        let _first = stop.handle.set(db.get_interrupt_handle());
        if stop.is_stopped.load(Ordering::Acquire) {
            return Err(StoreError::new(StoreErrorKind::Other, "nobody waits for it").into());
        }
        copy(&db, &file)
    });
    if made.is_err() {
        // Half of a copy must not be there to be taken for one. What cannot be removed is not what went wrong: that is told.
        let removed = remove_left(&file).and_then(|()| if is_new { fs::remove_dir(to) } else { Ok(()) });
        if let Err(error) = removed {
            tracing::warn!(%error, to = %to.display(), "a copy that is not finished cannot be removed");
        }
    }
    made
}

/// What is in the folder would be mixed with the copy, or be taken for a part of it.
fn refuse_used(to: &Path) -> Result<(), Fault> {
    let used = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    if !used {
        return Ok(());
    }
    let why = "it is there and not empty: name a folder that is not there yet";
    Err(said(to, StoreErrorKind::Other, why).into())
}

fn told(fault: &Fault, to: &Path) -> StoreError {
    match fault {
        Fault::Told(error) => error.clone(),
        fault => {
            let what = match fault.kind() {
                StoreErrorKind::DiskFull => "; make room there, or name a folder on another disk",
                StoreErrorKind::ReadOnly => "; look at the rights of the folder above it, or name another",
                _ => "",
            };
            said(to, fault.kind(), &format!("{fault}{what}"))
        }
    }
}

fn said(to: &Path, kind: StoreErrorKind, why: &str) -> StoreError {
    StoreError::new(kind, format!("write a copy to {}: {why}", to.display()))
}
