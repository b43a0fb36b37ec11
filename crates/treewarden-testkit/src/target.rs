//! Cargo's target folder, where this crate keeps what it builds or installs on first use.
//!
//! It is for finding that folder and for keeping two processes apart in it. It is not for the programs of a profile, which lie beside the
//! test: `programs.rs` finds those. It must never make up a folder: where none is found the caller gets an error, and a download of
//! hundreds of megabytes does not end up in a place that nobody cleans.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The target folder of the running test: `CARGO_TARGET_DIR`, or found upwards from the program.
///
/// Upwards means: the nearest folder above the program that is named `target`, or that has the `CACHEDIR.TAG` which cargo puts there.
///
/// # Errors
///
/// `NotFound` if the program lies in no such folder; or what the system said while it made the one of `CARGO_TARGET_DIR`.
pub(crate) fn target_dir() -> io::Result<PathBuf> {
    // A relative one is relative to where cargo was started, which a test does not know.
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    if let Some(dir) = named {
        std::fs::create_dir_all(&dir)?;
        return Ok(dir);
    }
    let exe = std::env::current_exe()?;
    let is_target = |dir: &&Path| dir.ends_with("target") || dir.join("CACHEDIR.TAG").is_file();
    let found = exe.ancestors().skip(1).find(is_target).map(Path::to_owned);
    found.ok_or_else(|| {
        let what = format!("{} is in no target folder of cargo: set CARGO_TARGET_DIR", exe.display());
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}

/// Waits for the lock of this file, across processes; it is held until the value is dropped.
///
/// It blocks without a deadline: whoever holds it has one of its own (a build, an install). The file stays, empty, as removing it would let
/// two hold a lock of the same name.
///
/// # Errors
///
/// The file cannot be made, or its file system knows no locks.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    // The system's lock ends with its holder: a test process that is killed while it builds keeps nobody out.
    file.lock()?;
    Ok(file)
}
