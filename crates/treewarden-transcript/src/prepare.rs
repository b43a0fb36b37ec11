//! Makes a conversation ready to be resumed, and says what of it is lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use treewarden_proto::{SessionId, TurnId};

use crate::keep::{Kept, OtherFile, keep_file, restore};
use crate::line::HINT;
use crate::loss;
use crate::put_back::put_back;
use crate::resume::{self, OpenPrompt};
use crate::tree::{Entry, Id, Role, Tree};
use crate::{Known, TranscriptError, tail};

/// A file that was not changed for so long is dated anew, since the CLI that resumes it may clean up by date.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a conversation can be resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumable {
    /// Nothing of it is on disk: it is begun, not resumed.
    NothingPersisted,
    /// It is on disk, and its resume point is right.
    At {
        /// The uuid of its true leaf.
        leaf: String,
        /// The CLI would have gone elsewhere, and was told.
        hint_written: bool,
        /// Where the prompt of the open turn stands in it.
        open: OpenPrompt,
        /// So many lines were missing in it, and have a note in their place: what is before them would not be known.
        mended: usize,
        /// The CLI's file.
        path: PathBuf,
        /// The name of its first message.
        first: Option<String>,
        /// The CLI's file had lost what it held, and this copy had it still.
        put_back: Option<PathBuf>,
        /// What became of its second name.
        kept: Kept,
        /// The version of the CLI that wrote last in it.
        written_by: Option<String>,
    },
    /// What was settled is not on disk any more.
    Lost {
        /// What is missing, and where it was looked for.
        reason: String,
    },
}

/// Makes a conversation ready to be resumed, and says where it will be.
///
/// `open` is the turn that is to be carried on. If the CLI's file is gone and its second name is there, it is put back; if
/// the file has lost what it must hold and a copy of it has that, it is put together again.
///
/// # Errors
///
/// [`TranscriptError`] if the file cannot be read, put back, or appended to where that is needed.
pub fn prepare(
    config_dir: &Path,
    id: SessionId,
    known: &Known,
    open: Option<TurnId>,
) -> Result<Resumable, TranscriptError> {
    // First: without its first name the CLI would not find the conversation, and it would be said to be lost
    // while a copy is there.
    let restored = restore(config_dir, id).map_err(TranscriptError::of_folders(config_dir))?;
    let Some(path) = restored else { return Ok(loss::without_file(config_dir, id, known)) };
    let error = || TranscriptError::of(&path);
    // The whole file, whatever its length: a start decides what is lost for good, and may write.
    let mut tree = tail::whole(&path).map_err(error())?;
    let mut from = None;
    let point = match loss::look(config_dir, &path, id, &tree, known, open).map_err(error())? {
        Ok(point) => point,
        Err(loss) => {
            from = put_back(config_dir, &path, id, known, open).map_err(error())?;
            if from.is_none() {
                return Ok(Resumable::Lost { reason: loss.reason(config_dir, &path, id, known) });
            }
            // The file is another now.
            tree = tail::whole(&path).map_err(error())?;
            resume::sound(&tree, known, open).unwrap_or_default()
        }
    };
    let Some(mut point) = point else { return Ok(Resumable::NothingPersisted) };
    let mut lines = Vec::new();
    loop {
        let joined = holes(&mut tree, point.leaf, id);
        if joined.is_empty() || lines.len() >= MOST_HOLES {
            break;
        }
        lines.extend(joined);
        // What is joined may hold a prompt that stood in no branch before, so the point is that of the file as it will be:
        // otherwise the next start would go elsewhere, and ask for the open turn in another way.
        point = resume::sound(&tree, known, open).ok().flatten().unwrap_or(point);
    }
    let (leaf, mended) = (tree.name(point.leaf), lines.len());
    if point.hint {
        lines.push(json!({ "type": HINT, "lastPrompt": "", "leafUuid": leaf, "sessionId": id }));
    }
    append(&path, &lines).map_err(error())?;
    // After the file was found whole and was mended: a second name for another file has nothing that is
    // missing here.
    let kept = keep_file(config_dir, &path, id, OtherFile::GivesWay);
    let (first, open, hint_written) = (tree.first(), point.open, point.hint);
    let written_by = tree.last_written_by().map(str::to_owned);
    Ok(Resumable::At { leaf, hint_written, open, mended, path, first, put_back: from, kept, written_by })
}

/// How many holes are mended in one file.
const MOST_HOLES: usize = 64;

/// The notes that close the holes on the way from the leaf to the beginning. A hole with which the file
/// begins gets none: nobody knows what came before, or whether anything did.
///
/// A CLI that could not write for a while goes on from lines that are nowhere. One that resumes drops all that is before
/// such a line. A note of the system that has the line's name, and follows the message before the hole, joins the two,
/// and is not shown to the model (measured with CLI 2.1.332).
fn holes(tree: &mut Tree, leaf: Id, id: SessionId) -> Vec<Value> {
    let mut notes = Vec::new();
    // Bounded, since each note costs a walk from the leaf; a file with more holes is resumed at the newest
    // part of it.
    while let Some(hole) = resume::hole(tree, leaf).filter(|_| notes.len() < MOST_HOLES) {
        let Some(before) = hole.before else { return notes };
        let (name, parent) = (tree.name(hole.missing), tree.name(before));
        let link = Entry {
            parent: Some(before),
            role: Role::Link,
            side_chain: false,
            result: false,
            prompt: false,
            asked: false,
            like_a_note: false,
            woven: None,
        };
        // Into the tree as well, or the next look would find the same hole again.
        tree.entry(&name, link);
        notes.push(json!({
            "type": "system", "subtype": "informational", "uuid": name, "parentUuid": parent, "isSidechain": false,
            "isMeta": false, "level": "info", "userType": "external", "sessionId": id,
            "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            "content": "A part of this conversation was never written to disk.",
        }));
    }
    notes
}

/// Ends a torn last line and appends the entries, in one write; a file that gets neither is dated anew if it is old.
fn append(path: &Path, entries: &[Value]) -> io::Result<()> {
    // `append`: a line that somebody else adds between the look at the last byte and the write is not
    // overwritten.
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    // An empty file has no byte before its end, and the seek fails.
    let torn = file.seek(SeekFrom::End(-1)).is_ok() && {
        let mut last = [0];
        file.read_exact(&mut last)?;
        last != *b"\n"
    };
    let mut text = String::new();
    if torn {
        text.push('\n');
    }
    for entry in entries {
        text.push_str(&entry.to_string());
        text.push('\n');
    }
    // One write for all, so that a crash leaves at worst the first of the lines and a torn one, which the
    // next start ends. A write dates the file by itself.
    if text.is_empty() { freshen(&file) } else { file.write_all(text.as_bytes()) }
}

/// Dates an old file anew, so that no clean-up by date takes it away.
pub(crate) fn freshen(file: &File) -> io::Result<()> {
    let now = SystemTime::now();
    // A date in the future fails here, and counts as new: no clean-up takes it.
    let age = now.duration_since(file.metadata()?.modified()?).unwrap_or_default();
    if age > STALE { file.set_modified(now) } else { Ok(()) }
}
