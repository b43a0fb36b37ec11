//! Finding the fake CLI's program beside the running test.

use std::path::PathBuf;

/// Finds `treewarden-fake-claude` in the target folder of the running test, and builds it if need be.
///
/// It blocks: for seconds the first time, if `cargo test -p …` built the programs of this crate not
/// or not anew.
///
/// # Errors
///
/// It cannot be built: the message says why, and how to build it.
pub fn fake_cli_path() -> std::io::Result<PathBuf> {
    crate::programs::program("treewarden-fake-claude")
}
