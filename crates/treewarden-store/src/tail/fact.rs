//! One fact about a turn, and its line.

use std::borrow::Cow;
use std::io::{ErrorKind, Write};

use memchr::memchr;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use treewarden_proto::{SessionId, TurnId};

use crate::StoreError;

/// Something that happened to a turn.
#[derive(Debug, Clone, Deserialize)]
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
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Opened<'a> {
    pub(crate) turn: TurnId,
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    pub(crate) session_id: SessionId,
    pub(crate) at_most_once: bool,
    pub(crate) at: u64,
    /// As JSON.
    #[serde(borrow, deserialize_with = "json")]
    pub(crate) prompt: &'a str,
}

/// What came of a turn.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Outcome<'a> {
    pub(crate) turn: TurnId,
    pub(crate) at: u64,
    /// The conversation that answered it, if it was asked in another.
    #[serde(default)]
    pub(crate) answered_in: Option<SessionId>,
    /// As JSON.
    #[serde(borrow, deserialize_with = "json")]
    pub(crate) outcome: &'a str,
}

fn json<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<&'a str, D::Error> {
    <&RawValue>::deserialize(deserializer).map(RawValue::get)
}

/// The digits of the length and of the checksum, each with the space behind it.
const HEAD: usize = 18;

impl Fact<'_> {
    /// The line, behind an end of line: what a full disk cut short must not swallow the next fact.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut line = Vec::with_capacity(512 + self.carried().len());
        line.resize(1 + HEAD, b' ');
        self.write(&mut line)?;
        // An end of line within JSON can only be white space.
        let mut from = 0;
        while let Some(at) = memchr(b'\n', &line[from..]) {
            line[from + at] = b' ';
            from += at;
        }
        let (head, json) = line.split_at_mut(1 + HEAD);
        let len = u32::try_from(json.len()).map_err(|_| std::io::Error::from(ErrorKind::FileTooLarge))?;
        head[0] = b'\n';
        head[1..9].copy_from_slice(&hex(len));
        head[10..18].copy_from_slice(&hex(crc32fast::hash(json)));
        Ok(line)
    }

    /// The JSON that it carries.
    fn carried(&self) -> &str {
        match self {
            Self::Opened(opened) => opened.prompt,
            Self::Settled(settled) => settled.outcome,
            Self::Sent(_) | Self::Interrupted(_) | Self::Sealed => "",
        }
    }

    /// By hand, since what it carries is most of it, is JSON already, and need not be looked at again. A name needs no
    /// escapes.
    fn write(&self, line: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::Opened(Opened { turn, name, session_id, at_most_once, at, prompt }) => {
                write!(line, r#"{{"opened":{{"turn":"{turn}","name":"{name}","session_id":"{session_id}""#)?;
                write!(line, r#","at_most_once":{at_most_once},"at":{at},"prompt":{prompt}}}}}"#)
            }
            Self::Sent(turn) => write!(line, r#"{{"sent":"{turn}"}}"#),
            Self::Interrupted(turn) => write!(line, r#"{{"interrupted":"{turn}"}}"#),
            Self::Settled(Outcome { turn, at, answered_in, outcome }) => {
                write!(line, r#"{{"settled":{{"turn":"{turn}","at":{at}"#)?;
                if let Some(id) = answered_in {
                    write!(line, r#","answered_in":"{id}""#)?;
                }
                write!(line, r#","outcome":{outcome}}}}}"#)
            }
            Self::Sealed => line.write_all(br#""sealed""#),
        }
    }
}

fn hex(number: u32) -> [u8; 8] {
    std::array::from_fn(|at| b"0123456789abcdef"[(number >> (28 - 4 * at)) as usize & 0xf])
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
    let json = match std::str::from_utf8(json) {
        Ok(json) => json,
        Err(error) => return Line::Damaged(error.to_string()),
    };
    // As it is written here; a fact of another form, or a rarer one, is parsed.
    match as_written(json).map_or_else(|| serde_json::from_str(json), Ok) {
        Ok(fact) => Line::Fact(fact),
        Err(error) => Line::Damaged(error.to_string()),
    }
}

/// Reads what [`Fact::encode`] made of a turn that was asked or settled.
///
/// The checksum says that it is what was written, so that the JSON that it carries, most of it, is not looked at again.
fn as_written(json: &str) -> Option<Fact<'_>> {
    let json = json.strip_suffix("}}")?;
    if let Some(rest) = json.strip_prefix(r#"{"settled":{"turn":""#) {
        let (turn, rest) = rest.split_once(r#"","at":"#)?;
        let (at, outcome) = rest.split_once(r#","outcome":"#)?;
        let (turn, at) = (turn.parse().ok()?, at.parse().ok()?);
        return Some(Fact::Settled(Outcome { turn, at, answered_in: None, outcome }));
    }
    let rest = json.strip_prefix(r#"{"opened":{"turn":""#)?;
    let (turn, rest) = rest.split_once(r#"","name":""#)?;
    let (name, rest) = rest.split_once(r#"","session_id":""#)?;
    let (session_id, rest) = rest.split_once(r#"","at_most_once":"#)?;
    let (at_most_once, rest) = rest.split_once(r#","at":"#)?;
    let (at, prompt) = rest.split_once(r#","prompt":"#)?;
    Some(Fact::Opened(Opened {
        turn: turn.parse().ok()?,
        name: name.into(),
        session_id: session_id.parse().ok()?,
        at_most_once: at_most_once.parse().ok()?,
        at: at.parse().ok()?,
        prompt,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// JSON that looks like the end of what it stands in.
    const CARRIED: &str = r#"{"text":"\",\"at\":1,\"outcome\":1}}","a":[{"prompt":"é"}]}"#;

    fn facts() -> [Fact<'static>; 6] {
        let (turn, session_id) = (TurnId::new(), SessionId::random());
        [
            Fact::Opened(Opened {
                turn,
                name: "tenant-7/a".into(),
                session_id,
                at_most_once: true,
                at: 1,
                prompt: CARRIED,
            }),
            Fact::Sent(turn),
            Fact::Interrupted(turn),
            Fact::Settled(Outcome { turn, at: u64::MAX, answered_in: None, outcome: CARRIED }),
            Fact::Settled(Outcome { turn, at: 1, answered_in: Some(session_id), outcome: CARRIED }),
            Fact::Sealed,
        ]
    }

    #[test]
    fn a_fact_is_written_as_the_json_that_a_parser_reads() {
        for fact in facts() {
            let line = fact.encode().expect("it can be written");
            let json = std::str::from_utf8(&line[1 + HEAD..]).expect("it is text");
            let parsed: Fact<'_> = serde_json::from_str(json).expect("it is a fact");
            assert_eq!(format!("{parsed:?}"), format!("{fact:?}"));
        }
    }

    #[test]
    fn a_fact_is_read_without_a_parser_as_one_reads_it() {
        for fact in facts() {
            let line = fact.encode().expect("it can be written");
            let json = std::str::from_utf8(&line[1 + HEAD..]).expect("it is text");
            let is_cut = match &fact {
                Fact::Settled(settled) => settled.answered_in.is_none(),
                fact => !fact.carried().is_empty(),
            };
            assert_eq!(as_written(json).map(|fact| format!("{fact:?}")), is_cut.then(|| format!("{fact:?}")));
            let mut read = Vec::new();
            lines(&line, |_, _, line| {
                read.push(format!("{line:?}"));
                true
            });
            assert_eq!(read, [format!("Fact({fact:?})")]);
        }
    }

    #[test]
    fn a_fact_with_more_fields_is_left_to_the_parser() {
        let turn = TurnId::new();
        for json in [
            format!(r#"{{"settled":{{"turn":"{turn}","at":1,"by":"x","outcome":2}}}}"#),
            format!(r#"{{"settled": {{"turn":"{turn}","at":1,"outcome":2}}}}"#),
            format!(r#"{{"settled":{{"outcome":2,"turn":"{turn}","at":1}}}}"#),
        ] {
            assert!(as_written(&json).is_none(), "{json}");
            let parsed: Fact<'_> = serde_json::from_str(&json).expect("it is a fact");
            assert!(matches!(parsed, Fact::Settled(Outcome { at: 1, outcome: "2", .. })), "{json}");
        }
    }
}
