//! The one pass over a line that finds the fields of the head.
//!
//! It keeps raw JSON slices and decodes none of them; what the head does not need is skipped unread.
//!
//! Cutting a raw slice out costs more than reading a short string, and nearly all fields of the head are strings without
//! escapes. So they are read as such at first, and a line where that fails is read once more, in slices.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::TurnIds;
use super::repair::json_text;

/// The raw fields of the head, borrowed from the line while it is read.
#[derive(Default)]
pub(super) struct Head<'a> {
    pub(super) kind: Option<&'a str>,
    pub(super) subtype: Option<&'a str>,
    pub(super) uuid: Option<&'a str>,
    pub(super) session_id: Option<&'a str>,
    pub(super) parent_tool_use_id: Option<&'a str>,
    pub(super) origin_kind: Option<&'a str>,
    event_type: Option<&'a str>,
    delta_type: Option<&'a str>,
    delta_text: Option<&'a str>,
    user_message_uuid: Option<&'a str>,
    user_message_uuids: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// Reads the head of a line.
    pub(super) fn read(line: &'a str) -> Result<Self, serde_json::Error> {
        Self::read_as(line, true).or_else(|_| Self::read_as(line, false))
    }

    fn read_as(line: &'a str, strings: bool) -> Result<Self, serde_json::Error> {
        let mut head = Self::default();
        let mut json = serde_json::Deserializer::from_str(line);
        let strings = strings.then_some(line);
        json.deserialize_map(ReadObject { head: &mut head, level: Level::Line, strings })?;
        json.end()?;
        Ok(head)
    }

    /// The JSON string that a text delta adds.
    pub(super) fn text_delta(&self) -> Option<&'a str> {
        let is = |json: Option<&str>, name: &str| json.and_then(json_text).as_deref() == Some(name);
        let wanted = is(self.event_type, "content_block_delta") && is(self.delta_type, "text_delta");
        if wanted { self.delta_text } else { None }
    }

    /// The turns that the frame names.
    pub(super) fn turns(&self) -> TurnIds {
        let mut turns = TurnIds::default();
        let one = self.user_message_uuid.and_then(json_text).and_then(|id| id.parse().ok());
        let many: Option<Vec<&RawValue>> = self.user_message_uuids.and_then(|j| serde_json::from_str(j).ok());
        let many = many.into_iter().flatten().filter_map(|id| json_text(id.get())?.parse().ok());
        for id in one.into_iter().chain(many) {
            turns.push(id);
        }
        turns
    }
}

/// One object on the way to a field of the head: the line itself, or one that stands in it.
#[derive(Clone, Copy)]
enum Level {
    Line,
    Event,
    Delta,
    Origin,
}

/// Reads the wanted keys of one object into the head, and skips the rest.
struct ReadObject<'h, 'a> {
    head: &'h mut Head<'a>,
    level: Level,
    /// The line, while strings are read as such.
    strings: Option<&'a str>,
}

impl<'a> ReadObject<'_, 'a> {
    /// Where the value of `key` goes as raw JSON.
    fn slot(&mut self, key: &str) -> Option<&mut Option<&'a str>> {
        let head = &mut *self.head;
        Some(match (self.level, key) {
            (Level::Line, "type") => &mut head.kind,
            (Level::Line, "subtype") => &mut head.subtype,
            (Level::Line, "uuid") => &mut head.uuid,
            (Level::Line, "session_id") => &mut head.session_id,
            (Level::Line, "parent_tool_use_id") => &mut head.parent_tool_use_id,
            (Level::Line, "user_message_uuid") => &mut head.user_message_uuid,
            (Level::Line, "user_message_uuids") => &mut head.user_message_uuids,
            (Level::Event, "type") => &mut head.event_type,
            (Level::Delta, "type") => &mut head.delta_type,
            (Level::Delta, "text") => &mut head.delta_text,
            (Level::Origin, "kind") => &mut head.origin_kind,
            _ => return None,
        })
    }

    /// The object that the value of `key` may be, if the head looks into it.
    fn inner(&self, key: &str) -> Option<Level> {
        match (self.level, key) {
            (Level::Line, "event") => Some(Level::Event),
            (Level::Line, "origin") => Some(Level::Origin),
            (Level::Event, "delta") => Some(Level::Delta),
            _ => None,
        }
    }
}

