//! The turn journal: each turn is opened durably and settled exactly once.
//!
//! It says what was asked and what came of it. It does not say what to do about a turn that is open.
//! A row that cannot be read is set aside and reported by [`Store::problems`](crate::Store::problems).

mod prune;
mod read;
mod row;
mod write;
mod written;

pub use read::Completed;
pub use row::{TurnRow, TurnState};
pub use write::Settled;
pub use written::is_written;
