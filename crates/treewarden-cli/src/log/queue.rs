//! Lines on their way to stderr: bounded in number and bytes, written by a thread that alone may have to wait.
//!
//! ```text
//! whoever logs ─► queue (LINES, BYTES) ─► the thread ─► stderr
//!                   └ full: the line is dropped and counted
//! ```
//!
//! What was dropped is said as a line of its own as soon as something is written again. Nobody who logs ever waits.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::args::LogFormat;

/// So many lines wait at most.
const LINES: usize = 4096;

/// So many bytes of lines wait at most.
const BYTES: usize = 1 << 20;

/// How long the end of the process waits for the lines that are left: whoever reads takes them in far less, and where nobody does
/// the end must not wait.
const LAST: Duration = Duration::from_secs(1);

/// The lines.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    format: LogFormat,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How many were dropped since that was last said.
    dropped: u64,
    /// The thread has some that are not written yet.
    writes: bool,
}

impl Queue {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn start(format: LogFormat) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::new(format));
        let of_thread = Arc::clone(&queue);
        let body = move || of_thread.write_to(write_to_stderr);
        std::thread::Builder::new().name("tw-log".to_owned()).spawn(body)?;
        Ok(queue)
    }

    fn new(format: LogFormat) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), format }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a line behind the others, or drops it.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.lines.len() >= LINES || state.bytes + line.len() > BYTES {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    /// Waits until all is written, for a moment at most.
    pub(super) fn finish(&self) {
        let waits = |state: &mut State| state.writes || !state.lines.is_empty();
        let _late = self.changed.wait_timeout_while(self.lock(), LAST, waits);
    }

    /// Writes for ever.
    fn write_to(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) {
        loop {
            let (lines, dropped) = self.next();
            let mut lost = 0;
            for line in &lines {
                // Where it cannot be written, as with its reader gone or on a full disk, there is nobody to tell until it can.
                lost += u64::from(write(line).is_err());
            }
            // Behind those that were there before: in the order in which it happened.
            let dropped = dropped + lost;
            if dropped > 0 && (lost == lines.len() as u64 || write(&self.said(dropped)).is_err()) {
                self.lock().dropped += dropped;
            }
            self.lock().writes = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines, and takes all with how many were dropped behind them.
    fn next(&self) -> (VecDeque<Vec<u8>>, u64) {
        let state = self.lock();
        let state = self.changed.wait_while(state, |state| state.lines.is_empty());
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.bytes = 0;
        state.writes = true;
        (mem::take(&mut state.lines), mem::take(&mut state.dropped))
    }

    fn said(&self, dropped: u64) -> Vec<u8> {
        let lines = if dropped == 1 { "line" } else { "lines" };
        let text = format!(
            "{dropped} {lines} of the log could not be written, or came faster than they were read, and are lost"
        );
        let text = match self.format {
            LogFormat::Text => format!("WARN treewarden::log: {text}\n"),
            LogFormat::Json => {
                format!(
                    "{}\n",
                    json!({ "level": "WARN", "target": "treewarden::log", "message": text, "dropped": dropped })
                )
            }
        };
        text.into_bytes()
    }
}

/// Without the lock of the standard library, which whoever says a last word would wait for.
fn write_to_stderr(mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match rustix::io::write(io::stderr(), line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(rustix::io::Errno::INTR) => {}
            // Somebody else made it non-blocking: it is the file's own, and not this process's.
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    impl Queue {
        /// How many lines wait, and how many were dropped.
        fn waits(&self) -> (usize, u64) {
            let state = self.lock();
            (state.lines.len(), state.dropped)
        }
    }

    /// A queue whose thread says which line it writes, and goes on when it is told to.
    fn stuck() -> (Arc<Queue>, mpsc::Receiver<String>, mpsc::Sender<bool>) {
        let queue = Arc::new(Queue::new(LogFormat::Text));
        let (says, said) = mpsc::channel();
        let (go, gone_on) = mpsc::channel::<bool>();
        let of_thread = Arc::clone(&queue);
        std::thread::spawn(move || {
            of_thread.write_to(move |line| {
                drop(says.send(String::from_utf8_lossy(line).into_owned()));
                // With the test gone nothing fails any more.
                if gone_on.recv().unwrap_or(true) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        });
        (queue, said, go)
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_was_dropped_is_counted_and_said() {
        let (queue, said, go) = stuck();
        queue.push(b"first\n".to_vec());
        assert_eq!(said.recv().expect("it writes"), "first\n");
        for n in 0..LINES + 7 {
            queue.push(format!("{n}\n").into_bytes());
        }
        assert_eq!(queue.lock().dropped, 7);
        queue.push(vec![b'x'; BYTES]);
        assert_eq!(queue.waits(), (LINES, 8));
        (0..=LINES).for_each(|_| go.send(true).expect("it waits"));
        for n in 0..LINES {
            assert_eq!(said.recv().expect("it writes"), format!("{n}\n"));
        }
        let told = said.recv().expect("it says what was dropped");
        assert!(told.starts_with("WARN treewarden::log: 8 lines of the log"), "{told}");
        go.send(true).expect("it waits");
        let until = std::time::Instant::now() + Duration::from_secs(120);
        while queue.lock().writes {
            assert!(std::time::Instant::now() < until, "it does not come to its end");
            queue.finish();
        }
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let (queue, said, _go) = stuck();
        queue.push(b"first\n".to_vec());
        said.recv().expect("it writes");
        (0..10).for_each(|_| queue.push(vec![b'x'; BYTES / 4]));
        assert_eq!(queue.waits(), (4, 6));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_when_something_can() {
        let (queue, said, go) = stuck();
        queue.push(b"lost\n".to_vec());
        said.recv().expect("it writes");
        go.send(false).expect("it waits");
        queue.push(b"second\n".to_vec());
        assert_eq!(said.recv().expect("it writes on"), "second\n");
        go.send(true).expect("it waits");
        let told = said.recv().expect("it says what was lost");
        assert!(told.contains("1 line of the log"), "{told}");
    }
}
