//! The config file: checked, and described for editors.

use std::path::Path;
use std::process::ExitCode;

use treewarden::config::{self, Checked, ChildTypes, Here};
use treewarden_service::invalid;

use super::in_force;
use crate::capacity::{self, ClientLimits, Machine};
use crate::exit::Exit;
use crate::output;

pub(super) fn run(file: &Path, strict: bool) -> anyhow::Result<ExitCode> {
    let Checked { tree, faults, warnings, .. } = match config::check(file, &ChildTypes::default(), &Here) {
        Ok(checked) => checked,
        Err(error) => {
            output::note(invalid(file, &error));
            return Ok(Exit::Config.into());
        }
    };
    let mut warned: Vec<String> = Vec::new();
    if !warnings.is_empty() {
        warned.push(format!("{warnings}\n"));
    }
    // As `run` does, so that it is said what that will have.
    let _as_it_was = treewarden_process::raise_open_files();
    let machine = Machine::here(treewarden_process::limits());
    let of_machine = machine.too_few_files().into_iter();
    let of_machine = of_machine.chain(tree.as_ref().and_then(|tree| capacity::too_many(tree, machine)));
    warned.extend(of_machine.map(|said| format!("warning: {said}")));
    warned.iter().for_each(output::note);
    let tree = match (tree, faults) {
        (Some(tree), None) => tree,
        (_, faults) => {
            faults.iter().for_each(|error| output::note(invalid(file, error)));
            return Ok(Exit::Config.into());
        }
    };
    let sessions = output::count(tree.sessions().len(), "session");
    output::line(format!("{} is valid: {sessions}", file.display()))?;
    let unkept = in_force::unkept(&tree, &treewarden_process::controllers());
    in_force::supervisors(&tree).iter().chain(&unkept).try_for_each(output::line)?;
    let clients = ClientLimits::of(machine.open_files, capacity::max_live(&tree, machine));
    if clients.are_few() {
        output::line(format!("the limit of open files leaves room for {clients} beside the CLIs"))?;
    }
    if strict && !(warned.is_empty() && unkept.is_empty()) {
        output::note("there are warnings, which --strict does not let pass");
        return Ok(Exit::Config.into());
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn schema() -> anyhow::Result<ExitCode> {
    output::line(format!("{:#}", config::schema()))?;
    Ok(ExitCode::SUCCESS)
}
