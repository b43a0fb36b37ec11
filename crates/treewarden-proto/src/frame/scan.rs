//! The one pass over a line that finds the fields of the head.
//!
//! It keeps raw JSON slices and decodes none of them; what the head does not need is skipped unread.

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
        let mut head = Self::default();
        let mut json = serde_json::Deserializer::from_str(line);
        json.deserialize_map(ReadObject { head: &mut head, level: Level::Line })?;
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
            if let Some(slot) = self.slot(&key) {
                *slot = Some(map.next_value::<&RawValue>()?.get());
            } else if let Some(level) = self.inner(&key) {
                map.next_value_seed(Lenient(ReadObject { head: self.head, level }))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
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
struct Key;

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
