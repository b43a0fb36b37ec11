//! Finding the fake CLI's program beside the running test.

use std::path::PathBuf;

/// Finds the built `treewarden-fake-claude` in the target folder of the running test.
///
/// # Errors
///
/// It is not built: the message says how to build it.
pub fn fake_cli_path() -> std::io::Result<PathBuf> {
    let name = format!("treewarden-fake-claude{}", std::env::consts::EXE_SUFFIX);
    let exe = std::env::current_exe()?;
    // A test stands in `deps` or `examples`, one below the programs.
    let found = exe.ancestors().skip(1).take(2).map(|dir| dir.join(&name)).find(|p| p.is_file());
    found.ok_or_else(|| {
        let what = format!("{name} is not built: run `cargo build -p treewarden-testkit --bins`");
        std::io::Error::new(std::io::ErrorKind::NotFound, what)
    })
}
