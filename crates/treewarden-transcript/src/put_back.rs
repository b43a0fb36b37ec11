//! Puts back what the CLI's file of a conversation has lost and a copy of it has still.
//!
//! Such a file was emptied or replaced by hand, by an editor, or on a full disk; a CLI that lived on then wrote the end of the
//! conversation behind nothing. A copy is what our second name stands for, if that is another file, or a file of the
//! conversation in another project's folder. A hard link is no copy: what is emptied in place is empty under both names.
//!
//! Nothing is removed by it: every line of the file stays, behind the lines of the copy.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use treewarden_proto::{SessionId, TurnId};

use crate::keep::{are_one, kept};
use crate::place::files_below;
use crate::{Known, resume, tail};

/// Puts the conversation together from the file and a copy, if there is one with which it is whole; returns that copy.
///
/// # Errors
///
/// The first [`io::Error`] of a copy, if the conversation is whole with none of the others.
pub(crate) fn put_back(
    config_dir: &Path,
    path: &Path,
    id: SessionId,
    known: &Known,
    open: Option<TurnId>,
) -> io::Result<Option<PathBuf>> {
    // The passing file has a name that no CLI takes for a conversation: one that starts meanwhile would
    // resume half of it.
    let moment = path.with_file_name(format!(".{id}.{}.new", std::process::id()));
    let mut first_error = None;
    for copy in copies(config_dir, path, id)? {
        let made = join(&copy, path, &moment).and_then(|joined| {
            let whole = joined && is_whole(&moment, known, open)?;
            // The new file must be on disk before the rename replaces the old one: after a loss of power the
            // name could otherwise stand for an empty file, and both would be gone.
            if whole {
                File::open(&moment)?.sync_all().and_then(|()| fs::rename(&moment, path))
            } else {
                Ok(())
            }
            .map(|()| whole)
        });
        // Also after an error: what is half made is nobody's conversation, and would stay for ever.
        if !matches!(made, Ok(true)) {
            // The copy may have failed before the file was there, and no CLI takes one of this name for a
            // conversation.
            let _absent = fs::remove_file(&moment);
        }
        match made {
            Ok(true) => return Ok(Some(copy)),
            Ok(false) => {}
            // One that cannot be read says nothing of the next.
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(None), Err)
}

/// The other files of the conversation: first what our second name stands for.
fn copies(config_dir: &Path, path: &Path, id: SessionId) -> io::Result<Vec<PathBuf>> {
    let others = files_below(&config_dir.join("projects"), id)?;
    let all = kept(config_dir, id)?.into_iter().chain(others);
    Ok(all.filter(|copy| !are_one(copy, path)).collect())
}

/// Whether nothing that is known is missing in a file.
fn is_whole(path: &Path, known: &Known, open: Option<TurnId>) -> io::Result<bool> {
    let tree = tail::whole(path)?;
    // Judged on what was written, before it takes the file's place: joined wrongly, it would be the only file
    // that is left.
    let point = resume::sound(&tree, known, open).ok().flatten();
    Ok(point.is_some_and(|point| resume::begins_amid(&tree, point.leaf).is_none()))
}

/// Writes the lines of the copy and, behind them, those of the file; `false` if they cannot be put together.
fn join(copy: &Path, path: &Path, to: &Path) -> io::Result<bool> {
    // What was emptied or cut off has nothing that the copy has not: the copy alone is the conversation.
    let cut_off = is_beginning_of(path, copy)?;
    // Where both files hold some of the same lines, nobody knows which file's order is right, and which line
    // is last.
    if !cut_off && !tail::whole(path)?.is_apart_from(&tail::whole(copy)?) {
        return Ok(false);
    }
    fs::copy(copy, to)?;
    if !cut_off {
        let mut to = File::options().append(true).open(to)?;
        // The copy's last line may be torn; without a line end the next would be a part of it. An empty line
        // is passed over.
        to.write_all(b"\n")?;
        io::copy(&mut File::open(path)?, &mut to)?;
    }
    Ok(true)
}

/// Tells whether the other file begins with all of this one, as it does if this one was emptied or cut off.
fn is_beginning_of(one: &Path, other: &Path) -> io::Result<bool> {
    const PIECE: u64 = 64 << 10;
    let (one, other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        (&one).take(PIECE).read_to_end(&mut left)?;
        (&other).take(left.len() as u64).read_to_end(&mut right)?;
        // `right` is as long as `left` at most: a file that goes on behind the other's end differs here.
        if left.is_empty() || left != right {
            return Ok(left.is_empty());
        }
    }
}
