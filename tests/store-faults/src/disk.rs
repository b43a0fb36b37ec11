//! What a machine whose power is cut may have kept of each file.
//!
//! It is for the rules: what was synced is there; of what was done to a file since, any part may be. It is not for choosing a
//! part. Nothing here may touch a real file but to write an image down.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cuts::{Fate, SECTOR};
use crate::vfs::Op;

/// The files of a folder: what is kept of each for certain, and what was done since.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<PathBuf, Kept>,
    /// So many changes were done; each has its number.
    done: usize,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    /// The content that is there for certain; `None` if there is no file.
    content: Option<Vec<u8>>,
    /// What was done since, each with its number; without one it is there for certain, as what made or removed a file is once
    /// its folder was synced.
    since: Vec<(Option<usize>, Op)>,
}

impl Disk {
    /// A disk that has kept what is in a folder.
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let content = Some(fs::read(entry.path())?);
                files.insert(PathBuf::from(entry.file_name()), Kept { content, since: Vec::new() });
            }
        }
        Ok(Self { files, done: 0 })
    }

    /// Does a change.
    pub fn change(&mut self, op: &Op) {
        let kept = self.files.entry(op.path().clone()).or_default();
        let number = self.done;
        self.done += 1;
        match op {
            Op::Sync { .. } => kept.settle(),
            _ => kept.since.push((Some(number), op.clone())),
        }
        if let Op::Sync { folder: true, .. } | Op::Delete { folder: true, .. } = op {
            let all = self.files.values_mut().flat_map(|kept| &mut kept.since);
            let entries = all.filter(|(_, op)| matches!(op, Op::Create { .. } | Op::Delete { .. }));
            entries.for_each(|(number, _)| *number = None);
        }
    }

    /// The changes that may be lost, by their numbers, in the order in which they were done; with how many bytes each wrote.
    pub fn loose(&self) -> Vec<(usize, usize)> {
        let mut loose: Vec<_> = self
            .files
            .values()
            .flat_map(|kept| &kept.since)
            .filter_map(|(number, op)| {
                Some(((*number)?, if let Op::Write { bytes, .. } = op { bytes.len() } else { 0 }))
            })
            .collect();
        loose.sort_unstable();
        loose
    }

    /// What is there if the changes have these fates.
    pub fn image(&self, fate: impl Fn(usize) -> Fate) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = self.files.iter();
        files.filter_map(|(path, kept)| Some((path.clone(), kept.with(&fate)?))).collect()
    }
}

impl Kept {
    fn settle(&mut self) {
        self.content = self.with(&|_| Fate::Kept);
        self.since.clear();
    }

    fn with(&self, fate: &impl Fn(usize) -> Fate) -> Option<Vec<u8>> {
        let mut content = self.content.clone();
        // Whether what is written goes to the file that the folder names: one that was made anew, but is not in the folder,
        // takes what is written to it along.
        let mut named = true;
        for (number, op) in &self.since {
            let fate = number.map_or(Fate::Kept, fate);
            match op {
                Op::Create { .. } => {
                    named = fate != Fate::Lost;
                    if named {
                        content = Some(Vec::new());
                    }
                }
                Op::Delete { .. } if fate != Fate::Lost => content = None,
                Op::Write { at, bytes, .. } if named && fate != Fate::Lost => {
                    if let Some(content) = &mut content {
                        let at = usize::try_from(*at).expect("a small file");
                        put(content, at, bytes, fate);
                    }
                }
                Op::Truncate { len, .. } if named && fate != Fate::Lost => {
                    if let Some(content) = &mut content {
                        content.resize(usize::try_from(*len).expect("a small file"), 0);
                    }
                }
                Op::Delete { .. } | Op::Write { .. } | Op::Truncate { .. } | Op::Sync { .. } => {}
            }
        }
        content
    }
}

/// Writes all of `bytes`, or only those of the sectors that a torn write kept. The file is as long as if all were there:
/// a length is kept apart from the content, and what is not there reads as zeros.
fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8], fate: Fate) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    let mut from = 0;
    while from < bytes.len() {
        let sector = (at + from) / SECTOR;
        let to = ((sector + 1) * SECTOR - at).min(bytes.len());
        let keeps = match fate {
            Fate::Torn(tear) => tear.keeps(sector),
            Fate::Kept => true,
            Fate::Lost => false,
        };
        if keeps {
            content[at + from..at + to].copy_from_slice(&bytes[from..to]);
        }
        from = to;
    }
}

