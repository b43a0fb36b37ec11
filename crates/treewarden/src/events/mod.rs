//! One stream of all that happens to the sessions and supervisors of a host, in one order.
//!
//! ```text
//!  Desk, supervisors ──► Events::publish ──► Ring: the last 1,024 events, 8 MiB at most
//!                                              ▲           ▲
//!                                           Reader      Reader     each is a number: what it has seen
//! ```
//!
//! Each event has a number, one higher than the one before it, and the name of the host's life in which it was given
//! that number. A reader that keeps the [`Position`] of the last event it has seen goes on behind it later, with
//! [`Events::since`]. What is not kept any more by then is told to that reader as a [`Gap`], which is no event: it has no
//! number, and no other reader sees it.
//!
//! This is no log: what is not read in time is gone, and all of it is gone with the host. What must not be lost is in the
//! store. Nobody who publishes may ever wait for somebody who reads, and a reader must never hold more than one event.
//! This room knows no session: it must never need more of one than its name and its state.

mod event;
mod happening;
mod stream;
mod supervision;

pub(crate) use event::Site;
pub use event::{Gap, GapKind, HostEvent};
pub use happening::{Happening, RemovalReason, SupervisionContext};
pub(crate) use stream::Publisher;
pub use stream::{Events, Reader};
pub(crate) use supervision::told;
pub use treewarden_core::events::{Boot, InvalidPosition, Position};