impl<'a> Visitor<'a> for ReadObject<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            // The first may be an array, and the second often has escapes.
            let line = self.strings.filter(|_| !matches!(&*key, "user_message_uuids" | "text"));
            if let Some(slot) = self.slot(&key) {
                *slot = match line {
                    Some(line) => map.next_value_seed(Plain { line })?,
                    None => Some(map.next_value::<&RawValue>()?.get()),
                };
            } else if let Some(level) = self.inner(&key) {
                let strings = self.strings;
                map.next_value_seed(Lenient(ReadObject { head: self.head, level, strings }))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Reads a string without escapes, of which it returns the JSON; `None` for a value that is no string.
struct Plain<'a> {
    line: &'a str,
}

impl<'a> DeserializeSeed<'a> for Plain<'a> {
    type Value = Option<&'a str>;

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Plain<'a> {
    type Value = Option<&'a str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string without escapes, or null")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<Self::Value, E> {
        let start = (text.as_ptr() as usize).wrapping_sub(self.line.as_ptr() as usize);
        // With the quotes around it.
        let json = self.line.get(start.wrapping_sub(1)..start.wrapping_add(text.len() + 1));
        json.map(Some).ok_or_else(|| E::custom("a string that does not stand in the line"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads an object where one is expected, and skips whatever else stands there.
struct Lenient<'h, 'a>(ReadObject<'h, 'a>);

impl<'a> DeserializeSeed<'a> for Lenient<'_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Lenient<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        self.0.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a key without a copy, unless it has escapes.
pub(super) struct Key;

impl<'a> DeserializeSeed<'a> for Key {
    type Value = Cow<'a, str>;

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Cow<'a, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Key {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of the head as whoever reads them sees them.
    fn seen<'a>(head: &Head<'a>) -> (Vec<Option<Cow<'a, str>>>, TurnIds) {
        let fields = [
            head.kind,
            head.subtype,
            head.uuid,
            head.session_id,
            head.parent_tool_use_id,
            head.origin_kind,
            head.text_delta(),
        ];
        (fields.into_iter().map(|json| json.and_then(json_text)).collect(), head.turns())
    }

    #[test]
    fn strings_and_slices_make_the_same_head() {
        const DELTA: &str = r#""event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"#;
        let id = "11111111-2222-4333-8444-555555555555";
        let values = [
            r#""""#,
            r#""user""#,
            r#""a\nb""#,
            r#""\ud83d\ude00""#,
            "null",
            "true",
            "-1.5e3",
            r#"[1,"x"]"#,
            r#"{"a":{}}"#,
        ];
        let mut as_strings = 0;
        for value in values {
            for key in ["type", "subtype", "uuid", "session_id", "parent_tool_use_id", "user_message_uuid"] {
                for rest in [
                    format!(r#""origin":{{"kind":{value}}}"#),
                    format!(r#"{DELTA}{value}}}}}"#),
                    format!(r#""user_message_uuids":["{id}",{value}],"user_message_uuid":"{id}""#),
                    format!(r#""event":{value},"origin":{value},"{key}":null"#),
                ] {
                    let line = format!(r#"{{"{key}": {value} ,{rest}}}"#);
                    let slices = Head::read_as(&line, false).expect("it is an object");
                    if let Ok(strings) = Head::read_as(&line, true) {
                        as_strings += 1;
                        assert_eq!(seen(&strings), seen(&slices), "{line}");
                    }
                    let read = Head::read(&line).expect("it is an object");
                    assert_eq!(seen(&read), seen(&slices), "{line}");
                }
            }
        }
        assert!(as_strings >= 72, "{as_strings}");
    }

    #[test]
    fn what_is_no_object_is_refused_either_way() {
        for line in [
            "",
            "{",
            "[]",
            "null",
            r#"{"type":"user"} x"#,
            r#"{"type":}"#,
            r#"{"uuid":"a}"#,
            "{\"uuid\":\"\u{1}\"}",
        ] {
            assert!(Head::read(line).is_err(), "{line}");
        }
    }
}
