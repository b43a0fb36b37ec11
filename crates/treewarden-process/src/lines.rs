//! Reads lines in batches, with a bound on each.

use std::io;

use bytes::{Bytes, BytesMut};
use memchr::{memchr_iter, memrchr};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// A longer line is skipped.
pub const MAX_LINE: usize = 64 << 20;

/// So much is read at once at least.
const CHUNK: usize = 64 << 10;

/// A line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A whole line.
    Complete(Bytes),
    /// What stood after the last line end when the pipe was closed.
    Partial(Bytes),
    /// A line over the limit, which was skipped as it came.
    TooLong {
        /// How long it was.
        bytes: u64,
    },
}

/// Reads a pipe as lines.
///
/// Lines of one batch share the memory that they were read into: a line that is kept keeps up to a batch alive.
#[derive(Debug)]
pub struct LineReader {
    pipe: pipe::Receiver,
    buffer: BytesMut,
    max_line: usize,
    /// The length so far of a line that is being skipped.
    skipping: Option<u64>,
}

impl LineReader {
    pub(crate) fn new(pipe: pipe::Receiver) -> Self {
        Self { pipe, buffer: BytesMut::new(), max_line: MAX_LINE, skipping: None }
    }

    /// Skips lines longer than this instead of [`MAX_LINE`].
    pub fn set_max_line(&mut self, max_line: usize) {
        self.max_line = max_line;
    }

    /// Waits for at least one line and appends all that have come to `lines`; `false` at the end of the pipe.
    ///
    /// # Errors
    ///
    /// Whatever the system says to a read.
    ///
    /// # Cancel safety
    ///
    /// Nothing that was read is lost.
    pub async fn next_batch(&mut self, lines: &mut Vec<Line>) -> io::Result<bool> {
        loop {
            if self.buffer.capacity() - self.buffer.len() < CHUNK / 4 {
                self.buffer.reserve(CHUNK);
            }
            let from = self.buffer.len();
            if self.pipe.read_buf(&mut self.buffer).await? == 0 {
                self.finish(lines);
                return Ok(false);
            }
            if self.split(from, lines) {
                return Ok(true);
            }
        }
    }

    /// Takes whole lines off the buffer, whose bytes before `from` hold no line end; `true` if there were any.
    fn split(&mut self, from: usize, lines: &mut Vec<Line>) -> bool {
        let Some(last) = memrchr(b'\n', &self.buffer[from..]) else {
            self.bound();
            return false;
        };
        let block = self.buffer.split_to(from + last + 1).freeze();
        let mut start = 0;
        for end in memchr_iter(b'\n', &block[from..]).map(|at| from + at) {
            let line = block.slice(start..end);
            start = end + 1;
            match self.skipping.take() {
                Some(skipped) => lines.push(Line::TooLong { bytes: skipped + line.len() as u64 }),
                None if line.len() > self.max_line => lines.push(Line::TooLong { bytes: line.len() as u64 }),
                None if line.is_empty() => {}
                None => lines.push(Line::Complete(line)),
            }
        }
        self.bound();
        true
    }

    /// Forgets a line that is too long already.
    fn bound(&mut self) {
        if let Some(skipped) = &mut self.skipping {
            *skipped += self.buffer.len() as u64;
            self.buffer.clear();
        } else if self.buffer.len() > self.max_line {
            self.skipping = Some(self.buffer.len() as u64);
            self.buffer = BytesMut::new();
        }
    }

    fn finish(&mut self, lines: &mut Vec<Line>) {
        let rest = self.buffer.split().freeze();
        match self.skipping.take() {
            Some(skipped) => lines.push(Line::TooLong { bytes: skipped + rest.len() as u64 }),
            None if rest.is_empty() => {}
            None => lines.push(Line::Partial(rest)),
        }
    }
}
