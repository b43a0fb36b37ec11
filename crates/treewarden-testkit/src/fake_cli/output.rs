//! Writing frames to stdout, and making ids. It ends the process when nobody reads.
//!
//! A frame is one line, flushed whole, so that a crash behind it leaves no half of it: halves are what `CRASH=half_result` and `PARTIAL`
//! ask for.
//!
//! ```text
//! frame(value) ─► one line ─► raw(bytes) ─► lock of stdout, write, flush ─► nobody reads? exit 1
//! stderr(text) ─► written, whether somebody reads or not
//! ```
//!
//! Lines are written under the lock of stdout, so that no two are ever mixed. Only the main thread writes frames, but the signal thread may
//! end the process between two of them. It must never buffer: what a host has not seen when the CLI dies must be what was never said.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;

use serde_json::Value;

/// Ends the process with this code, whatever else runs.
///
/// No destructor runs: neither the transcript's hint nor anything else that comes with a clean end is written.
#[expect(clippy::exit, reason = "the stand-in ends as the real command does, from any depth")]
pub(super) fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// Writes these bytes and flushes them; it blocks while the host reads nothing and the pipe is full.
pub(super) fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    // Flushed each time: a frame that waited in a buffer would be lost in a crash that a test puts behind it.
    // Whoever reads no more has gone, and nobody is left to be told.
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        exit(1);
    }
}

/// Writes a frame as one line of JSON. Line ends within its texts are escaped, so one line is one frame.
pub(super) fn frame(value: &Value) {
    let mut line = value.to_string();
    line.push('\n');
    raw(line.as_bytes());
}

/// Writes to stderr as it is, without a line end of its own.
pub(super) fn stderr(text: &str) {
    // Nobody may be reading; the real command does not mind either.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// A random version 4 UUID.
///
/// From the seeds of the hasher, which the system's randomness gives: enough to tell ids apart, and nothing that has to stay secret.
pub(super) fn uuid() -> String {
    let half = || RandomState::new().build_hasher().finish();
    let (a, b) = (half(), half());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | ((b >> 48) & 0x3fff),
        b & 0xffff_ffff_ffff
    )
}
