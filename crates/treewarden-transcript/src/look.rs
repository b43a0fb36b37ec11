//! Looks whether a conversation could be resumed from its transcript, while a CLI writes it: no line is written.

use std::io;
use std::path::{Path, PathBuf};

use treewarden_proto::{SessionId, TurnId};

use crate::keep::{OtherFile, keep_file, kept};
use crate::resume::{self, Missing};
use crate::{Kept, Known, TranscriptError, find, loss, tail};

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
    /// The file was emptied, cut off or replaced: its first message is not in it any more.
    Cut {
        /// The name of that message.
        first: String,
    },
}

/// What a look at a transcript found, and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Whether it holds what is known.
    pub saved: Saved,
    /// The CLI's file.
    pub path: Option<PathBuf>,
    /// The name of its first message, where that was not known.
    pub first: Option<String>,
    /// What became of its second name, where the file holds what is known.
    pub kept: Option<Kept>,
}

/// Tells whether the transcript [`holds`] what is known, and gives it its second name if so. A second name
/// that stands for another file, as after an editor has replaced the transcript, is moved to this one.
///
/// # Errors
///
/// [`TranscriptError`] if the file cannot be read.
pub fn look(config_dir: &Path, id: SessionId, known: &Known) -> Result<Look, TranscriptError> {
    let path = find(config_dir, id).map_err(TranscriptError::of_folders(config_dir))?;
    let saved = holds_at(config_dir, path.as_deref(), id, known)?;
    let (mut first, mut kept) = (None, None);
    // Only for a file that was just found to hold what is known: the second name of one that was emptied
    // would be taken from the file that has it all.
    if let Some(path) = path.as_deref().filter(|_| saved == Saved::Yes) {
        if known.first.is_none() {
            first = tail::whole(path).map_err(TranscriptError::of(path))?.first();
        }
        kept = Some(keep_file(config_dir, path, id, OtherFile::GivesWay));
    }
    Ok(Look { saved, path, first, kept })
}

/// Tells whether the transcript holds what was settled, as [`prepare`](crate::prepare) would judge; nothing is written.
///
/// # Errors
///
/// [`TranscriptError`] if the file cannot be read.
pub fn holds(config_dir: &Path, id: SessionId, known: &Known) -> Result<Saved, TranscriptError> {
    let path = find(config_dir, id).map_err(TranscriptError::of_folders(config_dir))?;
    holds_at(config_dir, path.as_deref(), id, known)
}

fn holds_at(
    config_dir: &Path,
    path: Option<&Path>,
    id: SessionId,
    known: &Known,
) -> Result<Saved, TranscriptError> {
    // The second name will do: a start gives the first back from it.
    let path = match path {
        Some(path) => Some(path.to_owned()),
        None => kept(config_dir, id).map_err(TranscriptError::of_folders(config_dir))?,
    };
    let Some(path) = path else {
        let first = || known.first.clone().map(|first| Saved::Cut { first });
        let turn = known.written().map(|missing| Saved::No { missing });
        return Ok(turn.or_else(first).unwrap_or(Saved::Yes));
    };
    judge(config_dir, &path, id, known).map_err(TranscriptError::of(&path))
}

fn judge(config_dir: &Path, path: &Path, id: SessionId, known: &Known) -> io::Result<Saved> {
    let tree = tail::read(path, &known.settled, None)?;
    let point = match resume::point(&tree, &known.settled, None) {
        Ok(point) => point,
        Err(Missing::Turn(missing) | Missing::Answer(missing)) => return Ok(Saved::No { missing }),
        Err(Missing::First) => None,
    };
    let cut = || Saved::Cut { first: known.first.clone().unwrap_or_default() };
    if let Some(first) = &known.first
        && point.is_none_or(|point| !point.anchored)
        // By a search and not by the tree: of a long file only the end was read, and the first message is not
        // in that.
        && !tail::names(path, first)?
    {
        return Ok(cut());
    }
    let Some(leaf) = point.map(|point| point.leaf) else { return Ok(Saved::Yes) };
    let gap = resume::hole(&tree, leaf).map(|hole| tree.name(hole.missing));
    // Where an end of the file was read alone, the line before it is looked for by its name.
    let Some(missing) = gap else { return Ok(Saved::Yes) };
    if tail::names(path, &missing)? {
        return Ok(Saved::Yes);
    }
    let whole = tail::whole(path)?;
    if resume::sound(&whole, known, None).is_err() {
        return Ok(cut());
    }
    // A file that begins in the middle is a loss only if another file has what was before; otherwise nobody
    // knows that there was anything.
    let Some(hole) = resume::hole(&whole, leaf) else { return Ok(Saved::Yes) };
    let is_loss = hole.before.is_some() || loss::another(config_dir, path, id)?.is_some();
    Ok(if is_loss { Saved::Incomplete { missing: whole.name(hole.missing) } } else { Saved::Yes })
}
