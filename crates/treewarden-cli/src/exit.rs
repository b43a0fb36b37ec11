//! The exit codes of the command: this table is the one that `docs/command.md` shows.

use std::fmt;
use std::process::ExitCode;

use treewarden_service::{Code, Refusal};

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The turn failed, or something else did.
    Failed = 1,
    /// The arguments are wrong; clap uses this code itself.
    Usage = 2,
    /// The config file is not valid.
    Config = 3,
    /// Nobody listens on the control socket.
    NoDaemon = 4,
    /// There is no session, turn or template of that name, or the session is being removed and was to be started.
    NotFound = 5,
    /// Something else holds the state directory, the socket, the conversation or the name.
    Held = 6,
    /// The turn was interrupted or cancelled.
    Interrupted = 7,
    /// The queue is full, the store is, or another reload is under way; later it may work.
    Busy = 8,
    /// The turn is still open: its outcome can be asked for later.
    Open = 9,
}

/// A failure with the exit code that it leads to.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Refusal> for Failure {
    /// A refusal in the command's words: what would have it done all the same is an option here.
    fn from(refusal: Refusal) -> Self {
        let exit = Exit::from(refusal.code);
        match refusal.anyway {
            Some(field) => {
                let option = field.replace('_', "-");
                Self::new(exit, format!("{}. With --{option} it is done all the same", refusal.message))
            }
            None => Self::new(exit, refusal.message),
        }
    }
}

impl From<Code> for Exit {
    fn from(code: Code) -> Self {
        match code {
            Code::BadRequest => Self::Usage,
            Code::NoSuchSession | Code::NoSuchTurn | Code::TurnExpired | Code::NoSuchTemplate => {
                Self::NotFound
            }
            Code::Taken => Self::Held,
            Code::Busy => Self::Busy,
            Code::Config => Self::Config,
            // Also a code of a newer daemon (`Unknown`): it is a plain failure here, with the daemon's own
            // words.
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit code of an error: that of the first [`Failure`] in its chain.
pub(crate) fn code(error: &anyhow::Error) -> Exit {
    // What is added on the way up (`context`) stands before the failure that has the code.
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
        .map_or(Exit::Failed, |failure| failure.exit)
}

/// Tells whether the reader of our output went away, which is no failure.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    // Whoever read the output had enough (`| head`): that is no failure of the command.
    let broken = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(broken))
}
