//! The config file: checked, and described for editors.

use std::path::Path;
use std::process::ExitCode;

use treewarden::config::{self, ConfigError};

use crate::exit::Exit;
use crate::output;

pub(super) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    match config::load(file) {
        Ok(tree) => {
            let sessions = tree.sessions().len();
            let word = if sessions == 1 { "session" } else { "sessions" };
            output::line(format!("{} is valid: {sessions} {word}", file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            output::note(invalid(file, &error));
            Ok(Exit::Config.into())
        }
    }
}

/// Everything that is wrong with a file.
pub(crate) fn invalid(file: &Path, error: &ConfigError) -> String {
    let count = error.faults().len();
    let word = if count == 1 { "error" } else { "errors" };
    format!("{error}\n\n{} is not valid: {count} {word}", file.display())
}

pub(super) fn schema() -> anyhow::Result<ExitCode> {
    output::line(format!("{:#}", config::schema()))?;
    Ok(ExitCode::SUCCESS)
}
