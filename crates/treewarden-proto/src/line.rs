//! Values as lines for the CLI's stdin.

use bytes::Bytes;
use serde::Serialize;

/// One JSON value as one line, with its line end; JSON escapes every line end within.
pub(crate) fn line(value: &impl Serialize) -> Bytes {
    let mut text = Vec::with_capacity(256);
    serde_json::to_writer(&mut text, value).expect("the keys of wire values are strings");
    text.push(b'\n');
    Bytes::from(text)
}
