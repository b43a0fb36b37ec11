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
            // A read takes no more than there is room for: with a few bytes of it left, each system call
            // would bring a few bytes.
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

    /// Waits for what comes next and appends it to `bytes` as it is, blank lines too; `false` at the end of the pipe.
    ///
    /// # Errors
    ///
    /// Whatever the system says to a read.
    ///
    /// # Cancel safety
    ///
    /// Nothing that was read is lost.
    pub async fn next_bytes(&mut self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        self.buffer.reserve(CHUNK);
        let more = self.pipe.read_buf(&mut self.buffer).await? > 0;
        bytes.extend_from_slice(&self.buffer.split());
        Ok(more)
    }

    /// Takes whole lines off the buffer, whose bytes before `from` hold no line end; `true` if there were any.
    fn split(&mut self, from: usize, lines: &mut Vec<Line>) -> bool {
        // Only what is new is searched: a line of 64 MiB comes in a thousand reads, and to begin each time at
        // its start would be quadratic.
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
            // Not `clear`: the buffer has grown to the limit, and would keep those 64 MiB as long as the
            // session lives.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    const LIMIT: usize = 100_000;

    /// A reproducible sequence; good enough to vary sizes.
    struct Sizes(u64);

    impl Sizes {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).expect("31 bits") % bound
        }
    }

    /// What should be read, one line at a time.
    fn expected(text: &[u8]) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) if line.len() > LIMIT => lines.push(Line::TooLong { bytes: line.len() as u64 }),
                Some([]) => {}
                Some(line) => lines.push(Line::Complete(Bytes::copy_from_slice(line))),
                None if line.len() > LIMIT => lines.push(Line::TooLong { bytes: line.len() as u64 }),
                None => lines.push(Line::Partial(Bytes::copy_from_slice(line))),
            }
        }
        lines
    }

    async fn read(text: Vec<u8>, seed: u64) -> Vec<Line> {
        let (mut sender, receiver) = pipe::pipe().expect("a pipe can be made");
        let mut reader = LineReader::new(receiver);
        reader.set_max_line(LIMIT);
        let writing = tokio::spawn(async move {
            let mut sizes = Sizes(seed);
            let mut rest = &text[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(rest.len().min(1 + sizes.below(80_000)));
                sender.write_all(chunk).await.expect("there is a reader");
                rest = after;
                tokio::task::yield_now().await;
            }
        });
        let mut lines = Vec::new();
        loop {
            // Some of these are cancelled, which must lose nothing.
            match tokio::time::timeout(Duration::from_micros(50), reader.next_batch(&mut lines)).await {
                Ok(Ok(true)) | Err(_) => {}
                Ok(Ok(false)) => break,
                Ok(Err(error)) => panic!("a pipe can be read: {error}"),
            }
        }
        writing.await.expect("it writes all");
        lines
    }

    #[tokio::test]
    async fn lines_are_the_same_however_they_are_cut_and_whatever_is_cancelled() {
        for seed in 0..20 {
            let mut sizes = Sizes(seed);
            let mut text = Vec::new();
            for at in 0..60_u8 {
                let bound = [1, 2, 100, 5_000, LIMIT, 3 * LIMIT][sizes.below(6)];
                text.resize(text.len() + sizes.below(bound), b'0' + at % 64);
                text.push(b'\n');
            }
            // A third of the texts ends in the middle of a line.
            text.truncate(text.len() - [0, 1, 50][sizes.below(3)].min(text.len()));
            let wanted = expected(&text);
            assert!(read(text, seed).await == wanted, "seed {seed}");
        }
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_is_read_and_one_more_byte_is_not() {
        for (len, extra) in [(LIMIT, false), (LIMIT + 1, true)] {
            for end in ["\n", ""] {
                let text = format!("{}{end}", "x".repeat(len));
                let lines = read(text.into_bytes(), 7).await;
                assert_eq!(matches!(lines[..], [Line::TooLong { .. }]), extra, "{len} {end:?}");
            }
        }
    }

    #[tokio::test]
    async fn the_end_is_told_again_when_asked_again() {
        let (sender, receiver) = pipe::pipe().expect("a pipe can be made");
        drop(sender);
        let mut reader = LineReader::new(receiver);
        let mut lines = Vec::new();
        for _ in 0..2 {
            assert!(!reader.next_batch(&mut lines).await.expect("a pipe can be read"));
        }
        assert_eq!(lines, []);
    }
}
