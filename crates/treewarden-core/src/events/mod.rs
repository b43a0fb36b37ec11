//! What a host keeps of its events, and where its readers stand: in which life, and behind which event.
//!
//! It knows nothing of what an event says. It must never take a lock, read a clock or wake anybody: the stream of the crate
//! `treewarden` does that.

mod position;

pub use position::{Boot, InvalidPosition, Position};
pub use treewarden_otp_core::ring::{Cursor, Limits, Missed, Read, Ring};
