//! The tail of the journal: what happened to turns lately, in files that are only appended to.
//!
//! A turn costs one `write` when it is opened and one when it is settled; the database gets them later, many at once.
//! It is not for records, which change seldom, and it answers no question but whether a turn is open: whoever asks the
//! journal has the tail [folded](fold) into the database first.
//!
//! # Format
//!
//! Segments `turns-<n>.log` of the state directory, numbered from 1. Each fact is one line, behind an end of line:
//!
//! ```text
//! <length of the JSON, 8 hex digits> <CRC-32 of it, 8 hex digits> {"opened":{"turn":…,"name":…,…}}
//! ```
//!
//! | fact | meaning |
//! |---|---|
//! | `opened` | a turn was asked; all of its row |
//! | `sent` | it may have reached a CLI |
//! | `interrupted` | a CLI died under it |
//! | `settled` | its outcome, and which conversation answered it if it was asked in another; the first one in the order of the file counts |
//! | `sealed` | the segment ends here; what stands behind it is void, and was written once more to the next one |
//!
//! What a fact carries, a prompt or an outcome, is its last field, so that it can be cut out without being parsed.
//!
//! A write that a full disk cut short leaves a shorter line than its length says. It is passed over: nobody was told
//! that it is stored. A whole line with another checksum is damage, which the fold sets aside.
//!
//! # Several processes
//!
//! The system puts each append behind the last one (`O_APPEND`), so that the file has one order for all. A process
//! that finds its own append further on than it had read reads what lies between, before it says what its own came to:
//! so the first outcome stands, and whoever was late for a seal writes to the next segment. The database says up to
//! where it has the tail, in the transaction that puts it there; a segment goes when the database has synced all of it.

mod fact;
mod fold;
mod folder;
mod index;
mod segment;

pub(crate) use self::fact::{Fact, Opened, Outcome};
pub(crate) use self::fold::{first_segment, fold, fold_for_now};
pub(crate) use self::index::{Newest, Settling, Tail, held};
pub(crate) use self::segment::a_segment;
