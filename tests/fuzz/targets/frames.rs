//! A line of the CLI, read without being decoded, against a parser: what is accepted, and what each field says.

#![no_main]

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use treewarden_proto::TurnId;
use treewarden_proto::frame::{Frame, repair};

fuzz_target!(|data: &[u8]| {
    let frame = Frame::parse(Bytes::copy_from_slice(data));
    let line = if std::str::from_utf8(data).is_ok() { data.to_vec() } else { repair(data) };
    let is_json = serde_json::from_slice::<IgnoredAny>(&line).is_ok();
    let is_object = is_json && line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    assert_eq!(frame.is_ok(), is_object, "a frame is an object");
    let Ok(frame) = frame else { return };
    assert_eq!(frame.json().as_bytes(), &line[..]);
    let _shown = format!("{frame:?} {:?}", frame.body());
    let Ok(json) = serde_json::from_slice::<Value>(&repair(&line)) else { return };
    // Of a key that stands twice a parser takes the last, and the reader may take the first.
    if serde_json::from_slice::<Once>(&repair(&line)).is_ok_and(|once| once.0) {
        says_the_same(&frame, &json);
    }
    // What is not typed is kept: a body is the line.
    let (Ok(body), Ok(json)) = (frame.body(), serde_json::from_slice::<Value>(&line)) else { return };
    let again = serde_json::to_value(&body).expect("a body is JSON");
    assert_eq!(folded(&again), folded(&json));
});

fn says_the_same(frame: &Frame, json: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let own = |text: Option<std::borrow::Cow<'_, str>>| text.map(std::borrow::Cow::into_owned);
    assert_eq!(frame.type_name(), text(&json["type"]).unwrap_or_default());
    assert_eq!(own(frame.subtype()), text(&json["subtype"]));
    assert_eq!(own(frame.uuid()), text(&json["uuid"]));
    assert_eq!(own(frame.parent_tool_use_id()), text(&json["parent_tool_use_id"]));
    assert_eq!(own(frame.origin_kind()), text(&json["origin"]["kind"]));
    assert_eq!(frame.session_id(), json["session_id"].as_str().and_then(|id| id.parse().ok()));
    let event = &json["event"];
    let is_text = json["type"] == "stream_event"
        && event["type"] == "content_block_delta"
        && event["delta"]["type"] == "text_delta";
    assert_eq!(own(frame.text_delta()), text(&event["delta"]["text"]).filter(|_| is_text));
    let all = json["user_message_uuids"].as_array().into_iter().flatten();
    let mut turns: Vec<TurnId> = Vec::new();
    for id in std::iter::once(&json["user_message_uuid"]).chain(all).filter_map(|id| id.as_str()?.parse().ok()) {
        if !turns.contains(&id) {
            turns.push(id);
        }
    }
    assert_eq!(frame.turns().as_slice(), turns);
}

/// Without what a typed field may write otherwise: the last digits of a number, the case of a UUID.
fn folded(value: &Value) -> Value {
    match value {
        Value::Number(number) => format!("{:.12e}", number.as_f64().unwrap_or(0.0)).into(),
        Value::String(text) => text.to_lowercase().into(),
        Value::Array(items) => items.iter().map(folded).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), folded(value))).collect(),
        other => other.clone(),
    }
}

/// Whether no object has a key twice.
struct Once(bool);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Once, E> {
        Ok(Once(true))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Once, E> {
        Ok(Once(true))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Once, E> {
        Ok(Once(true))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Once, E> {
        Ok(Once(true))
    }

    fn visit_str<E>(self, _: &str) -> Result<Once, E> {
        Ok(Once(true))
    }

    fn visit_unit<E>(self) -> Result<Once, E> {
        Ok(Once(true))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        let mut once = true;
        while let Some(item) = items.next_element::<Once>()? {
            once &= item.0;
        }
        Ok(Once(once))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
        let (mut seen, mut once) = (HashSet::new(), true);
        while let Some((key, value)) = map.next_entry::<String, Once>()? {
            once &= value.0 & seen.insert(key);
        }
        Ok(Once(once))
    }
}
