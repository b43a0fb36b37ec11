//! The code of `docs/sessions.md` and `docs/events.md` compiles: `build.rs` makes a function of each block of it.

#![expect(unused, clippy::print_stdout, reason = "the guide shows one thing at a time")]

use treewarden::session::{SessionActor, SessionArguments};
use treewarden::{Host, Session, SessionOptions, SessionSpec, Supervisor};

type Done = Result<(), Box<dyn std::error::Error>>;

include!(concat!(env!("OUT_DIR"), "/guide.rs"));

#[test]
fn the_guide_has_code() {
    assert!(include_str!(concat!(env!("OUT_DIR"), "/guide.rs")).matches("fn block_").count() > 5);
}
