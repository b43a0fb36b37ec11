//! A request of the CLI: it can always be answered, in one line that names it.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use treewarden_proto::control::{Answer, CliRequest, ControlRequest, PermissionAnswer};
use treewarden_proto::frame::{Body, Frame};

fuzz_target!(|data: &[u8]| {
    let Ok(frame) = Frame::parse(Bytes::copy_from_slice(data)) else { return };
    match frame.body() {
        Ok(Body::ControlRequest(request)) => answered(&request),
        Ok(Body::ControlResponse(response)) => {
            let _told = (response.outcome.as_ref().map_err(|error| error.is_unsupported()), &response.pending);
        }
        _ => {}
    }
});

fn answered(request: &ControlRequest) {
    let id = &request.request_id;
    let mut answers = vec![Answer::decline_elicitation(), Answer::cancel_dialog(), Answer::hook(Value::Null)];
    if let CliRequest::CanUseTool(call) = &request.request {
        answers.extend([call.allow(), PermissionAnswer::deny(format!("no {id}")).interrupt()].map(Answer::from));
    }
    for answer in answers {
        let line = answer.encode(id);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        let json: Value = serde_json::from_slice(&line).expect("an answer is JSON");
        assert_eq!(json["response"]["request_id"], id.as_str());
    }
}
