//! Why the real command could not be installed.
//!
//! It is for whoever reads a test that failed: each text says what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The real command could not be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RealCliError {
    /// There is no npm.
    #[error("npm was not found in PATH: install `npm` of Node.js 18 or newer")]
    NpmMissing,
    /// npm ended with a failure.
    #[error("`npm install {package}` ended with {status}: {stderr}")]
    #[non_exhaustive]
    NpmFailed {
        /// The package and its version.
        package: String,
        /// How npm ended.
        status: String,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// npm did not end in time, and was killed.
    #[error("`npm install {package}` did not end within {limit:?}: is the package registry reachable?")]
    #[non_exhaustive]
    NpmHung {
        /// The package and its version.
        package: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// npm ended well, but left no program that runs here.
    #[error(
        "{package} brought no program that runs on this platform ({tried}): is npm told to omit optional packages?"
    )]
    #[non_exhaustive]
    NoProgram {
        /// The package and its version.
        package: String,
        /// What was tried, and how it failed.
        tried: String,
    },
    /// The version is not of the form `1.2.3`.
    #[error("`{0}` is not a version such as 2.1.332")]
    BadVersion(String),
    /// There is no target folder, or a file operation in it failed.
    #[error("{}: {source}", path.display())]
    #[non_exhaustive]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RealCliError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
