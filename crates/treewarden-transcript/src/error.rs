//! What fails.

use std::io;
use std::path::{Path, PathBuf};

/// A transcript that cannot be read or prepared.
#[derive(Debug, thiserror::Error)]
#[error("use the transcript {}: {source}", path.display())]
pub struct TranscriptError {
    path: PathBuf,
    source: io::Error,
}

impl TranscriptError {
    /// The file or folder that was not to be read or written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system says.
    pub fn io(&self) -> &io::Error {
        &self.source
    }

    pub(crate) fn of(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { path, source }
    }

    /// The folders of a configuration directory cannot be looked through.
    pub(crate) fn of_folders(config_dir: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = config_dir.join("projects");
        move |source| Self { path, source }
    }
}
