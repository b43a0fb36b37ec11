//! The one pass over a line that finds the fields of the head.
//!
//! It keeps the places of raw JSON and decodes none of it; what the head does not need is skipped unread.

use serde_json::value::RawValue;

use super::TurnIds;
use super::json::{Cursor, Span};
use super::repair::json_text;

/// Where the fields of the head stand in the line.
#[derive(Default)]
pub(super) struct Head {
    pub(super) kind: Span,
    pub(super) subtype: Span,
    pub(super) uuid: Span,
    pub(super) session_id: Span,
    pub(super) parent_tool_use_id: Span,
    pub(super) origin_kind: Span,
    event_type: Span,
    delta_type: Span,
    delta_text: Span,
    user_message_uuid: Span,
    user_message_uuids: Span,
}

/// One object on the way to a field of the head: the line itself, or one that stands in it.
#[derive(Clone, Copy)]
enum Level {
    Line,
    Event,
    Delta,
    Origin,
}

impl Level {
    /// The object that the value of `key` may be, if the head looks into it.
    #[inline]
    fn inner(self, key: &[u8]) -> Option<Self> {
        match self {
            Self::Line if key == b"event" => Some(Self::Event),
            Self::Line if key == b"origin" => Some(Self::Origin),
            Self::Event if key == b"delta" => Some(Self::Delta),
            _ => None,
        }
    }
}

impl Head {
    /// Reads the head of a line, which is UTF-8; `None` if it is not one JSON object.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let mut head = Self::default();
        let mut cursor = Cursor::new(line)?;
        head.object(line, &mut cursor, Level::Line)?;
        // Something behind the object makes the line no frame: it would otherwise be lost without a word.
        cursor.end()?;
        Some(head)
    }

    fn object(&mut self, line: &[u8], cursor: &mut Cursor<'_>, level: Level) -> Option<()> {
        cursor.object(|cursor, key| {
            let key = key.name(line);
            // What is no object here is passed over like any value.
            if let Some(inner) = level.inner(&key)
                && cursor.is_at_object()
            {
                return self.object(line, cursor, inner);
            }
            let value = cursor.value()?;
            if let Some(slot) = self.slot(level, &key) {
                // The last of two equal keys counts, as for a parser that makes values.
                *slot = value;
            }
            Some(())
        })
    }

    /// Where the value of `key` goes.
    #[inline]
    fn slot(&mut self, level: Level, key: &[u8]) -> Option<&mut Span> {
        // Comparisons with constants, and not patterns, since those are compared byte by byte.
        Some(match level {
            Level::Line if key == b"type" => &mut self.kind,
            Level::Line if key == b"uuid" => &mut self.uuid,
            Level::Line if key == b"subtype" => &mut self.subtype,
            Level::Line if key == b"session_id" => &mut self.session_id,
            Level::Line if key == b"parent_tool_use_id" => &mut self.parent_tool_use_id,
            Level::Line if key == b"user_message_uuid" => &mut self.user_message_uuid,
            Level::Line if key == b"user_message_uuids" => &mut self.user_message_uuids,
            Level::Event if key == b"type" => &mut self.event_type,
            Level::Delta if key == b"type" => &mut self.delta_type,
            Level::Delta if key == b"text" => &mut self.delta_text,
            Level::Origin if key == b"kind" => &mut self.origin_kind,
            _ => return None,
        })
    }

    /// Where the JSON string stands that a text delta adds.
    pub(super) fn text_delta(&self, line: &[u8]) -> Span {
        let wanted =
            self.event_type.is("content_block_delta", line) && self.delta_type.is("text_delta", line);
        if wanted { self.delta_text } else { Span::default() }
    }

    /// The turns that the frame names.
    pub(super) fn turns(&self, line: &[u8]) -> TurnIds {
        let mut turns = TurnIds::default();
        if let Some(one) = self.user_message_uuid.text(line).and_then(|id| id.parse().ok()) {
            turns.push(one);
        }
        let many = self.user_message_uuids.of(line);
        // Raw, so that one id that is no string does not cost the others.
        if !many.is_empty()
            && let Ok(many) = serde_json::from_slice::<Vec<&RawValue>>(many)
        {
            let many = many.iter().filter_map(|id| json_text(id.get())?.parse().ok());
            many.for_each(|id| turns.push(id));
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    /// The fields of the head as whoever reads them sees them.
    fn seen(line: &str) -> (Vec<Option<String>>, TurnIds) {
        let bytes = line.as_bytes();
        let head = Head::read(bytes).unwrap_or_else(|| panic!("it is an object: {line}"));
        let fields = [
            head.kind,
            head.subtype,
            head.uuid,
            head.session_id,
            head.parent_tool_use_id,
            head.origin_kind,
            head.text_delta(bytes),
        ];
        let text = |span: Span| span.text(bytes).map(|text| text.into_owned());
        (fields.map(text).into(), head.turns(bytes))
    }

    fn kind(line: &str) -> Option<&[u8]> {
        Head::read(line.as_bytes()).map(|head| head.kind.of(line.as_bytes()))
    }

    /// What a parser that makes values finds.
    fn expected(line: &str) -> (Vec<Option<String>>, TurnIds) {
        let json: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
        let text = |json: &serde_json::Value| json.as_str().map(str::to_owned);
        let delta = &json["event"]["delta"];
        let is_delta = json["event"]["type"] == "content_block_delta" && delta["type"] == "text_delta";
        let fields = [
            text(&json["type"]),
            text(&json["subtype"]),
            text(&json["uuid"]),
            text(&json["session_id"]),
            text(&json["parent_tool_use_id"]),
            text(&json["origin"]["kind"]),
            if is_delta { text(&delta["text"]) } else { None },
        ];
        let many = json["user_message_uuids"].as_array();
        let named = std::iter::once(&json["user_message_uuid"]).chain(many.into_iter().flatten());
        let mut turns = TurnIds::default();
        named.filter_map(|id| id.as_str()?.parse().ok()).for_each(|id| turns.push(id));
        (fields.into(), turns)
    }

    #[test]
    fn the_head_is_what_a_parser_of_values_finds() {
        const DELTA: &str = r#""event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"#;
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
        for value in values {
            for key in ["type", "subtype", "uuid", "session_id", "parent_tool_use_id", "user_message_uuid"] {
                for rest in [
                    format!(r#""origin":{{"kind":{value}}}"#),
                    format!(r#"{DELTA}{value}}}}}"#),
                    format!(r#""user_message_uuids":["{ID}",{value}],"user_message_uuid":"{ID}""#),
                    format!(r#""event":{value},"origin":{value},"{key}":null"#),
                ] {
                    let line = format!(r#"{{"{key}": {value} ,{rest}}}"#);
                    assert_eq!(seen(&line), expected(&line), "{line}");
                }
            }
        }
    }

    #[test]
    fn a_key_is_the_same_with_escapes() {
        let line = r#"{"\u0074ype":"stream_event","ev\u0065nt":{"type":"x"},"\ud800":1}"#;
        assert_eq!(kind(line), Some(&br#""stream_event""#[..]));
    }

    #[test]
    fn a_value_that_no_parser_can_hold_is_skipped_like_any_other() {
        for value in [r#""\ud800""#, "-1e999", &format!("{}{}", "[".repeat(300), "]".repeat(300))] {
            for key in ["event", "origin", "message"] {
                let line = format!(r#"{{"{key}":{value},"type":"user"}}"#);
                assert_eq!(kind(&line), Some(&br#""user""#[..]), "{line}");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
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
            assert!(Head::read(line.as_bytes()).is_none(), "{line}");
        }
    }
}
