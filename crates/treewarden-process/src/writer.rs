//! Writes whole lines: half a line on a CLI's stdin is fatal to it.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};
use tokio::net::unix::pipe;

/// So many lines wait for a CLI that does not read; one more is refused.
const QUEUE: usize = 256;

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
    /// A broken pipe if the reader is gone; [`io::ErrorKind::WouldBlock`] if 256 lines wait already, and then this one is
    /// not taken.
    pub fn push(&mut self, line: Bytes) -> io::Result<()> {
        if self.queue.len() >= QUEUE {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "256 lines wait for a CLI that does not read",
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
                    self.queue.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
