//! One fact about a turn, as a line of an earlier version's segment says it.

use std::borrow::Cow;

use memchr::memchr;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use treewarden_proto::{SessionId, TurnId};

/// Something that happened to a turn.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fact<'a> {
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
pub(super) struct Opened<'a> {
    pub(super) turn: TurnId,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) session_id: SessionId,
    pub(super) at_most_once: bool,
    pub(super) at: u64,
    /// As JSON.
    #[serde(borrow, deserialize_with = "json")]
    pub(super) prompt: &'a str,
}

/// What came of a turn.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Outcome<'a> {
    pub(super) turn: TurnId,
    pub(super) at: u64,
    /// The conversation that answered it, if it was asked in another.
    #[serde(default)]
    pub(super) answered_in: Option<SessionId>,
    /// As JSON.
    #[serde(borrow, deserialize_with = "json")]
    pub(super) outcome: &'a str,
}

fn json<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<&'a str, D::Error> {
    <&RawValue>::deserialize(deserializer).map(RawValue::get)
}

/// The digits of the length and of the checksum, each with the space behind it.
const HEAD: usize = 18;

/// What a line of a segment is.
#[derive(Debug)]
pub(super) enum Line<'a> {
    Fact(Fact<'a>),
    /// It was cut short while it was written; nobody was told that it is stored.
    Torn,
    /// It was whole once.
    Damaged(String),
}

/// The lines of a segment, each with its place.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8], Line<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let begin = at;
            let end = memchr(b'\n', &bytes[begin..]).map_or(bytes.len(), |len| begin + len);
            at = end + 1;
            if end > begin {
                let line = &bytes[begin..end];
                return Some((begin, line, read(line)));
            }
        }
        None
    })
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
    match serde_json::from_str(json) {
        Ok(fact) => Line::Fact(fact),
        Err(error) => Line::Damaged(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> String {
        format!("\n{:08x} {:08x} {json}", json.len(), crc32fast::hash(json.as_bytes()))
    }

    fn told(bytes: &str) -> Vec<String> {
        lines(bytes.as_bytes()).map(|(_, _, line)| format!("{line:?}")).collect()
    }

    #[test]
    fn every_fact_that_a_version_wrote_is_read() {
        let (turn, id) = (TurnId::new(), SessionId::random());
        let carried = r#"{"text":"\ud83d\",\"at\":1}}","a":[{"prompt":"é"}]}"#;
        let facts = [
            format!(
                r#"{{"opened":{{"turn":"{turn}","name":"a/b","session_id":"{id}","at_most_once":true,"at":1,"prompt":{carried}}}}}"#
            ),
            format!(r#"{{"sent":"{turn}"}}"#),
            format!(r#"{{"interrupted":"{turn}"}}"#),
            format!(r#"{{"settled":{{"turn":"{turn}","at":2,"answered_in":"{id}","outcome":{carried}}}}}"#),
            format!(r#"{{"settled":{{"turn":"{turn}","at":2,"outcome":{carried}}}}}"#),
            r#""sealed""#.to_owned(),
        ];
        let text: String = facts.iter().map(|fact| written(fact)).collect();
        let mut kinds = Vec::new();
        for (_, _, line) in lines(text.as_bytes()) {
            kinds.push(match line {
                Line::Fact(Fact::Opened(opened)) => {
                    assert_eq!((opened.turn, &*opened.name, opened.prompt), (turn, "a/b", carried));
                    "opened"
                }
                Line::Fact(Fact::Settled(settled)) => {
                    assert_eq!((settled.turn, settled.at, settled.outcome), (turn, 2, carried));
                    if settled.answered_in == Some(id) { "elsewhere" } else { "settled" }
                }
                Line::Fact(Fact::Sent(_)) => "sent",
                Line::Fact(Fact::Interrupted(_)) => "interrupted",
                Line::Fact(Fact::Sealed) => "sealed",
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(kinds, ["opened", "sent", "interrupted", "elsewhere", "settled", "sealed"]);
    }

    #[test]
    fn a_line_that_was_cut_short_is_passed_over_and_one_that_was_changed_is_damaged() {
        let whole = written(r#"{"sent":"019a0000-0001-7000-8000-000000000001"}"#);
        let changed = whole.replace("0001", "0002");
        let told = told(&format!("{}{whole}{changed}\nshort", &whole[..whole.len() - 3]));
        assert_eq!(told.len(), 4);
        assert_eq!((&*told[0], &*told[3]), ("Torn", "Torn"));
        assert!(told[1].starts_with("Fact(Sent") && told[2].contains("checksum is another"), "{told:?}");
    }
}
