//! Reads as much of the end of a transcript as decides where it is resumed, and no more.
//!
//! It promises what the whole file would tell. The window at the end grows until [`undecided`] asks for nothing, or only
//! for words that do not stand before the window: looking for a few words is many times cheaper than parsing. Where that
//! fails the whole file is streamed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use memchr::{memchr, memmem};
use treewarden_proto::TurnId;

use crate::Settled;
use crate::line::{read as read_line, scan};
use crate::resume::undecided;
use crate::tree::Tree;

/// How much of the end is read first: most often a turn or two.
const FIRST_WINDOW: u64 = 16 << 10;

/// How many times greater each window is than the one before.
const GROWTH: u64 = 8;

/// The greatest window, which is held in memory; where it does not decide, the whole file is streamed.
const MAX_WINDOW: u64 = 8 << 20;

/// What comes before the window is searched in pieces of this size.
const PIECE: usize = 256 << 10;

/// Reads the transcript as far as the question where it is resumed needs it.
pub(crate) fn read(path: &Path, settled: &[Settled], open: Option<TurnId>) -> io::Result<Tree> {
    read_from(path, settled, open, FIRST_WINDOW)
}

/// Does so, beginning with a window of `first` bytes.
fn read_from(path: &Path, settled: &[Settled], open: Option<TurnId>, first: u64) -> io::Result<Tree> {
    let mut file = File::open(path)?;
    // The length of this moment: what a CLI appends meanwhile is read with the window, and cannot be missed
    // before it.
    let len = file.metadata()?.len();
    let mut window = first;
    // A window as long as the file would be the whole of it, in memory instead of in a stream.
    while window < len.min(MAX_WINDOW) {
        let (tree, before) = parse(&mut file, len - window)?;
        if let Some(words) = undecided(&tree, settled, open)
            && holds_none(&mut file, before, &words)?
        {
            return Ok(tree);
        }
        window = window.saturating_mul(GROWTH);
    }
    whole(path)
}

/// Tells whether a line of the file has this name, as the CLI writes it.
pub(crate) fn names(path: &Path, name: &str) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    // With the key and its quotes: the name alone stands in each line that follows the one that is looked
    // for.
    holds_none(&mut file, len, &[format!("\"uuid\":\"{name}\"")]).map(|none| !none)
}

/// Streams the whole of it.
pub(crate) fn whole(path: &Path) -> io::Result<Tree> {
    let mut tree = Tree::default();
    scan(path, |_, line| line.feed(&mut tree))?;
    Ok(tree)
}

/// The lines that begin behind `start`, which is in the file, and where the first of them does.
fn parse(file: &mut File, start: u64) -> io::Result<(Tree, u64)> {
    let mut tree = Tree::default();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut bytes)?;
    // A line that begins before the window counts as before it, whole.
    let skipped = memchr(b'\n', &bytes).map_or(bytes.len(), |end| end + 1);
    for line in bytes[skipped..].split(|byte| *byte == b'\n') {
        read_line(line, |line| line.feed(&mut tree));
    }
    Ok((tree, start + skipped as u64))
}

/// Tells whether none of the words stands in the first `len` bytes.
fn holds_none(file: &mut File, len: u64, words: &[String]) -> io::Result<bool> {
    if words.is_empty() {
        return Ok(true);
    }
    let finders: Vec<_> = words.iter().map(memmem::Finder::new).collect();
    // A word may lie across two pieces.
    let overlap = words.iter().map(String::len).max().unwrap_or(0).saturating_sub(1);
    file.seek(SeekFrom::Start(0))?;
    let mut rest = file.take(len);
    let mut piece = Vec::with_capacity(PIECE + overlap);
    loop {
        if rest.by_ref().take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(true);
        }
        // The reader of lines drops NUL bytes, so that a word which it would see may be interrupted by one
        // here.
        if memchr(0, &piece).is_some() {
            piece.retain(|byte| *byte != 0);
        }
        if finders.iter().any(|finder| finder.find(&piece).is_some()) {
            return Ok(false);
        }
        piece.drain(..piece.len().saturating_sub(overlap));
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
