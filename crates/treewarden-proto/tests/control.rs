//! The control protocol: answers fail closed, and every line is one line.

use bytes::Bytes;
use serde_json::{Value, json};
use treewarden_proto::TurnId;
use treewarden_proto::control::{Answer, CliRequest, HostRequest, PermissionAnswer};
use treewarden_proto::frame::{Body, Frame};
use treewarden_proto::input::UserFrame;

fn body(value: &Value) -> Body {
    Frame::parse(Bytes::from(value.to_string())).expect("a frame").body().expect("a body")
}

fn one_line(bytes: &Bytes) -> Value {
    let line = bytes.strip_suffix(b"\n").expect("a line end");
    assert!(!line.contains(&b'\n'));
    serde_json::from_slice(line).expect("JSON")
}

#[test]
fn allow_echoes_the_input() {
    let asked = json!({"type": "control_request", "request_id": "r", "request":
        {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "ls\n"}}});
    let Body::ControlRequest(request) = body(&asked) else { panic!("a request") };
    let CliRequest::CanUseTool(call) = &request.request else { panic!("a tool call") };
    let answer = one_line(&Answer::from(call.allow()).encode(&request.request_id));
    assert_eq!(answer["response"]["response"]["updatedInput"], json!({"command": "ls\n"}));
    assert_eq!(answer["response"]["request_id"], "r");
}

#[test]
fn interrupt_belongs_to_a_refusal_only() {
    let deny = Answer::from(PermissionAnswer::deny("no").interrupt());
    assert_eq!(deny, Answer::Success(json!({"behavior": "deny", "message": "no", "interrupt": true})));
    assert!(PermissionAnswer::allow(serde_json::Map::new()).interrupt().is_allow());
}

#[test]
fn a_refused_request_keeps_its_code_and_an_unknown_one_is_told_apart() {
    let refused = json!({"type": "control_response", "response": {"subtype": "error", "request_id": "r",
        "error": "Unsupported control request subtype: x"}});
    let Body::ControlResponse(response) = body(&refused) else { panic!("a response") };
    assert!(response.outcome.expect_err("an error").is_unsupported());
}

#[test]
fn a_prompt_is_one_line_whatever_its_text() {
    let turn = TurnId::new();
    let line = one_line(&UserFrame::new(turn, "a\nb\u{2028}c").client_composed(true).encode());
    assert_eq!(line["message"]["content"], "a\nb\u{2028}c");
    assert_eq!((&line["uuid"], &line["client_composed"]), (&json!(turn.to_string()), &json!(true)));
    let request = one_line(&HostRequest::Interrupt { cancel_queued: true }.encode("i"));
    assert_eq!(request["request"], json!({"subtype": "interrupt", "cancel_queued": true}));
}
