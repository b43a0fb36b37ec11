//! Installing the npm package: once, whole or not at all, whoever comes first.
//!
//! ```text
//! target/treewarden-cli-<version>/           there: whole, and used as it is
//! target/treewarden-cli-<version>.lock       held while npm runs; stays, empty
//! target/treewarden-cli-<version>.partial/   npm writes here ─► .bin/claude is pointed at the native program ─► renamed
//!                                            └─ fails: removed; killed: the next one removes it
//! ```
//!
//! It must never leave a folder of the final name that is not whole, for nobody looks into it again. It must never run a script of the package: with
//! `--ignore-scripts` npm only unpacks, and the one thing that such a script does is done by `link`.
//!
//! It blocks its thread, with a deadline for npm; another process waits for the lock as long as that takes. npm gets the environment of the test, so
//! that its proxy and registry hold.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::RealCliError;
use crate::clock::poll_until;
use crate::target;

/// What npm brings, in MB; a slow line takes its time.
const SIZE: u32 = 384;

/// How long that may take.
///
/// npm is killed then, and the error asks whether the registry can be reached.
const LIMIT: Duration = Duration::from_secs(600);

/// How much of npm's stderr stands in an error.
///
/// In bytes, from its end: npm says last what went wrong.
const TAIL: usize = 2000;

/// Installs this version if it is not there, and returns the path of its program.
///
/// # Errors
///
/// As the table in `error.rs` says. Where npm failed, nothing is left behind but the lock.
pub(super) fn install(version: &str) -> Result<PathBuf, RealCliError> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if version.split('.').count() != 3 || !version.split('.').all(digits) {
        return Err(RealCliError::BadVersion(version.to_owned()));
    }
    let target = target::target_dir().map_err(RealCliError::io("cargo's target folder"))?;
    let home = target.join(format!("treewarden-cli-{version}"));
    let program = home.join("node_modules").join(".bin").join("claude");
    // The folder appears by a rename, so what is there is whole.
    if program.exists() {
        return Ok(program);
    }
    let lock = target.join(format!("treewarden-cli-{version}.lock"));
    let _lock = target::lock(&lock).map_err(RealCliError::io(lock))?;
    if program.exists() {
        return Ok(program);
    }
    // Under the lock, what stands here is left over from an install that was killed.
    let partial = target.join(format!("treewarden-cli-{version}.partial"));
    remove(&partial)?;
    remove(&home)?;
    fs::create_dir_all(&partial).map_err(RealCliError::io(&partial))?;
    announce(version);
    npm(&partial, version).and_then(|()| link(&partial, version)).inspect_err(|_| drop(remove(&partial)))?;
    fs::rename(&partial, &home).map_err(RealCliError::io(&home))?;
    Ok(program)
}

/// Says what the tests wait for.
///
/// Not by `eprintln`: the test harness keeps that back, and a minute without a word looks like a test that hangs.
fn announce(version: &str) {
    let text = format!(
        "treewarden-testkit: npm installs {} (about {SIZE} MB) into cargo's target folder, once; tests of the real CLI \
         wait for it (TREEWARDEN_SKIP_REAL_CLI=1 skips them)\n",
        package(version)
    );
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Removes a folder with all in it; that there is none is no error.
fn remove(dir: &Path) -> Result<(), RealCliError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RealCliError::io(dir)(error)),
        _ => Ok(()),
    }
}

/// The package as npm takes it, with the version pinned.
fn package(version: &str) -> String {
    format!("@anthropic-ai/claude-code@{version}")
}

/// Has npm install the package below `prefix`, whatever the user's own settings say of scripts, optional packages and the global folder.
fn npm(prefix: &Path, version: &str) -> Result<(), RealCliError> {
    let package = package(version);
    let log = prefix.join("npm.log");
    let stderr = fs::File::create(&log).map_err(RealCliError::io(&log))?;
    let mut child = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--no-update-notifier"])
        .args(["--ignore-scripts", "--include=optional", "--engine-strict=false", "--global=false"])
        .arg("--prefix")
        .arg(prefix)
        .arg(&package)
        .current_dir(prefix)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RealCliError::NpmMissing,
            _ => RealCliError::io("npm")(error),
        })?;
    let Some(ended) = poll_until(LIMIT, || child.try_wait().transpose()) else {
        // Ended and reaped, as the folder that it writes to is removed next.
        drop(child.kill().and_then(|()| child.wait()));
        return Err(RealCliError::NpmHung { package, limit: LIMIT });
    };
    let status = ended.map_err(RealCliError::io("npm"))?;
    if status.success() {
        return Ok(());
    }
    let stderr = fs::read(&log).unwrap_or_default();
    let tail = &stderr[stderr.len().saturating_sub(TAIL)..];
    let stderr = String::from_utf8_lossy(tail).trim().to_owned();
    Err(RealCliError::NpmFailed { package, status: status.to_string(), stderr })
}

/// Points `.bin/claude` at the native program, which the package's install script would do.
///
/// Which of the packages that npm brought is native here is found by running each: the one that says the version is it.
///
/// # Errors
///
/// `NoProgram`, with each that was tried and what it said.
fn link(prefix: &Path, version: &str) -> Result<(), RealCliError> {
    let scope = prefix.join("node_modules").join("@anthropic-ai");
    let entries = fs::read_dir(&scope).map_err(RealCliError::io(&scope))?;
    let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    // Old versions of npm bring the one for musl too; it sorts after the one for glibc.
    names.sort();
    let mut tried = Vec::new();
    for name in names.iter().filter(|name| name.starts_with("claude-code-")) {
        match says(&scope.join(name).join("claude")) {
            Ok(says) if says.split_whitespace().next() == Some(version) => {
                let link = prefix.join("node_modules").join(".bin").join("claude");
                // Whatever npm put there is in the way of ours; that it put nothing there is no error.
                drop(fs::remove_file(&link));
                let to = Path::new("..").join("@anthropic-ai").join(name).join("claude");
                return std::os::unix::fs::symlink(to, &link).map_err(RealCliError::io(&link));
            }
            Ok(says) => tried.push(format!("{name} says {:?}", says.trim())),
            Err(error) => tried.push(format!("{name}: {error}")),
        }
    }
    let tried = if tried.is_empty() { "no native package".to_owned() } else { tried.join("; ") };
    Err(RealCliError::NoProgram { package: package(version), tried })
}

/// What the program prints for `--version`; the error if it is for another platform, as one for musl is where there is no musl.
fn says(program: &Path) -> io::Result<String> {
    let output =
        Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
