//! Where the control socket of a tree is, and its state directory.
//!
//! | comes first | the socket |
//! |---|---|
//! | `--socket` | it |
//! | `--state-dir` | `control.sock` in it |
//! | `$TREEWARDEN_SOCKET` | it |
//! | `state_dir` of the file, for `run` | `control.sock` in it |
//! | | `control.sock` in the usual state directory |

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;
use treewarden::config;
use treewarden_service::invalid;

use crate::args::Place;
use crate::exit::{Exit, Failure, code};

/// The socket's name in the state directory.
const NAME: &str = "control.sock";

/// The variable that names a socket, where no argument names a place.
const VARIABLE: &str = "TREEWARDEN_SOCKET";

/// Where a control socket is, or is to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SocketPlace {
    path: PathBuf,
    by: By,
}

/// Who chose a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// An argument.
    Argument,
    /// `$TREEWARDEN_SOCKET`.
    Variable,
    /// Neither: it is in the state directory that the file chooses, for `run`, or in the usual one.
    Nobody,
}

impl SocketPlace {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What failed at this place, with what chose it if that was no argument: whoever reads the refusal would look for the
    /// path in vain on the command line and in the file.
    pub(crate) fn tell(&self, error: anyhow::Error) -> anyhow::Error {
        let chosen = match self.by {
            By::Argument => None,
            By::Variable => {
                Some(format!("${VARIABLE} names this socket; --socket and --state-dir come before it"))
            }
            By::Nobody if code(&error) == Exit::NoDaemon => self.of_the_file_here(),
            By::Nobody => None,
        };
        match chosen {
            Some(chosen) => Failure::new(code(&error), format!("{error:#} ({chosen})")).into(),
            None => error,
        }
    }

    /// Where the tree may be instead: `run` reads the file here, and clients do not.
    fn of_the_file_here(&self) -> Option<String> {
        let file = Path::new(FILE);
        // One that is not valid chooses nothing yet: `run` says so.
        let dir = file.is_file().then(|| config::load_regular(file).ok())??.state_dir?;
        (dir.join(NAME) != self.path).then(|| {
            format!(
                "{FILE} here chooses another state directory: name that with --state-dir {}",
                dir.display()
            )
        })
    }
}

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
        self.state_dir.is_some() || (self.socket.is_none() && variable().is_none())
    }

    /// The control socket, for a tree whose file chooses this state directory.
    pub(crate) fn socket(&self, file: Option<&PathBuf>) -> anyhow::Result<SocketPlace> {
        self.chosen(variable(), || self.state_dir(file))
    }

    /// What the arguments, the variable and the rest come to.
    fn chosen(
        &self,
        variable: Option<PathBuf>,
        state_dir: impl FnOnce() -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<SocketPlace> {
        let (path, by) = match (&self.socket, &self.state_dir, variable) {
            (Some(socket), _, _) => (socket.clone(), By::Argument),
            (None, Some(dir), _) => (dir.join(NAME), By::Argument),
            (None, None, Some(path)) => (path, By::Variable),
            (None, None, None) => (state_dir()?.join(NAME), By::Nobody),
        };
        Ok(SocketPlace { path, by })
    }

    /// The state directory of the tree that `run` starts in this folder, and who chose it.
    ///
    /// It is for what is done to a directory and not to a tree that runs: the directory is to be the one that is meant, or none.
    pub(crate) fn of_run(&self) -> anyhow::Result<Chosen> {
        if let Some(dir) = &self.state_dir {
            return Ok(Chosen { dir: dir.clone(), by: "--state-dir" });
        }
        let file = Path::new(FILE);
        // What cannot be read may choose a directory: to go by another one would be a guess.
        let chosen = if file.is_symlink() || file.exists() {
            config::load_regular(file).map_err(|error| {
                let text = format!(
                    "{FILE} here may choose a state directory, and is not valid; name the directory with --state-dir\n{}",
                    invalid(file, &error)
                );
                Failure::new(Exit::Config, text)
            })?
        } else {
            config::TreeSpec::default()
        };
        match chosen.state_dir {
            Some(dir) => Ok(Chosen { dir, by: "state_dir of treewarden.toml here" }),
            None => Ok(Chosen {
                dir: self.state_dir(None)?,
                by: "the usual one: neither --state-dir nor a treewarden.toml here chooses another",
            }),
        }
    }
}

/// The file that `run` reads where it is given none.
const FILE: &str = "treewarden.toml";

/// A state directory, and who chose it.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) dir: PathBuf,
    pub(crate) by: &'static str,
}

/// The socket that the environment names; a variable that is set to nothing names none.
fn variable() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_comes_before_the_variable_and_that_before_the_rest() {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let cases = [
            // --socket, --state-dir, the variable: the socket, and who named it.
            ("/s", "/d", "/v", "/s", By::Argument),
            ("/s", "", "/v", "/s", By::Argument),
            ("", "/d", "/v", "/d/control.sock", By::Argument),
            ("", "", "/v", "/v", By::Variable),
            ("", "/d", "", "/d/control.sock", By::Argument),
            ("", "", "", "/usual/control.sock", By::Nobody),
        ];
        for (socket, state_dir, variable, expected, by) in cases {
            let place = Place { socket: path(socket), state_dir: path(state_dir) };
            let found = place.chosen(path(variable), || Ok("/usual".into())).expect("there is one");
            let expected = SocketPlace { path: expected.into(), by };
            assert_eq!(found, expected, "{socket:?} {state_dir:?} {variable:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_variable_where_that_chose_the_place_and_keeps_its_code() {
        let told = |by| {
            let place = SocketPlace { path: "/v".into(), by };
            place.tell(Failure::new(Exit::Held, "process 1 listens on /v").into())
        };
        assert_eq!(told(By::Argument).to_string(), "process 1 listens on /v");
        let said = told(By::Variable);
        assert!(said.to_string().contains("listens on /v ($TREEWARDEN_SOCKET names"), "{said}");
        assert_eq!(code(&said), Exit::Held);
    }
}
