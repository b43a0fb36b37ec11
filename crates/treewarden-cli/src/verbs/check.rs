//! The config file: checked, and described for editors.

use std::path::Path;
use std::process::ExitCode;

use treewarden::config;
use treewarden_service::invalid;

use super::in_force;
use crate::capacity::{self, Machine};
use crate::exit::Exit;
use crate::output;

pub(super) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    match config::load(file) {
        Ok(tree) => {
            let sessions = output::count(tree.sessions().len(), "session");
            output::line(format!("{} is valid: {sessions}", file.display()))?;
            let capacity = Machine::here(treewarden_process::limits()).capacity();
            if let Some(said) = capacity::too_many(&tree, capacity) {
                output::note(format!("warning: {said}"));
            }
            in_force::lines(&tree, &treewarden_process::controllers()).iter().try_for_each(output::line)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            output::note(invalid(file, &error));
            Ok(Exit::Config.into())
        }
    }
}

pub(super) fn schema() -> anyhow::Result<ExitCode> {
    output::line(format!("{:#}", config::schema()))?;
    Ok(ExitCode::SUCCESS)
}
