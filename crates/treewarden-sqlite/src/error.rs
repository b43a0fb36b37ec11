//! How this store fails: what SQLite and the system say, as a kind and in words that name the file and what to do.
//!
//! Inside of the crate a failure is a [`Fault`]; it becomes a [`StoreError`] at the edge, where the file is known.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi;
use treewarden_store::dir::companions;
use treewarden_store::lock::is_full;
use treewarden_store::{StoreError, StoreErrorKind};

use crate::full;

/// What failed, before it is told.
#[derive(Debug)]
pub(crate) enum Fault {
    Sqlite(rusqlite::Error),
    System(io::Error),
    /// In words already.
    Told(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Told(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
            Self::Told(error) => error.fmt(f),
        }
    }
}

impl Fault {
    /// What was found to be damaged.
    pub(crate) fn corrupt(path: &Path, why: impl std::fmt::Display) -> Self {
        StoreError::new(StoreErrorKind::Corrupt, format!("use the state database {}: {why}", path.display()))
            .into()
    }

    pub(crate) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Sqlite(error) => of_sqlite(error),
            Self::System(error) => of_system(error),
            Self::Told(error) => error.kind(),
        }
    }

    /// Nothing of the transaction is stored, whose end this is: every other failure of a commit leaves that open.
    ///
    /// A write that failed left no whole frame of the commit in the log; a sync that failed left all of it there, and whoever
    /// opens the database after a crash may read it.
    pub(crate) fn is_of_nothing_stored(&self) -> bool {
        match self {
            Self::Sqlite(error) => match error.sqlite_error() {
                Some(error) if error.code == ErrorCode::SystemIoFailure => {
                    error.extended_code == ffi::SQLITE_IOERR_WRITE
                }
                Some(error) => matches!(
                    error.code,
                    ErrorCode::DiskFull
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::ReadOnly
                        | ErrorCode::ConstraintViolation
                ),
                None => false,
            },
            Self::System(_) => false,
            // Found out before the commit was tried.
            Self::Told(_) => true,
        }
    }

    /// Says it of the database at `path`.
    pub(crate) fn tell(self, path: &Path) -> StoreError {
        let Self::Told(error) = self else { return self.words(path) };
        error
    }

    fn words(self, path: &Path) -> StoreError {
        let (at, dir) = (path.display(), path.parent().unwrap_or(path));
        let mut kind = self.kind();
        let mut why = self.to_string();
        let mut number = if let Self::System(error) = &self { error.raw_os_error() } else { None };
        // Of some failures SQLite tells that there was one, and not which: the directory itself is asked.
        if self.may_be_the_disk()
            && let Err(error) = try_to_write(path)
        {
            kind = of_system(&error);
            number = error.raw_os_error();
            why = format!("{why} ({error})");
        }
        let text = match kind {
            StoreErrorKind::DiskFull => {
                let (what, what_to_do) = full::in_words(number, full::has_inodes(dir));
                format!("use the state database {at}: {what} ({why}); {what_to_do}")
            }
            StoreErrorKind::Busy => {
                format!(
                    "use the state database {at}: another program keeps it locked ({why}); end what has it open, or ask again"
                )
            }
            StoreErrorKind::ReadOnly => format!(
                "use the state database {at}: it cannot be written ({why}); look at the rights of {} and whether its filesystem \
                 is mounted read-only",
                dir.display()
            ),
            StoreErrorKind::Corrupt => {
                format!(
                    "use the state database {at}: it is damaged ({why}); end what has it open, and the next start sets it aside"
                )
            }
            StoreErrorKind::Removed => return removed(path),
            _ if self.is_too_large() => format!(
                "use the state database {at}: what was to be stored is larger than SQLite takes in one row ({why}); ask \
                 for less at once"
            ),
            _ if self.may_be_the_disk() => format!(
                "use the state database {at}: {why}; look at the disk of {} (the kernel's log says more), and ask again",
                dir.display()
            ),
            _ => format!("use the state database {at}: {why}"),
        };
        StoreError::new(kind, text)
    }

    /// The disk is what keeps a write from being stored, and not what was to be written.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        let is_full = matches!(self.kind(), StoreErrorKind::DiskFull | StoreErrorKind::ReadOnly);
        is_full || (self.kind() == StoreErrorKind::Other && self.may_be_the_disk())
    }

    fn is_too_large(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig))
    }

    fn may_be_the_disk(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        let asks = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DiskFull)
        );
        asks && matches!(self.kind(), StoreErrorKind::Other | StoreErrorKind::DiskFull)
    }
}

fn of_sqlite(error: &rusqlite::Error) -> StoreErrorKind {
    let Some(error) = error.sqlite_error() else {
        // What stands in a row is not what was written: a type, or a text that is no UTF-8.
        return match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Other,
        };
    };
    match error.code {
        ErrorCode::DiskFull => StoreErrorKind::DiskFull,
        // The last one is what SQLite says when many others open and close the log at once.
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            StoreErrorKind::Busy
        }
        ErrorCode::ReadOnly if error.extended_code == ffi::SQLITE_READONLY_DBMOVED => StoreErrorKind::Removed,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreErrorKind::ReadOnly,
        // A file that is shorter than it says of itself.
        ErrorCode::SystemIoFailure if error.extended_code == ffi::SQLITE_IOERR_SHORT_READ => {
            StoreErrorKind::Corrupt
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Other,
    }
}

pub(crate) fn of_system(error: &io::Error) -> StoreErrorKind {
    match error.kind() {
        _ if is_full(error) => StoreErrorKind::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
        io::ErrorKind::NotFound => StoreErrorKind::Removed,
        _ => StoreErrorKind::Other,
    }
}

/// Writes a page beside the database, as far from the begin of its file as the log is long, since a limit of the size of
/// files begins there.
fn try_to_write(path: &Path) -> io::Result<()> {
    let [log, _] = companions(path);
    let end = fs::metadata(&log).map_or(0, |meta| meta.len());
    let own = path.with_extension(format!("db.try-{}", std::process::id()));
    let mut options = File::options();
    let tried = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&own)
        .and_then(|file| file.write_all_at(&[0; 4096], end));
    let _left = fs::remove_file(&own);
    tried
}

/// The database, or the directory, is not where the next start will look for it.
pub(crate) fn removed(path: &Path) -> StoreError {
    let text = format!(
        "{} was removed, or replaced, under the running program, which can store nothing any more; stop it, \
         put a copy back with `treewarden restore DIR --force`, and start it again",
        path.display()
    );
    StoreError::new(StoreErrorKind::Removed, text)
}

/// The same of the database's log or shared memory, of which no copy is to be put back: beside a database that went on, an older
/// log would be taken for its own.
pub(crate) fn log_removed(path: &Path) -> StoreError {
    let text = format!(
        "{} was removed, or replaced, under the running program, which can store nothing any more; stop it, and start it again, \
         which says what is missing, if anything is",
        path.display()
    );
    StoreError::new(StoreErrorKind::Removed, text)
}

/// What an opening says of a file that it cannot use.
pub(crate) fn refused(path: &Path, kind: StoreErrorKind, why: &str) -> Fault {
    StoreError::new(kind, format!("open {}: {why}", path.display())).into()
}

/// The path of the database in a state directory.
pub(crate) fn database(dir: &Path) -> PathBuf {
    dir.join("treewarden.db")
}
