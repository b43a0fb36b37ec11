//! One fact about a turn, and its line.

use std::borrow::Cow;

use memchr::memchr;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use treewarden_proto::{SessionId, TurnId};

use crate::StoreError;

/// Something that happened to a turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fact<'a> {
    #[serde(borrow)]
    Opened(Opened<'a>),
    Sent(TurnId),
    Interrupted(TurnId),
    #[serde(borrow)]
    Settled(Outcome<'a>),
    Sealed,
}

/// A turn that was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Opened<'a> {
    pub(crate) turn: TurnId,
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    pub(crate) session_id: SessionId,
    pub(crate) at_most_once: bool,
    pub(crate) at: u64,
    #[serde(borrow)]
    pub(crate) prompt: &'a RawValue,
}

/// What came of a turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome<'a> {
    pub(crate) turn: TurnId,
    pub(crate) at: u64,
    #[serde(borrow)]
    pub(crate) outcome: &'a RawValue,
}

/// The digits of the length and of the checksum, each with the space behind it.
const HEAD: usize = 18;

impl Fact<'_> {
    /// The line, behind an end of line: what a full disk cut short must not swallow the next fact.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut line = Vec::with_capacity(1024);
        line.resize(1 + HEAD, b' ');
        serde_json::to_writer(&mut line, self)?;
        // An end of line within JSON can only be white space.
        let mut from = 0;
        while let Some(at) = memchr(b'\n', &line[from..]) {
            line[from + at] = b' ';
            from += at;
        }
        let json = &line[1 + HEAD..];
        let head = format!("\n{:08x} {:08x} ", json.len(), crc32fast::hash(json));
        line[..=HEAD].copy_from_slice(head.as_bytes());
        Ok(line)
    }
}

/// What a line of a segment is.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    Fact(Fact<'a>),
    /// It was cut short while it was written; nobody was told that it is stored.
    Torn,
    /// It was whole once.
    Damaged(String),
}

/// Reads the lines of `bytes` until `each`, which is given the place of each, wants no more.
///
/// Returns how much was read: a last line that is no fact may not be written out yet, and is left.
pub(crate) fn lines<'a>(bytes: &'a [u8], mut each: impl FnMut(usize, &'a [u8], Line<'a>) -> bool) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        let end = memchr(b'\n', &bytes[at..]).map(|len| at + len);
        let line = &bytes[at..end.unwrap_or(bytes.len())];
        if !line.is_empty() {
            let read = read(line);
            if end.is_none() && !matches!(read, Line::Fact(_)) {
                return at;
            }
            if !each(at, line, read) {
                return at + line.len();
            }
        }
        at = end.map_or(bytes.len(), |end| end + 1);
    }
    at
}

fn read(line: &[u8]) -> Line<'_> {
    let hex = |range: std::ops::Range<usize>| {
        let digits = std::str::from_utf8(line.get(range)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(json) = line.get(HEAD..) else { return Line::Torn };
    let (Some(len), Some(sum)) = (hex(0..8), hex(9..17)) else {
        return Line::Damaged("its length or checksum is no number".to_owned());
    };
    match usize::try_from(len).unwrap_or(usize::MAX) {
        len if json.len() < len => return Line::Torn,
        len if json.len() > len => return Line::Damaged("it is longer than it says".to_owned()),
        _ => {}
    }
    if crc32fast::hash(json) != sum {
        return Line::Damaged("its checksum is another".to_owned());
    }
    match serde_json::from_slice(json) {
        Ok(fact) => Line::Fact(fact),
        Err(error) => Line::Damaged(error.to_string()),
    }
}
