//! Values as lines for the CLI's stdin.

use bytes::Bytes;
use serde::Serialize;

/// One JSON value as one line, with its line end; JSON escapes every line end within.
pub(crate) fn line(value: &impl Serialize) -> Bytes {
    let mut text = Vec::with_capacity(256);
    // The only failures of a writer in memory are keys that are no strings.
    serde_json::to_writer(&mut text, value).expect("the keys of wire values are strings");
    // In one piece with its line end: a line that the CLI gets in half is malformed, and it exits with 1.
    text.push(b'\n');
    Bytes::from(text)
}
