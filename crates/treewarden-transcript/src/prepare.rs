//! Makes a conversation ready to be resumed, and says what of it is lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use treewarden_proto::{SessionId, TurnId};

use crate::keep::{Kept, Standing, are_one, keep_file, kept, restore};
use crate::line::HINT;
use crate::resume::{self, Missing, OpenPrompt};
use crate::tree::{Entry, Id, Role, Tree};
use crate::{Settled, TranscriptError, find, tail};

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
        /// What became of its second name.
        kept: Kept,
    },
    /// What was settled is not on disk any more.
    Lost {
        /// What is missing, and where it was looked for.
        reason: String,
    },
}

/// Whether a transcript holds what was settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// All of it is there.
    Yes,
    /// Something is not there, or not yet.
    No {
        /// The turn that is missing, or whose answer is.
        missing: TurnId,
    },
    /// A line is missing, so that a CLI that resumes would not know what is before it.
    Incomplete {
        /// The name of that line.
        missing: String,
    },
}

/// Makes a conversation ready to be resumed, and says where it will be.
///
/// `settled` has the turns that came to an answer, newest first, down to the newest that must be written: a branch without
/// them is not the conversation. `open` is the turn that is to be carried on. If the CLI's file is gone and its second name
/// is there, it is put back.
///
/// # Errors
///
/// [`TranscriptError`] if the file cannot be read, put back, or appended to where that is needed.
pub fn prepare(
    config_dir: &Path,
    id: SessionId,
    settled: &[Settled],
    open: Option<TurnId>,
) -> Result<Resumable, TranscriptError> {
    let restored = restore(config_dir, id).map_err(TranscriptError::of(&config_dir.join("projects")))?;
    let Some(path) = restored else { return Ok(without_file(config_dir, id, settled)) };
    let error = || TranscriptError::of(&path);
    let mut tree = tail::whole(&path).map_err(error())?;
    let point = match resume::point(&tree, settled, open) {
        Ok(Some(point)) => point,
        Ok(None) => return Ok(Resumable::NothingPersisted),
        Err(missing) => {
            let reason = lost(config_dir, &path, id, settled, missing);
            return Ok(Resumable::Lost { reason });
        }
    };
    let leaf = tree.name(point.leaf);
    let mut lines = match holes(&mut tree, point.leaf, id) {
        Ok(notes) => notes,
        Err(missing) => {
            if let Some(ours) = another(config_dir, &path, id) {
                let reason = begins_amid(&path, &ours, &tree.name(missing));
                return Ok(Resumable::Lost { reason });
            }
            // Where it came from is not known, and neither is that anything is lost.
            Vec::new()
        }
    };
    let mended = lines.len();
    if point.hint {
        lines.push(json!({ "type": HINT, "lastPrompt": "", "leafUuid": leaf, "sessionId": id }));
    }
    append(&path, &lines).map_err(error())?;
    let kept = keep_file(config_dir, &path, id, Standing::GivesWay);
    Ok(Resumable::At { leaf, hint_written: point.hint, open: point.open, mended, path, kept })
}

/// So many holes are mended in one file.
const MOST_HOLES: usize = 64;

/// The notes that close the holes on the way from the leaf to the beginning; the line that is missing, if the file
/// begins with a hole.
///
/// A CLI that could not write for a while goes on from lines that are nowhere. One that resumes drops all that is before
/// such a line. A note of the system that has the line's name, and follows the message before the hole, joins the two,
/// and is not shown to the model (measured with CLI 2.1.332).
fn holes(tree: &mut Tree, leaf: Id, id: SessionId) -> Result<Vec<Value>, Id> {
    let mut notes = Vec::new();
    while let Some(hole) = resume::hole(tree, leaf).filter(|_| notes.len() < MOST_HOLES) {
        let Some(before) = hole.before else {
            return if notes.is_empty() { Err(hole.missing) } else { Ok(notes) };
        };
        let (name, parent) = (tree.name(hole.missing), tree.name(before));
        let link = Entry {
            parent: Some(before),
            role: Role::Link,
            side_chain: false,
            result: false,
            prompt: false,
            like_a_note: false,
            woven: None,
        };
        tree.entry(&name, link);
        notes.push(json!({
            "type": "system", "subtype": "informational", "uuid": name, "parentUuid": parent, "isSidechain": false,
            "isMeta": false, "level": "info", "userType": "external", "sessionId": id,
            "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            "content": "A part of this conversation was never written to disk.",
        }));
    }
    Ok(notes)
}

