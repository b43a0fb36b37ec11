//! Lines that no CLI should write: none panics, none loses what it holds.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use treewarden_proto::frame::{Block, Body, Content, Frame, FrameKind, SystemBody, TerminalReason};

fn parse(line: impl Into<Vec<u8>>) -> Frame {
    Frame::parse(Bytes::from(line.into())).expect("a frame")
}

#[test]
fn a_result_ends_a_turn_whatever_else_it_holds() {
    let lines = [
        r#"{"type":"result"}"#.to_owned(),
        r#"{"is_error":"yes","num_turns":"three","usage":[],"type":"result"}"#.to_owned(),
        r#"{"total_cost_usd":1e999,"type":"result","is_error":true}"#.to_owned(),
        format!(r#"{{"structured_output":{}1{},"type":"result"}}"#, "[".repeat(500), "]".repeat(500)),
        r#"{"result":"cut \ud83d","type":"result"}"#.to_owned(),
    ];
    for line in lines {
        let frame = parse(line);
        assert_eq!(frame.kind(), FrameKind::Result);
        assert!(matches!(frame.body(), Ok(Body::Result(_))));
    }
}

#[test]
fn a_notice_is_a_refusal_only_if_it_says_that_the_prompt_is_nowhere() {
    let cases = [
        (r#""prompt_submit_outcome":{"kind":"blocked_by_hook","prompt_kept":false}"#, true),
        (r#""prompt_submit_outcome":{"kind":"stopped_by_hook","prompt_kept":true}"#, false),
        (r#""prompt_submit_outcome":{"kind":"from_the_future"}"#, false),
        (r#""prompt_submit_outcome":"odd""#, false),
        (r#""prevent_continuation":true"#, false),
    ];
    for (field, expected) in cases {
        let line = format!(r#"{{"type":"system","subtype":"informational","content":"no",{field}}}"#);
        let Ok(Body::System(SystemBody::Informational(notice))) = parse(line).body() else {
            panic!("{field}")
        };
        assert_eq!(notice.is_refusal(), expected, "{field}");
    }
}

#[test]
fn half_a_surrogate_pair_costs_one_character_and_not_the_line() {
    let line = br#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"a\ud83d b"}}}"#;
    assert_eq!(parse(&line[..]).text_delta().as_deref(), Some("a\u{fffd} b"));
    assert_eq!(
        parse(b"{\"type\":\"x\",\"subtype\":\"a\xff\"}".to_vec()).subtype().as_deref(),
        Some("a\u{fffd}")
    );
}

#[test]
fn a_value_is_read_as_far_as_a_value_can_hold_it() {
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let cases = [
        (
            r#"{"a":"\ud83d\ude00","b":"\ud83d x \ude00"}"#.to_owned(),
            json!({ "a": "\u{1f600}", "b": "\u{fffd} x \u{fffd}" }),
        ),
        (r#"{"\udc00":1}"#.to_owned(), json!({ "\u{fffd}": 1 })),
        (r#"{"a":1e999,"b":"\ud800"}"#.to_owned(), json!({ "a": "1e999", "b": "\u{fffd}" })),
        (format!(r#"{{"a":{deep},"b":2}}"#), json!({ "a": deep, "b": 2 })),
        (r#""\\ud83d""#.to_owned(), json!(r"\ud83d")),
    ];
    for (json, expected) in cases {
        assert_eq!(treewarden_proto::frame::value(&json).expect("it is read"), expected, "{json}");
    }
    for json in ["", "{", "no JSON", r#"{"a":}"#, "1e999"] {
        assert!(treewarden_proto::frame::value(json).is_err(), "{json}");
    }
}

#[test]
fn a_known_field_of_an_unexpected_shape_is_kept() {
    let Ok(Body::Result(result)) =
        parse(r#"{"type":"result","num_turns":"three","terminal_reason":"new_one"}"#).body()
    else {
        panic!("a result");
    };
    assert_eq!(result.num_turns, None);
    assert_eq!(result.extra["num_turns"], json!("three"));
    assert_eq!(result.terminal_reason, Some(TerminalReason::Other("new_one".into())));
}

#[test]
fn the_order_of_the_keys_means_nothing() {
    let line = r#"{"event":{"delta":{"text":"a\n","type":"text_delta"},"type":"content_block_delta"},"type":"stream_event"}"#;
    assert_eq!(parse(line).text_delta().as_deref(), Some("a\n"));
}

#[test]
fn an_unknown_block_is_kept_raw() {
    let content: Content = serde_json::from_value(json!([{"type": "hologram", "x": 1}, 7])).expect("content");
    assert_eq!(content.blocks()[0], Block::Other(json!({"type": "hologram", "x": 1})));
    assert_eq!(content.blocks()[1], Block::Other(json!(7)));
}

#[test]
fn turns_are_merged_and_ids_that_are_no_uuids_are_left_out() {
    let id = "00000001-0000-4000-8000-000000000001";
    let line = json!({"type": "result", "user_message_uuid": id, "user_message_uuids": [id, "x", 3]});
    assert_eq!(parse(line.to_string()).turns().as_slice(), [id.parse().expect("a UUID")]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let key = prop_oneof![
            "[a-z]{0,6}",
            Just("type".to_owned()),
            Just("message".to_owned()),
            Just("text".to_owned())
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    let kinds = ["user", "assistant", "result", "stream_event", "system", "control_cancel_request", "new"];
    let subtypes = ["init", "task_started", "status", "api_retry", "new", "success"];
    let keys = [
        "message",
        "event",
        "origin",
        "uuid",
        "user_message_uuids",
        "usage",
        "errors",
        "tools",
        "zz",
        "state",
    ];
    let fields = prop::collection::btree_map(prop::sample::select(keys.to_vec()), any_json(), 0..6);
    (prop::sample::select(kinds.to_vec()), prop::sample::select(subtypes.to_vec()), fields).prop_map(
        |(kind, subtype, fields)| {
            let mut map: Map<String, Value> =
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            map.insert("type".into(), kind.into());
            map.insert("subtype".into(), subtype.into());
            map
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = Frame::parse(Bytes::from(bytes)) {
            let _ = frame.body();
        }
    }

    #[test]
    fn any_object_is_written_back_as_it_was_read(map in any_object()) {
        let frame = parse(serde_json::to_vec(&map).expect("JSON"));
        let body = frame.body().expect("a body");
        prop_assert_eq!(serde_json::to_value(body).expect("a value"), Value::Object(map));
    }
}

#[test]
fn the_result_of_a_frame_reads_a_key_with_escapes_as_the_body_does() {
    let frame = parse(
        r#"{"\u0074ype":"result","is\u005ferror":true,"resul\u0074":"no \ud83d\ude00","subtype":"success"}"#,
    );
    let Body::Result(body) = frame.body().unwrap() else { panic!("{frame:?}") };
    let result = frame.result().unwrap();
    assert_eq!((result.is_error(), &result.result), (true, &Some("no \u{1F600}".to_owned())));
    assert_eq!(
        (result.is_error, &result.result, &result.subtype),
        (body.is_error, &body.result, &body.subtype)
    );
}
