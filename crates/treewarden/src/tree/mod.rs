//! A whole tree: a config file, or a [`TreeSpec`](crate::config::TreeSpec), as running supervisors and sessions.
//!
//! A tree has one host, one root supervisor, and the state directory to itself. Starting it takes the directory's
//! lock, ends what dead hosts left behind, and starts the children in order; sessions that were there before come
//! back under their name, with their conversation and their open turns. `dynamic` makes sessions of templates and removes
//! them, each with a `place` among the others, `idle` those that nobody asks any more. `grow` makes child specs of what a file
//! declares. `diff` says what another spec means to a tree that runs, `names` whose its names are, and `apply` does it.
//!
//! It is not for parsing (that is [`crate::config`]) and not for supervision itself ([`crate::supervisor`]).
//!
//! It promises: two trees never run on one state directory, whichever process they are in; the directory is free
//! again only when every child is gone; a tree that does not start leaves nothing running; a change does what its diff
//! said, and touches nothing else.

mod apply;
mod builder;
mod current;
mod diff;
mod dynamic;
mod error;
mod grow;
mod idle;
mod names;
mod outline;
mod place;
mod restart;
mod running;
mod settings;

pub use apply::{ApplyError, NotApplied};
pub use builder::TreeBuilder;
pub use diff::{Change, KeyDiff, NodeDiff, TreeDiff};
pub use dynamic::{NewSessionError, RemoveSessionError};
pub use error::{TreeError, TreeErrorKind};
pub use names::{NameConflict, Named};
pub use outline::{NodeKind, NodeState, Outline};
pub use restart::RestartError;
pub use running::Tree;

pub use crate::config::Effect;
