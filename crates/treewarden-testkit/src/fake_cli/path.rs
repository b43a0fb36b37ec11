//! Finding the fake CLI's program beside the running test.
//!
//! It is for a test that starts a CLI: the path goes to where a host expects the `claude` command. It is not for a program that hosts the
//! fake CLI itself, which names its own path. Where it is found or built is decided in `programs.rs`.

use std::path::PathBuf;

/// Finds `treewarden-fake-claude` in the target folder of the running test, and builds it if need be.
///
/// It blocks: for seconds the first time, if `cargo test -p …` built the programs of this crate not
/// or not anew.
///
/// It may be asked from several tests and test binaries at once: one of them builds, and the others wait.
///
/// # Errors
///
/// It cannot be built: the message says why, and how to build it.
///
/// # Examples
///
/// ```no_run
/// use std::process::Command;
///
/// use treewarden_testkit::fake_cli::{FakeCli, fake_cli_path};
///
/// let (key, script) = FakeCli::new().version("2.1.248").env();
/// let said = Command::new(fake_cli_path()?).arg("--version").env(key, script).output()?;
/// assert_eq!(said.stdout, b"2.1.248 (Claude Code)\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn fake_cli_path() -> std::io::Result<PathBuf> {
    crate::programs::program("treewarden-fake-claude")
}
