//! The real `claude` command at a pinned version, for tests against it.
//!
//! The npm package `@anthropic-ai/claude-code` is installed into cargo's target folder on first use,
//! once for all test processes (a line on stderr says so meanwhile), and is run against the [mock API](crate::mock_api) with a dummy key:
//! no model is asked, and no account is needed. No install script of the package is run.
//!
//! Without npm the tests that need the command fail, and say what to install. Skipping them is the
//! reader's choice: `TREEWARDEN_SKIP_REAL_CLI=1`, and it is printed.
//!
//! | variable | effect |
//! |---|---|
//! | `TREEWARDEN_SKIP_REAL_CLI=1` | [`RealCli::for_test`] gives `None`, and says so on stderr |
//! | `CARGO_TARGET_DIR` | where it is installed, if the path is absolute; else the target folder above the test's program |
//! | `PATH` | where npm is looked for; version 18 of Node.js or newer |
//!
//! It is not for running the command on a person's account: what starts it with [`RealCli::environment`] has a home of its own and reaches nobody. What a
//! test observes with it holds for that version, which is why there is no way to ask for the newest.
//!
//! # Examples
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! use treewarden_testkit::{mock_api::MockApi, real_cli::RealCli};
//!
//! let Some(cli) = RealCli::for_test() else { return Ok(()) };
//! let api = MockApi::start().await?;
//! let mut command = std::process::Command::new(cli.path());
//! command.env_clear().envs(cli.environment("/home/user".as_ref(), &api));
//! # Ok(()) }
//! ```

mod error;
mod install;

use std::io::Write;
use std::path::{Path, PathBuf};

pub use error::RealCliError;

use crate::mock_api::MockApi;

/// The version that [`RealCli::install`] installs, and that this workspace is measured with.
///
/// What this workspace says of the CLI's behaviour was seen with it. Another one may differ, so that a test of a program that embeds
/// treewarden pins a version too.
pub const PINNED_VERSION: &str = "2.1.332";

/// An installed `claude` command.
///
/// It stays installed when the value goes: in cargo's target folder, one folder for each version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealCli {
    /// `node_modules/.bin/claude` in the folder of the version: a link to the native program.
    path: PathBuf,
    /// As it was asked for, and as the program said when it was installed.
    version: String,
}

impl RealCli {
    /// Installs the pinned version, or finds it installed; it blocks the first time, for as long as the download takes.
    ///
    /// # Errors
    ///
    /// npm is missing or fails, or the folder cannot be written; the text says what to do.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use treewarden_testkit::real_cli::{PINNED_VERSION, RealCli};
    ///
    /// let cli = RealCli::install()?;
    /// assert_eq!(cli.version(), PINNED_VERSION);
    /// println!("{}", cli.path().display());
    /// # Ok::<(), treewarden_testkit::real_cli::RealCliError>(())
    /// ```
    pub fn install() -> Result<Self, RealCliError> {
        Self::install_version(PINNED_VERSION)
    }

    /// Installs another version, such as `2.1.197`, or finds it installed.
    ///
    /// It is for what has to hold with an old command too. Several versions lie side by side, one folder of several hundred megabytes each.
    ///
    /// # Errors
    ///
    /// As [`RealCli::install`].
    pub fn install_version(version: &str) -> Result<Self, RealCliError> {
        let path = install::install(version)?;
        Ok(Self { path, version: version.to_owned() })
    }

    /// The pinned version for a test; `None` if `TREEWARDEN_SKIP_REAL_CLI=1` skips it, which is printed.
    ///
    /// A test returns on `None`, and does nothing else: it counts as passed, and the line on stderr is what tells.
    ///
    /// # Panics
    ///
    /// It cannot be installed; the text says what to do.
    pub fn for_test() -> Option<Self> {
        Self::for_test_version(PINNED_VERSION)
    }

    /// Another version for a test; `None` if `TREEWARDEN_SKIP_REAL_CLI=1` skips it, which is printed.
    ///
    /// It is [`for_test`](Self::for_test) with a version of the caller's choice.
    ///
    /// # Panics
    ///
    /// It cannot be installed; the text says what to do.
    pub fn for_test_version(version: &str) -> Option<Self> {
        if std::env::var_os("TREEWARDEN_SKIP_REAL_CLI").is_some_and(|value| value == "1") {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("a test of the real CLI");
            // Not `eprintln`: the test harness keeps that back, and a skip must be seen.
            drop(writeln!(std::io::stderr(), "skipped: {test}: TREEWARDEN_SKIP_REAL_CLI is set"));
            return None;
        }
        match Self::install_version(version) {
            Ok(cli) => Some(cli),
            Err(error) => panic!(
                "failed to install the real CLI: {error} (TREEWARDEN_SKIP_REAL_CLI=1 skips the tests of it)"
            ),
        }
    }

    /// The program.
    ///
    /// Absolute; what a host takes for its `claude` command.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version, such as `2.1.332`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The whole environment of a run against this mock API: its own home, a dummy key, no way out.
    ///
    /// Start the command with an empty environment and these variables only.
    ///
    /// `home` is the folder of its settings and transcripts: a temporary one for each test. `PATH` is `/usr/bin:/bin`, where the command finds the shell of
    /// its Bash tool. A variable that a test needs besides is added to the list.
    pub fn environment(&self, home: &Path, api: &MockApi) -> Vec<(String, String)> {
        let mut variables = api.env();
        let own = [("HOME", home.to_string_lossy().as_ref()), ("PATH", "/usr/bin:/bin")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        variables.extend(own);
        variables
    }
}