/// Writes an image into a folder.
///
/// # Errors
///
/// What cannot be written.
pub fn write_down(image: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path) -> io::Result<()> {
    image.iter().try_for_each(|(name, content)| fs::write(dir.join(name), content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuts::Tear;

    fn write(at: u64, bytes: &[u8]) -> Op {
        Op::Write { path: "f".into(), at, bytes: bytes.to_vec() }
    }

    fn disk(ops: &[Op]) -> Disk {
        let mut disk = Disk::default();
        ops.iter().for_each(|op| disk.change(op));
        disk
    }

    fn content(disk: &Disk, fate: impl Fn(usize) -> Fate) -> Option<Vec<u8>> {
        disk.image(fate).remove(Path::new("f"))
    }

    #[test]
    fn what_was_synced_is_there_and_what_came_later_may_be() {
        let (create, sync) = (Op::Create { path: "f".into() }, Op::Sync { path: "f".into(), folder: false });
        let disk = disk(&[create, write(0, b"ab"), sync, write(1, b"X"), write(3, b"Y")]);
        assert_eq!(disk.loose(), [(3, 1), (4, 1)]);
        assert_eq!(content(&disk, |_| Fate::Lost).as_deref(), Some(&b"ab"[..]));
        assert_eq!(content(&disk, |_| Fate::Kept).as_deref(), Some(&b"aX\0Y"[..]));
        let without_the_first = |number| if number == 3 { Fate::Lost } else { Fate::Kept };
        assert_eq!(content(&disk, without_the_first).as_deref(), Some(&b"ab\0Y"[..]));
    }

    #[test]
    fn a_file_that_was_removed_and_made_anew_is_the_old_one_none_or_the_new_one() {
        let delete = Op::Delete { path: "f".into(), folder: false };
        let mut disk = disk(&[write(0, b""), Op::Create { path: "f".into() }, write(0, b"old")]);
        disk.change(&Op::Sync { path: "f".into(), folder: false });
        for op in [delete, Op::Create { path: "f".into() }, write(0, b"n")] {
            disk.change(&op);
        }
        let kept = |from: usize| move |number| if number < from { Fate::Kept } else { Fate::Lost };
        assert_eq!(content(&disk, kept(4)).as_deref(), Some(&b"old"[..]));
        assert_eq!(content(&disk, kept(5)), None);
        assert_eq!(content(&disk, kept(6)).as_deref(), Some(&b""[..]));
        assert_eq!(content(&disk, kept(9)).as_deref(), Some(&b"n"[..]));
        // Written, but to a file that the folder does not name.
        assert_eq!(
            content(&disk, |number| if number == 6 { Fate::Kept } else { Fate::Lost }).as_deref(),
            Some(&b"old"[..])
        );
    }

    #[test]
    fn what_was_removed_before_the_folder_was_synced_does_not_come_back() {
        let sync = |path: &str, folder| Op::Sync { path: path.into(), folder };
        let delete = Op::Delete { path: "f".into(), folder: false };
        let mut disk = disk(&[Op::Create { path: "f".into() }, write(0, b"old"), sync("f", false), delete]);
        assert!(content(&disk, |_| Fate::Lost).is_some());
        disk.change(&Op::Create { path: "g".into() });
        disk.change(&sync("g", true));
        assert_eq!(content(&disk, |_| Fate::Lost), None);
    }

    #[test]
    fn a_torn_write_keeps_some_of_its_sectors_and_nothing_outside_changes() {
        let mut disk = disk(&[
            Op::Create { path: "f".into() },
            write(0, &[1; 1200]),
            Op::Sync { path: "f".into(), folder: false },
        ]);
        disk.change(&write(100, &[2; 1000]));
        let torn = content(&disk, |_| Fate::Torn(Tear::only(1))).expect("it is there");
        assert!(torn[..512].iter().all(|&byte| byte == 1));
        assert!(torn[512..1024].iter().all(|&byte| byte == 2));
        assert!(torn[1024..].iter().all(|&byte| byte == 1));
    }
}