/// What it means that a file has only the end of a conversation, while our second name has another file.
fn begins_amid(path: &Path, ours: &Path, missing: &str) -> String {
    format!(
        "{} begins in the middle: it goes on from {missing}, which is not in it; what came before may be in {}: stop the \
         session and put the lines of the former behind those of the latter, in the place of the former",
        path.display(),
        ours.display()
    )
}

/// Tells whether the transcript holds what was settled, as [`prepare`] would judge; nothing is written.
///
/// # Errors
///
/// [`TranscriptError`] if the file cannot be read.
pub fn holds(config_dir: &Path, id: SessionId, settled: &[Settled]) -> Result<Saved, TranscriptError> {
    let Some(path) = find(config_dir, id).or_else(|| kept(config_dir, id)) else {
        let missing = settled.iter().find(|turn| turn.written).map(|turn| turn.turn);
        return Ok(missing.map_or(Saved::Yes, |missing| Saved::No { missing }));
    };
    judge(config_dir, &path, id, settled).map_err(TranscriptError::of(&path))
}

fn judge(config_dir: &Path, path: &Path, id: SessionId, settled: &[Settled]) -> io::Result<Saved> {
    let tree = tail::read(path, settled, None)?;
    let leaf = match resume::point(&tree, settled, None) {
        Ok(point) => point.map(|point| point.leaf),
        Err(missing) => return Ok(Saved::No { missing: missing.turn() }),
    };
    let gap =
        |tree: &Tree| leaf.and_then(|leaf| resume::hole(tree, leaf)).map(|hole| tree.name(hole.missing));
    // Where an end of the file was read alone, the line before it is looked for by its name.
    let Some(missing) = gap(&tree) else { return Ok(Saved::Yes) };
    if tail::names(path, &missing)? {
        return Ok(Saved::Yes);
    }
    let whole = tail::whole(path)?;
    let is_loss = |hole: &resume::Hole| hole.before.is_some() || another(config_dir, path, id).is_some();
    let hole = leaf.and_then(|leaf| resume::hole(&whole, leaf)).filter(is_loss);
    Ok(hole.map_or(Saved::Yes, |hole| Saved::Incomplete { missing: whole.name(hole.missing) }))
}

fn missing_in(path: &Path, settled: &[Settled]) -> io::Result<Option<Missing>> {
    Ok(resume::missing(&tail::read(path, settled, None)?, settled))
}

/// What it means that there is no file, under either name.
fn without_file(config_dir: &Path, id: SessionId, settled: &[Settled]) -> Resumable {
    let Some(turn) = settled.iter().find(|turn| turn.written) else { return Resumable::NothingPersisted };
    let turn = turn.turn;
    let dir = config_dir.display();
    let reason = format!(
        "no transcript of it is left, which held the settled turn {turn}: there is no {id}.jsonl below {dir}/projects, and \
         no second name of it below {dir}/treewarden/transcripts; somebody deleted it, or a Claude Code CLI that \
         cleaned up (`cleanupPeriodDays` in its settings, 30 if not set)"
    );
    Resumable::Lost { reason }
}

/// What is missing in the CLI's file, and whether our second name stands for one that has it.
fn lost(config_dir: &Path, path: &Path, id: SessionId, settled: &[Settled], missing: Missing) -> String {
    let file = path.display();
    let what = match missing {
        Missing::Turn(turn) => format!("the settled turn {turn} is not in {file}"),
        Missing::Answer(turn) => {
            format!("the answer to the settled turn {turn} is not in {file}; was the disk full?")
        }
    };
    let elsewhere = match another(config_dir, path, id) {
        Some(ours) if matches!(missing_in(&ours, settled), Ok(None)) => {
            format!("{} has it: stop the session and put that in its place", ours.display())
        }
        Some(ours) => format!("nor is it in {}", ours.display()),
        None => "no other copy is kept".to_owned(),
    };
    format!("{what}; {elsewhere}")
}

/// A file of the conversation that has our second name and is not the CLI's.
fn another(config_dir: &Path, path: &Path, id: SessionId) -> Option<PathBuf> {
    kept(config_dir, id).filter(|ours| !are_one(ours, path))
}

/// Ends a torn last line and appends the entries, in one write; a file that gets neither is dated anew if it is old.
fn append(path: &Path, entries: &[Value]) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
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
    if text.is_empty() { freshen(&file) } else { file.write_all(text.as_bytes()) }
}

/// Dates an old file anew, so that no clean-up by date takes it away.
pub(crate) fn freshen(file: &File) -> io::Result<()> {
    let now = SystemTime::now();
    let age = now.duration_since(file.metadata()?.modified()?).unwrap_or_default();
    if age > STALE { file.set_modified(now) } else { Ok(()) }
}
