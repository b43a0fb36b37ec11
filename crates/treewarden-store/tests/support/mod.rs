//! What the tests of locks and leases share.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]
#![allow(clippy::allow_attributes, reason = "each test binary has this as a part of its own")]

use treewarden_proto::SessionName;

pub(crate) use treewarden_testkit::role::{Role, my_role, say, wait_for_the_end};

pub(crate) fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}
