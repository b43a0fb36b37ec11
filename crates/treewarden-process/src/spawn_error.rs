//! Why a program could not be spawned.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::os::{Refusal, Stage};
use crate::program::Program;

/// A program that could not be spawned.
#[derive(Debug, thiserror::Error)]
#[error("spawn {}: {message}", path.display())]
pub struct SpawnError {
    kind: SpawnErrorKind,
    path: PathBuf,
    message: String,
}

/// The kinds of [`SpawnError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpawnErrorKind {
    /// There is no file at the path.
    NotFound,
    /// The file cannot be executed, or the interpreter that it names is missing.
    NotExecutable,
    /// The working directory is gone.
    CwdMissing,
    /// The arguments or the environment are too long, or hold a zero byte.
    InvalidArguments,
    /// There is no memory, descriptor or process left (ENOMEM, EMFILE, ENFILE, EAGAIN); it may work later.
    NoResources,
    /// The file is being written (ETXTBSY), or is no program as far as it is written (ENOEXEC).
    Unfinished,
    /// Anything else.
    Other,
}

impl SpawnError {
    /// The kind of failure.
    pub fn kind(&self) -> SpawnErrorKind {
        self.kind
    }

    /// The program that was to be executed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether the same call may well succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, SpawnErrorKind::NoResources | SpawnErrorKind::Unfinished)
    }

    pub(crate) fn new(kind: SpawnErrorKind, path: PathBuf, message: impl Into<String>) -> Self {
        Self { kind, path, message: message.into() }
    }

    pub(crate) fn not_on_path(program: &Program) -> Self {
        let message = "no such program on the PATH that it would get";
        Self::new(SpawnErrorKind::NotFound, program.path.clone(), message)
    }

    /// Tells from the step that failed what was wrong.
    pub(crate) fn refused(program: &Program, file: &Path, refusal: Refusal) -> Self {
        let Refusal { stage, errno } = refusal;
        let (kind, message) = match (stage, errno) {
            (_, Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => {
                (SpawnErrorKind::NoResources, errno.to_string())
            }
            (Stage::Exec, Errno::TXTBSY | Errno::NOEXEC) => (SpawnErrorKind::Unfinished, errno.to_string()),
            (Stage::Cwd, _) => {
                let message =
                    format!("its working directory {} cannot be entered: {errno}", program.cwd.display());
                (SpawnErrorKind::CwdMissing, message)
            }
            (Stage::Exec, Errno::NOENT) if program.cwd.join(file).exists() => {
                (SpawnErrorKind::NotExecutable, "the interpreter that its first line names is missing".into())
            }
            (Stage::Exec, Errno::NOENT | Errno::NOTDIR) => (SpawnErrorKind::NotFound, "no such file".into()),
            (Stage::Exec, Errno::ACCESS | Errno::ISDIR | Errno::PERM) => {
                (SpawnErrorKind::NotExecutable, errno.to_string())
            }
            (Stage::Exec, Errno::TOOBIG) => (
                SpawnErrorKind::InvalidArguments,
                "its arguments or its environment are too long for the system".into(),
            ),
            (Stage::Prepare, Errno::INVAL) => (
                SpawnErrorKind::InvalidArguments,
                "its path, arguments or environment hold a zero byte".into(),
            ),
            _ => (SpawnErrorKind::Other, errno.to_string()),
        };
        Self::new(kind, file.to_path_buf(), message)
    }
}
