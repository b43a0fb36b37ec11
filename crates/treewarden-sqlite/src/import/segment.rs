//! The segments of earlier versions' journals as files.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("turns-{number}.log"))
}

/// The numbers of the segments in the directory, in order.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix("turns-")?.strip_suffix(".log")?.parse().ok());
        numbers.extend::<Option<u64>>(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes a segment; another process may have done so just before.
pub(super) fn remove(dir: &Path, number: u64) -> io::Result<()> {
    match fs::remove_file(path(dir, number)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
