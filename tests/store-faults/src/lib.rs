//! What breaks a store: power cuts, damage, locks, full disks; and what must be seen of it then.
//!
//! It is for the questions that are asked of the store's files from outside. It is not for what a store promises while
//! nothing breaks: that is the conformance kit's. Nothing here may know how the store keeps what it keeps, but for the names
//! of its files.

mod account;
mod chance;
mod cuts;
mod disk;
mod steps;
mod tape;
mod vfs;

pub use account::Account;
pub use chance::{Chance, seed};
pub use cuts::{Cut, Fate, Tear, cuts};
pub use disk::{Disk, write_down};
pub use steps::{Refused, Step, steps};
pub use tape::{Entry, Tape};
pub use vfs::{Layer, Op, register};
