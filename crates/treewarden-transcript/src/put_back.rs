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
pub(crate) fn put_back(
    config_dir: &Path,
    path: &Path,
    id: SessionId,
    known: &Known,
    open: Option<TurnId>,
) -> io::Result<Option<PathBuf>> {
    // Not below a name that a CLI would take for a conversation.
    let moment = path.with_file_name(format!(".{id}.{}.new", std::process::id()));
    for copy in copies(config_dir, path, id) {
        let made = join(&copy, path, &moment).and_then(|joined| {
            let whole = joined && is_whole(&moment, known, open)?;
            // It must be on disk before what was there is gone.
            if whole {
                File::open(&moment)?.sync_all().and_then(|()| fs::rename(&moment, path))
            } else {
                Ok(())
            }
            .map(|()| whole)
        });
        if !matches!(made, Ok(true)) {
            let _absent = fs::remove_file(&moment);
        }
        if made? {
            return Ok(Some(copy));
        }
    }
    Ok(None)
}

/// The other files of the conversation: first what our second name stands for.
fn copies(config_dir: &Path, path: &Path, id: SessionId) -> Vec<PathBuf> {
    let others = files_below(&config_dir.join("projects"), id);
    let all = kept(config_dir, id).into_iter().chain(others);
    all.filter(|copy| !are_one(copy, path)).collect()
}

/// Whether nothing that is known is missing in a file.
fn is_whole(path: &Path, known: &Known, open: Option<TurnId>) -> io::Result<bool> {
    let tree = tail::whole(path)?;
    let point = resume::sound(&tree, known, open).ok().flatten();
    Ok(point.is_some_and(|point| resume::begins_amid(&tree, point.leaf).is_none()))
}

/// Writes the lines of the copy and, behind them, those of the file; `false` if they cannot be put together.
fn join(copy: &Path, path: &Path, to: &Path) -> io::Result<bool> {
    let cut_off = is_beginning_of(path, copy)?;
    // Of lines that stand in both, in another order, nobody knows which came last.
    if !cut_off && !tail::whole(path)?.is_apart_from(&tail::whole(copy)?) {
        return Ok(false);
    }
    fs::copy(copy, to)?;
    if !cut_off {
        let mut to = File::options().append(true).open(to)?;
        to.write_all(b"\n")?;
        io::copy(&mut File::open(path)?, &mut to)?;
    }
    Ok(true)
}

/// Whether one file is how the other begins, as one that was emptied is.
fn is_beginning_of(one: &Path, other: &Path) -> io::Result<bool> {
    const PIECE: u64 = 64 << 10;
    let (one, other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        (&one).take(PIECE).read_to_end(&mut left)?;
        (&other).take(left.len() as u64).read_to_end(&mut right)?;
        if left.is_empty() || left != right {
            return Ok(left.is_empty());
        }
    }
}
