//! What a client sends: a request, or no request; what is read is written so that it is read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use treewarden_service::{Request, VERBS};

fuzz_target!(|data: &[u8]| {
    let Ok(request) = serde_json::from_slice::<Request>(data) else { return };
    assert!(VERBS.iter().any(|(op, access)| *op == request.op() && *access <= request.access()));
    let written = serde_json::to_vec(&request).expect("it can be written");
    let again: Request = serde_json::from_slice(&written).expect("it can be read");
    assert_eq!(format!("{again:?}"), format!("{request:?}"));
});
