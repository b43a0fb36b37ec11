//! Where the control socket of a tree is.

use std::path::PathBuf;

use anyhow::Context;

use crate::args::Place;

/// The socket's name in the state directory.
const NAME: &str = "control.sock";

impl Place {
    /// The state directory, if the arguments or the file choose one.
    pub(crate) fn state_dir(&self, file: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
        let dir =
            self.state_dir.clone().or_else(|| file.cloned()).or_else(treewarden_store::default_state_dir);
        dir.context(
            "neither XDG_STATE_HOME nor HOME is an absolute path: choose a state directory with --state-dir",
        )
    }

    /// Whether the state directory is known without asking the tree.
    pub(crate) fn has_directory(&self) -> bool {
        self.state_dir.is_some() || self.socket.is_none()
    }

    /// The control socket, for a tree whose file chooses this state directory.
    pub(crate) fn socket(&self, file: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
        match (&self.socket, &self.state_dir) {
            // A state directory that is given outright says more than an environment variable, but not than --socket;
            // clap does not tell the two apart, so the socket wins.
            (Some(socket), _) => Ok(socket.clone()),
            (None, _) => Ok(self.state_dir(file)?.join(NAME)),
        }
    }
}
