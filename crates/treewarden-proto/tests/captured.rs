//! Lines that real CLIs wrote: every one is understood, and none loses a field.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use serde_json::Value;
use treewarden_proto::frame::{Body, Frame, FrameKind, SystemKind};

fn lines() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captured");
    let mut lines = Vec::new();
    for version in ["2.1.330", "2.1.197"] {
        for entry in fs::read_dir(root.join(version)).expect("a folder of captures") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a capture");
            for (number, line) in text.lines().enumerate() {
                lines.push((format!("{}:{}", path.display(), number + 1), line.to_owned()));
            }
        }
    }
    assert!(lines.len() > 300, "only {} captured lines", lines.len());
    lines
}

/// JSON has one kind of number: 0 and 0.0 are the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn every_captured_line_is_known() {
    for (place, line) in lines() {
        let frame = Frame::parse(Bytes::from(line)).expect("a frame");
        assert!(!frame.is_unknown(), "{place}: {frame:?}");
    }
}

#[test]
fn a_body_written_back_is_the_line_that_was_read() {
    for (place, line) in lines() {
        let frame = Frame::parse(Bytes::from(line.clone())).expect("a frame");
        let written = serde_json::to_value(frame.body().expect("a body")).expect("a value");
        let read: Value = serde_json::from_str(&line).expect("JSON");
        assert!(same(&read, &written), "{place}:\n{read}\n{written}");
    }
}

#[test]
fn the_head_agrees_with_a_full_parse() {
    for (place, line) in lines() {
        let value: Value = serde_json::from_str(&line).expect("JSON");
        let frame = Frame::parse(Bytes::from(line)).expect("a frame");
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        assert_eq!(frame.type_name(), text("type").unwrap_or_default(), "{place}");
        assert_eq!(frame.subtype().map(String::from), text("subtype"), "{place}");
        assert_eq!(frame.uuid().map(String::from), text("uuid"), "{place}");
        assert_eq!(frame.session_id().map(|id| id.to_string()), text("session_id"), "{place}");
        let delta = value.pointer("/event/delta/text").and_then(Value::as_str);
        assert_eq!(frame.text_delta().as_deref(), delta, "{place}");
        let listed = value.pointer("/user_message_uuids/0");
        let named = value.get("user_message_uuid").or(listed).and_then(Value::as_str);
        assert_eq!(frame.turns().first().map(ToString::to_string).as_deref(), named, "{place}");
    }
}

#[test]
fn the_typed_fields_are_filled_from_real_frames() {
    let mut inits = 0;
    let mut results = 0;
    for (place, line) in lines() {
        let frame = Frame::parse(Bytes::from(line)).expect("a frame");
        match frame.body().expect("a body") {
            Body::System(treewarden_proto::frame::SystemBody::Init(init)) => {
                inits += 1;
                assert_eq!(frame.kind(), FrameKind::System(SystemKind::Init));
                assert!(
                    init.tools.is_some() && init.model.is_some() && init.mcp_servers.is_some(),
                    "{place}"
                );
                assert_eq!(init.session_id, frame.session_id(), "{place}");
            }
            Body::Result(result) => {
                results += 1;
                assert!(result.subtype.is_some() && result.usage.is_some(), "{place}");
                assert!(result.model_usage.is_some() && result.total_cost_usd.is_some(), "{place}");
                assert_eq!(result.turns(), frame.turns().as_slice(), "{place}");
            }
            Body::Assistant(assistant) => {
                let message = assistant.message.expect("a message");
                assert!(message.content.is_some(), "{place}");
            }
            Body::User(user) => assert!(user.message.is_some_and(|m| m.content.is_some()), "{place}"),
            Body::CommandLifecycle(life) => assert!(life.command_uuid.is_some() && life.state.is_some()),
            Body::ControlResponse(response) => assert!(!response.request_id.is_empty(), "{place}"),
            _ => {}
        }
    }
    assert!(inits > 20 && results > 20, "{inits} inits, {results} results");
}
