//! What is fixed about a CLI once it is initialized.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use treewarden_process::Program;
use treewarden_proto::SessionId;
use treewarden_proto::spec::{Environment, Opening, SessionSpec};

use crate::private_files::Private;
use crate::second_door::SecondDoor;

/// Everything that a new conversation's CLI is given before its first prompt, but for its id.
///
/// Two sessions whose launches are equal could have each other's CLI. It holds secrets, and so has no `Debug`.
#[derive(PartialEq)]
pub(crate) struct Launch {
    path: PathBuf,
    args: Vec<String>,
    environment: Environment,
    cwd: PathBuf,
    config_dir: PathBuf,
    initialize: Map<String, Value>,
    /// It goes in files, which are others for each CLI.
    private: Private,
}

impl Launch {
    pub(crate) fn new(
        spec: &SessionSpec,
        private: Private,
        path: PathBuf,
        environment: Environment,
        cwd: PathBuf,
        config_dir: PathBuf,
    ) -> Self {
        // The arguments are kept without an id, since launches are compared whole: two that differ in it
        // alone would never be the same.
        let any = SessionId::random();
        let mut args = private.args(spec, &Opening::Fresh(any));
        let own = id_flag(any);
        args.retain(|arg| *arg != own);
        Self { path, args, environment, cwd, config_dir, initialize: spec.initialize(), private }
    }

    /// Writes what the CLI of a new conversation is given in a file.
    pub(super) fn shut(&self, state_dir: &Path, id: SessionId) -> io::Result<SecondDoor> {
        Ok(SecondDoor::new(self.private.write(state_dir, id)?, &self.environment, &self.config_dir))
    }

    /// The program, for a new conversation of this id.
    pub(super) fn program(&self, id: SessionId, door: &SecondDoor) -> Program {
        let own = self.args.iter().cloned().chain([id_flag(id)]).map(OsString::from);
        let env = self.environment.iter().map(|(name, value)| (name.into(), value.into()));
        Program {
            path: self.path.clone(),
            args: own.chain(door.arguments()).collect(),
            env: env.collect(),
            cwd: self.cwd.clone(),
        }
    }

    /// Where it keeps its conversations.
    pub(super) fn config_dir(&self) -> &Path {
        &self.config_dir
    }

    pub(super) fn initialize(&self) -> Map<String, Value> {
        self.initialize.clone()
    }
}

fn id_flag(id: SessionId) -> String {
    format!("--session-id={id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(spec: &SessionSpec) -> Launch {
        let private = Private::now(spec, Path::new("/")).expect("no settings file");
        Launch::new(spec, private, "claude".into(), spec.environment([]), "/".into(), "/.claude".into())
    }

    #[test]
    fn sessions_that_differ_in_their_name_alone_are_launched_alike_and_others_are_not() {
        let spec = SessionSpec::new().model("sonnet");
        let named = spec.clone().name("assistant".parse().expect("a valid name"));
        assert!(launch(&spec) == launch(&named));
        let others = [
            spec.clone().model("opus"),
            spec.clone().system_prompt("You review code"),
            spec.clone().env("KEY", "value"),
            spec.clone().include_partial_messages(false),
        ];
        for other in &others {
            assert!(launch(&spec) != launch(other), "{other:?}");
        }
    }

    #[test]
    fn the_program_gets_the_id_of_its_conversation_once() {
        let (spec, id) = (SessionSpec::new(), SessionId::random());
        let dir = tempfile::tempdir().expect("a folder");
        let launch = launch(&spec);
        let door = launch.shut(dir.path(), id).expect("written");
        let args = launch.program(id, &door).args;
        let own = spec.argv(&Opening::Fresh(id)).into_iter().map(OsString::from);
        let mut wanted: Vec<OsString> = own.chain(door.arguments()).collect();
        wanted.sort();
        let mut sorted = args.clone();
        sorted.sort();
        assert_eq!(sorted, wanted);
    }
}
