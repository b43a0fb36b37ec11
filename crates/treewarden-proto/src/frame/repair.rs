//! Lines that are nearly JSON: bytes that are not UTF-8, and surrogate escapes without their other half.
//!
//! JavaScript writes half of a surrogate pair as an escape when a text was cut in the middle of a character. JSON
//! parsers that make UTF-8 refuse it; the answer around it is worth more than that character.

use std::borrow::Cow;

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

/// Replaces what no UTF-8 text can hold with U+FFFD; the rest stays byte for byte.
pub(super) fn repair(line: &[u8]) -> Vec<u8> {
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
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                out.extend_from_slice("\u{FFFD}".as_bytes());
                at += 6;
                continue;
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
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
