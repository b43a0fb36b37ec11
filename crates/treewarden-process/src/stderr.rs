//! The tail of what a tree wrote to stderr.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// So much of stderr is kept.
const KEEP: usize = 64 << 10;

/// The last 64 KiB that a tree wrote to stderr; a cheap clone.
///
/// It is read as fast as it is written, so that a flood neither blocks the CLI nor takes memory.
#[derive(Clone)]
pub struct StderrTail {
    kept: Arc<Mutex<Kept>>,
    closed: watch::Receiver<bool>,
}

#[derive(Default)]
struct Kept {
    bytes: VecDeque<u8>,
    total: u64,
}

impl fmt::Debug for StderrTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StderrTail").field("total", &self.total()).finish_non_exhaustive()
    }
}

impl StderrTail {
    /// Begins to read `pipe`; the task ends with the last process that holds it, or when the handle is aborted.
    pub(crate) fn read(mut pipe: pipe::Receiver) -> (Self, tokio::task::AbortHandle) {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let (closing, closed) = watch::channel(false);
        let into = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            let mut chunk = vec![0; 16 << 10];
            while let Ok(len @ 1..) = pipe.read(&mut chunk).await {
                into.lock().unwrap_or_else(PoisonError::into_inner).push(&chunk[..len]);
            }
            closing.send_replace(true);
        });
        (Self { kept, closed }, task.abort_handle())
    }

    /// What is kept, as text.
    pub fn text(&self) -> String {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.bytes.make_contiguous()).into_owned()
    }

    /// How many bytes were written in all.
    pub fn total(&self) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Waits until nobody can write any more, or until `limit` is over.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn closed(&self, limit: Duration) {
        let mut closed = self.closed.clone();
        let _late = tokio::time::timeout(limit, closed.wait_for(|closed| *closed)).await;
    }
}

impl Kept {
    fn push(&mut self, chunk: &[u8]) {
        self.total += chunk.len() as u64;
        let excess = (self.bytes.len() + chunk.len()).saturating_sub(KEEP);
        self.bytes.drain(..excess.min(self.bytes.len()));
        self.bytes.extend(chunk);
    }
}
