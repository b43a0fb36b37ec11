//! Why the real command could not be installed.
//!
//! It is for whoever reads a test that failed: each text says what to do.
//!
//! | error | what helps |
//! |---|---|
//! | `NpmMissing` | install Node.js 18 or newer with npm, and have it in `PATH` |
//! | `NpmFailed` | read its stderr, which stands in the error: no network, a proxy, a full disk, a version that does not exist |
//! | `NpmHung` | see whether the registry can be reached; npm was killed |
//! | `NoProgram` | let npm install optional packages; the platform may have no native program |
//! | `BadVersion` | name all three numbers; a tag such as `latest` would be another version tomorrow |
//! | `Io` | set `CARGO_TARGET_DIR` if no target folder was found, or see to the folder that is named |
//!
//! Nothing is tried again by itself, and nothing remembers a failure: each test that needs the command tries anew, and fails with its own error.
//! `TREEWARDEN_SKIP_REAL_CLI=1` skips those tests.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The real command could not be installed.
///
/// # Examples
///
/// ```
/// use treewarden_testkit::real_cli::{RealCli, RealCliError};
///
/// let error = RealCli::install_version("latest").unwrap_err();
/// assert!(matches!(error, RealCliError::BadVersion(_)));
/// assert_eq!(error.to_string(), "`latest` is not a version such as 2.1.332");
/// ```
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
    /// Names the path that a file operation failed on, for `map_err`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
