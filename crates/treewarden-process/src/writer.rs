//! Writes whole lines: half a line on a CLI's stdin is fatal to it.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};
use tokio::net::unix::pipe;

/// So many lines wait for a CLI that does not read; one more is refused.
const QUEUE: usize = 256;

/// While so many bytes wait for it, one more line is refused: it is twice as much at most, where the last line is as long as one may be.
const BYTES: usize = 64 << 20;

/// Writes lines to a pipe, each whole or not at all.
#[derive(Debug)]
pub struct LineWriter {
    pipe: pipe::Sender,
    /// What waits; the first may be written in part.
    queue: VecDeque<Bytes>,
}

impl LineWriter {
    pub(crate) fn new(pipe: pipe::Sender) -> Self {
        Self { pipe, queue: VecDeque::new() }
    }

    /// Takes a line, with its line end: writes it now as far as the pipe has room, and keeps the rest.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::BrokenPipe`] if the reader is gone; [`io::ErrorKind::WouldBlock`] if 256 lines or 64 MiB wait already, and
    /// [`io::ErrorKind::InvalidInput`] if it is not one line, and then it is not taken.
    pub fn push(&mut self, line: Bytes) -> io::Result<()> {
        if memchr::memchr(b'\n', &line).map(|end| end + 1) != Some(line.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not one line with its line end"));
        }
        // Counted and not kept: there are few lines, and a sum beside them could be another one.
        if self.queue.len() >= QUEUE || self.queue.iter().map(Bytes::len).sum::<usize>() >= BYTES {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "256 lines or 64 MiB wait for a CLI that does not read",
            ));
        }
        self.queue.push_back(line);
        self.write()
    }

    /// Tells whether everything was written.
    pub fn is_flushed(&self) -> bool {
        self.queue.is_empty()
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    ///
    /// A broken pipe if the reader is gone.
    ///
    /// # Cancel safety
    ///
    /// What was not written is still written by the next call.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.queue.is_empty() {
            self.pipe.writable().await?;
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(line) = self.queue.front_mut() {
            match self.pipe.try_write(line) {
                Ok(written) if written < line.len() => line.advance(written),
                Ok(_) => drop(self.queue.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    // Nobody reads any more. Lines that stayed would fill the queue, and the caller would be
                    // told of a slow CLI instead of a dead one.
                    self.queue.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_line_that_was_begun_is_finished_before_the_next_whatever_is_cancelled() {
        let (sender, mut receiver) = pipe::pipe().expect("a pipe can be made");
        let mut writer = LineWriter::new(sender);
        let lines: Vec<Bytes> = (0..20)
            .map(|at| format!("{}\n", char::from(b'a' + at).to_string().repeat(50_000)).into())
            .collect();
        let mut read = Vec::new();
        for line in &lines {
            writer.push(line.clone()).expect("there is a reader");
            // The pipe is full, so that these are cancelled at any point of a line.
            let _full = tokio::time::timeout(Duration::from_micros(300), writer.flush()).await;
            let mut chunk = vec![0; 7_000];
            let len = receiver.read(&mut chunk).await.expect("there is something");
            read.extend_from_slice(&chunk[..len]);
        }
        let rest = async { receiver.read_to_end(&mut read).await.map(drop) };
        let flush = async move { writer.flush().await };
        let both = async { tokio::join!(rest, flush) };
        let (rest, flush) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("in time");
        rest.and(flush).expect("both ends live");
        assert!(read == lines.concat(), "the lines are torn");
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_costs_no_more_than_the_queue_and_a_refusal() {
        let (sender, _receiver) = pipe::pipe().expect("a pipe can be made");
        let mut writer = LineWriter::new(sender);
        let line = Bytes::from(format!("{}\n", "x".repeat(100_000)));
        let taken = (0..1000).take_while(|_| writer.push(line.clone()).is_ok()).count();
        assert_eq!(taken, QUEUE);
        assert!(!writer.is_flushed());
        let error = writer.push(line).expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn few_lines_that_are_long_are_bounded_by_their_bytes() {
        let (sender, _receiver) = pipe::pipe().expect("a pipe can be made");
        let mut writer = LineWriter::new(sender);
        let long = Bytes::from(format!("{}\n", "x".repeat(40 << 20)));
        let taken = (0..QUEUE).take_while(|_| writer.push(long.clone()).is_ok()).count();
        assert_eq!(taken, 2, "the second goes beyond the bound, and none after it is taken");
        let error = writer.push(Bytes::from_static(b"short\n")).expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn what_is_not_one_line_is_refused() {
        let (sender, _receiver) = pipe::pipe().expect("a pipe can be made");
        let mut writer = LineWriter::new(sender);
        for text in ["", "no end", "two\nlines\n", "torn\nline"] {
            let error = writer.push(Bytes::from_static(text.as_bytes())).expect_err("it is refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{text:?}");
        }
        assert!(writer.is_flushed());
    }
}
