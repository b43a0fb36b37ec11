//! The segments of the tail as files.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::lock::Place;
use crate::placed::{self, Links};

pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("turns-{number}.log"))
}

/// The numbers of the segments in the directory, in order.
pub(crate) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix("turns-")?.strip_suffix(".log")?.parse().ok());
        numbers.extend::<Option<u64>>(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A segment that is there, if there is one.
pub(crate) fn a_segment(dir: &Path) -> io::Result<Option<PathBuf>> {
    Ok(numbers(dir)?.first().map(|number| path(dir, *number)))
}

/// A segment that is appended to.
#[derive(Debug)]
pub(crate) struct Segment {
    file: File,
    path: PathBuf,
    place: Place,
}

impl Segment {
    /// Opens the segment, which is made if it is missing.
    pub(crate) fn open(dir: &Path, number: u64) -> io::Result<Self> {
        let path = path(dir, number);
        let mut options = File::options();
        options.read(true).append(true).create(true).mode(0o600);
        let file = placed::open(&path, &mut options, Links::Follow)?;
        let place = Place::of(&file.metadata()?);
        Ok(Self { file, path, place })
    }

    /// Appends a line; returns where it ends.
    pub(crate) fn append(&mut self, line: &[u8]) -> io::Result<u64> {
        loop {
            match self.file.write(line) {
                // After an append, the position is the end of what was written.
                Ok(len) if len == line.len() => return self.file.stream_position(),
                // Another process may have gone on behind the piece, so it is written anew; a full disk says so then.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whoever opens the path next finds what is appended here.
    pub(crate) fn is_in_place(&self) -> bool {
        self.place.is_at(&self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Removes a segment that is over; another process may have done so just before.
pub(crate) fn remove(dir: &Path, number: u64) -> io::Result<()> {
    match std::fs::remove_file(path(dir, number)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a segment holds from `offset` on; nothing if it is missing.
pub(crate) fn rest(dir: &Path, number: u64, offset: u64) -> io::Result<Vec<u8>> {
    let file = match placed::open(&path(dir, number), File::options().read(true), Links::Follow) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_another_process_removed_first_is_gone_all_the_same() {
        let dir = tempfile::tempdir().expect("a folder");
        drop(Segment::open(dir.path(), 7).expect("made"));
        for _ in 0..2 {
            remove(dir.path(), 7).expect("gone");
        }
        assert!(numbers(dir.path()).expect("read").is_empty());
    }
}
