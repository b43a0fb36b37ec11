//! Writing frames to stdout, and making ids. It ends the process when nobody reads.
//!
//! A frame is one line, flushed whole, so that a crash behind it leaves no half of it: halves are what `CRASH=half_result` and `PARTIAL`
//! ask for.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;

use serde_json::Value;

/// Ends the process with this code, whatever else runs.
#[expect(clippy::exit, reason = "the stand-in ends as the real command does, from any depth")]
pub(super) fn exit(code: i32) -> ! {
    std::process::exit(code)
}

pub(super) fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    // Flushed each time: a frame that waited in a buffer would be lost in a crash that a test puts behind it.
    // Whoever reads no more has gone, and nobody is left to be told.
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        exit(1);
    }
}

pub(super) fn frame(value: &Value) {
    let mut line = value.to_string();
    line.push('\n');
    raw(line.as_bytes());
}

pub(super) fn stderr(text: &str) {
    // Nobody may be reading; the real command does not mind either.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// A random version 4 UUID.
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
