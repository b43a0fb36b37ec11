//! Writes down what is done to the files of a folder, in order, with what was acknowledged in between.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

use crate::vfs::{Layer, Op};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file of the folder was changed; paths are names in the folder.
    Op(Op),
    /// So many steps were begun.
    Begun(usize),
    /// So many steps were acknowledged.
    Acknowledged(usize),
}

/// What was done to a folder.
#[derive(Debug)]
pub struct Tape {
    dir: PathBuf,
    /// Files that are not written through SQLite: their content is looked at before each entry.
    watched: Vec<String>,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    entries: Vec<Entry>,
    /// The content that a watched file had last.
    seen: BTreeMap<String, Vec<u8>>,
    /// The files that are known to be there.
    there: BTreeSet<PathBuf>,
}

impl Written {
    fn push(&mut self, op: Op) {
        let path = op.path().clone();
        let was_there = self.there.contains(&path);
        if let Op::Delete { .. } = op {
            self.there.remove(&path);
        } else {
            self.there.insert(path.clone());
        }
        // Somebody made it before SQLite opened it.
        if !was_there && !matches!(op, Op::Create { .. } | Op::Delete { .. }) {
            self.entries.push(Entry::Op(Op::Create { path }));
        }
        self.entries.push(Entry::Op(op));
    }
}

impl Tape {
    /// Begins with what is in the folder now.
    pub fn new(dir: &Path, watched: &[&str]) -> Arc<Self> {
        let watched = watched.iter().map(|&name| name.to_owned()).collect();
        let tape = Self { dir: dir.to_owned(), watched, written: Mutex::default() };
        {
            let mut written = tape.written();
            tape.look(&mut written);
            written.entries.clear();
            let files = fs::read_dir(dir).into_iter().flatten().flatten();
            written.there = files.map(|file| PathBuf::from(file.file_name())).collect();
        }
        Arc::new(tape)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that so many steps were begun.
    pub fn begun(&self, steps: usize) {
        self.say(Entry::Begun(steps));
    }

    /// Writes down that so many steps were acknowledged.
    pub fn acknowledged(&self, steps: usize) {
        self.say(Entry::Acknowledged(steps));
    }

    /// Writes down that a watched file was synced.
    pub fn synced(&self, name: &str) {
        self.say(Entry::Op(Op::Sync { path: name.into(), folder: false }));
    }

    fn say(&self, entry: Entry) {
        let mut written = self.written();
        self.look(&mut written);
        written.entries.push(entry);
    }

    /// What happened up to now.
    pub fn entries(&self) -> Vec<Entry> {
        let mut written = self.written();
        self.look(&mut written);
        written.entries.clone()
    }

    /// Writes down what became of the watched files. Nothing of them is taken for synced unless it is [said](Self::synced), which
    /// loses more than a machine may, never less.
    fn look(&self, written: &mut Written) {
        for name in &self.watched {
            let path = PathBuf::from(name);
            let now = fs::read(self.dir.join(name)).ok();
            if now.as_ref() == written.seen.get(name) {
                continue;
            }
            match now {
                None => {
                    written.seen.remove(name);
                    written.entries.push(Entry::Op(Op::Delete { path, folder: false }));
                }
                Some(bytes) => {
                    let before = written.seen.insert(name.clone(), bytes.clone());
                    if before.is_none() {
                        written.entries.push(Entry::Op(Op::Create { path: path.clone() }));
                    }
                    let shorter = before.is_some_and(|before| before.len() > bytes.len());
                    let len = bytes.len() as u64;
                    if shorter {
                        written.entries.push(Entry::Op(Op::Truncate { path: path.clone(), len }));
                    }
                    written.entries.push(Entry::Op(Op::Write { path, at: 0, bytes }));
                }
            }
        }
    }

    /// The same change, of a file that is named by its name in the folder; `None` for a file of another folder.
    fn of_the_folder(&self, mut op: Op) -> Option<Op> {
        let path = op.path_mut();
        *path = path.strip_prefix(&self.dir).ok()?.to_owned();
        Some(op)
    }
}

impl Layer for Tape {
    fn change(&self, op: Op, go: &mut dyn FnMut() -> c_int) -> c_int {
        // Held over the change itself: the order on the tape is the order in which the changes were made, and nothing that
        // another thread writes while a file is synced is taken for synced.
        let mut written = self.written();
        self.look(&mut written);
        let code = go();
        if code == ffi::SQLITE_OK
            && let Some(op) = self.of_the_folder(op)
        {
            written.push(op);
        }
        code
    }
}
