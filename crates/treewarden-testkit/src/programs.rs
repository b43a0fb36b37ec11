//! The programs of this crate, beside the running test: found, or built on first use.
//!
//! `cargo test -p other` builds no programs of a dependency, so the first test that asks builds them,
//! with the cargo that runs it and into the same folder. It is not for installed programs.
//!
//! ```text
//! program(name) ─► known to this process? ─ yes ─► its path
//!                        │ no
//!                  newer than every file of src? ─ yes ─► its path
//!                        │ no
//!                  lock of the profile folder ─► look again ─► cargo build, 600 s at most ─► its path
//!                                                                  └─ fails: NotFound, with the end of cargo's log
//! ```
//!
//! It must never hand out a program that is older than the source: a test would judge yesterday's fake CLI. It must never leave a cargo
//! behind either, which would hold the lock of the target folder against every later build.
//!
//! Two locks hold here, in this order: the mutex of this process, so that its tests ask one after another, and the file
//! `treewarden-testkit.lock`, so that the test binaries of one folder do. Cargo's own lock comes below both.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use crate::clock::poll_until;
use crate::target;

/// The crate and what it depends on are built in seconds; a busy machine takes its time.
///
/// One that takes longer hangs: it waits for a lock that somebody keeps, or for a registry that does not answer.
const LIMIT: Duration = Duration::from_secs(600);

/// Finds this program of the crate, and builds it if it is not there or older than its source.
///
/// It blocks the calling thread, and every other thread that asks meanwhile. The answer is remembered for the life of the process.
///
/// The folder is told from the running program: a test or an example stands one below it, anything else (a bench, a program of the
/// workspace) in it. A program that cargo did not put there, such as a doctest, has no such folder and gets the error.
///
/// # Errors
///
/// `NotFound`, with the reason and what to run by hand: no source, no folder of cargo, or a build that failed or hung. Any other kind is
/// the system's, of the lock or the log.
pub(crate) fn program(name: &str) -> io::Result<PathBuf> {
    // The programs that this process knows to be new.
    static KNOWN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let exe = std::env::current_exe()?;
    let dir = exe.parent().unwrap_or_else(|| Path::new("/"));
    // A test stands in `deps` or `examples`, one below the programs.
    let below = dir.ends_with("deps") || dir.ends_with("examples");
    let dir = dir.parent().filter(|_| below).unwrap_or(dir);
    let file = dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !known.contains(&file) {
        if !is_new(&file) {
            let lock = dir.join("treewarden-testkit.lock");
            let _lock = target::lock(&lock)?;
            // Looked at again: another test process may have built it while this one waited for the lock.
            if !is_new(&file) {
                build(name, dir, &file)?;
            }
        }
        known.push(file.clone());
    }
    Ok(file)
}

/// Where this crate's source was when it was compiled; it may be gone since, or be read-only in a registry's cache.
fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Tells whether the program is there, and no file of the source was changed after it was built.
///
/// By times and not by cargo's fingerprints, as asking cargo would cost each test binary most of a second. Without a source any program is
/// new: nothing could build another one.
fn is_new(program: &Path) -> bool {
    let Ok(built) = fs::metadata(program).and_then(|meta| meta.modified()) else { return false };
    newest(&manifest_dir().join("src")).is_none_or(|changed| changed <= built)
}

/// When the newest file below this folder was changed; `None` without a source.
fn newest(dir: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(dir).ok()?.filter_map(Result::ok);
    entries
        .filter_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => newest(&entry.path()),
            _ => entry.metadata().and_then(|meta| meta.modified()).ok(),
        })
        .max()
}

/// Builds one program with the profile and into the folder of the running test.
///
/// Which cargo: the one that runs the tests (`CARGO`), or else the one that compiled this crate. Its stderr goes to
/// `treewarden-testkit.log`, not into a pipe that nobody would empty; the last 2,000 bytes stand in the error.
fn build(name: &str, dir: &Path, file: &Path) -> io::Result<()> {
    let by_hand = "run `cargo build -p treewarden-testkit --bins`";
    let fail = |why: String| {
        let what = format!("{name} is not built in {} ({why}): {by_hand}", dir.display());
        io::Error::new(io::ErrorKind::NotFound, what)
    };
    let manifest = manifest_dir().join("Cargo.toml");
    if !manifest.is_file() {
        return Err(fail(format!("its source is not at {}", manifest_dir().display())));
    }
    let profile = match dir.file_name().and_then(|profile| profile.to_str()) {
        // What cargo builds with the profile `dev` lies in a folder of this name.
        Some("debug") => "dev",
        Some(profile) if dir.join("deps").is_dir() => profile,
        _ => return Err(fail("this is no folder of cargo".to_owned())),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from(env!("CARGO")));
    let log = dir.join("treewarden-testkit.log");
    let mut child = Command::new(&cargo)
        .args(["build", "--quiet", "-p", "treewarden-testkit", "--bin", name, "--profile", profile])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(dir.parent().unwrap_or(dir))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .spawn()
        .map_err(|error| fail(format!("{}: {error}", cargo.display())))?;
    let Some(ended) = poll_until(LIMIT, || child.try_wait().transpose()) else {
        // A cargo that hangs would keep the lock of the target folder, and every later build would hang as
        // well.
        drop(child.kill().and_then(|()| child.wait()));
        return Err(fail(format!("cargo did not end within {LIMIT:?}")));
    };
    if !ended?.success() || !file.is_file() {
        let said = fs::read(&log).unwrap_or_default();
        let tail = &said[said.len().saturating_sub(2000)..];
        return Err(fail(format!("cargo says: {}", String::from_utf8_lossy(tail).trim())));
    }
    Ok(())
}
