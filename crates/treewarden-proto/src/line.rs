//! Values as lines for the CLI's stdin.

use bytes::Bytes;
use serde_json::Value;

/// One JSON value as one line, with its line end; JSON escapes every line end within.
pub(crate) fn line(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    Bytes::from(text)
}
