//! Lines that are nearly JSON: bytes that are not UTF-8, and surrogate escapes without their other half.
//!
//! JavaScript writes half of a surrogate pair as an escape when a text was cut in the middle of a character. JSON
//! parsers that make UTF-8 refuse it; the answer around it is worth more than that character.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// The text of a JSON string, or nothing if the value is not a string.
pub(super) fn json_text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    match serde_json::from_str::<String>(json) {
        Ok(text) => Some(Cow::Owned(text)),
        Err(_) => serde_json::from_slice(&repair(json.as_bytes())).ok().map(Cow::Owned),
    }
}

/// Reads JSON that a CLI wrote as a value, as far as a value can hold it.
///
/// Half of a surrogate pair becomes U+FFFD. A field that no [`Value`] can hold (too deep, a number out of range) becomes
/// its JSON text, if the whole is an object.
///
/// # Errors
///
/// The parser's own if the text is no JSON even then.
///
/// # Examples
///
/// ```
/// use treewarden_proto::frame::value;
///
/// let read = value(r#"{"text":"cut \ud83d","cost":1e999}"#)?;
/// assert_eq!(read["text"], "cut \u{fffd}");
/// assert_eq!(read["cost"], "1e999");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn value(json: &str) -> serde_json::Result<Value> {
    // The first error is told in the end: those of the mended text would name places that are not in the
    // line.
    let error = match serde_json::from_str(json) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let json = repair(json.as_bytes());
    if let Ok(value) = serde_json::from_slice(&json) {
        return Ok(value);
    }
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(&json).map_err(|_| error)?;
    // Each field by itself, so that one which no value can hold does not take the others with it.
    let value =
        |raw: &RawValue| -> Value { serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().into()) };
    Ok(fields.into_iter().map(|(key, raw)| (key, value(raw))).collect())
}

/// Replaces what no UTF-8 text can hold with U+FFFD; the rest stays byte for byte.
pub fn repair(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'\\' {
            out.push(byte);
            at += 1;
            continue;
        }
        let len = match (unit(bytes, at), unit(bytes, at + 6)) {
            // Both halves together, or the second would be met alone and replaced.
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                out.extend_from_slice("\u{FFFD}".as_bytes());
                at += 6;
                continue;
            }
            (Some(_), _) => 6,
            // A backslash and what it escapes: of two backslashes the second would otherwise be taken for the
            // beginning of a `\u`.
            (None, _) => 2,
        };
        // A text that ends in a backslash has nothing behind it.
        let end = bytes.len().min(at + len);
        out.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    out
}

/// The UTF-16 unit that a `\uXXXX` escape at `at` stands for.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
