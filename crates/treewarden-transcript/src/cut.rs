//! Whether a transcript ends in the middle of a line.
//!
//! A CLI that is killed while it writes, or a disk that is full, leaves such a file, and so does whoever copies it badly. A CLI that
//! resumes goes on without that line, and says nothing of it (measured with CLI 2.1.332). This is for whoever takes a conversation over and cannot know whether the
//! line was an answer; nothing is written here.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use treewarden_proto::SessionId;

use crate::line::scan;
use crate::{TranscriptError, find_any};

/// What a file ends with, if that is no line that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutLine {
    /// The file.
    pub path: PathBuf,
    /// Which line it is, from 1 on.
    pub line: u64,
}

/// The end of a conversation's transcript, if it cannot be read; where the CLI's file is gone, of its second name.
///
/// # Errors
///
/// [`TranscriptError`] if the file cannot be read.
pub fn cut_line(config_dir: &Path, id: SessionId) -> Result<Option<CutLine>, TranscriptError> {
    let found = find_any(config_dir, id).map_err(TranscriptError::of_folders(config_dir))?;
    let Some(path) = found else { return Ok(None) };
    let line = line(&path).map_err(TranscriptError::of(&path))?;
    Ok(line.map(|line| CutLine { path, line }))
}

fn line(path: &Path) -> io::Result<Option<u64>> {
    let mut last = None;
    scan(path, |at, _| last = Some(at))?;
    let mut file = BufReader::new(File::open(path)?);
    let (mut lines, mut at) = (0, 0);
    // In pieces, of which none is longer than the buffer: a line may have any length.
    while let Some(last) = last.filter(|last| at < *last) {
        let piece = file.fill_buf()?;
        let len = piece.len().min(usize::try_from(last - at).unwrap_or(usize::MAX));
        if len == 0 {
            break;
        }
        lines += memchr::memchr_iter(b'\n', &piece[..len]).count() as u64;
        file.consume(len);
        at += len as u64;
    }
    // The last one that can be read is behind us with its end; then all that follows must be blank.
    let mut is_behind = last.is_none();
    loop {
        let piece = file.fill_buf()?;
        let Some(byte) = piece.first().copied() else { return Ok(None) };
        match byte {
            b'\n' => {
                lines += 1;
                is_behind = true;
            }
            _ if is_behind && !byte.is_ascii_whitespace() => return Ok(Some(lines + 1)),
            _ => {}
        }
        let len = if is_behind { 1 } else { memchr::memchr(b'\n', piece).unwrap_or(piece.len()).max(1) };
        file.consume(len);
    }
}
