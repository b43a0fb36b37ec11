//! The CLI's own transcript of a conversation: found, read, kept from the CLI's clean-up, made ready for a resume.
//!
//! The transcript belongs to the CLI. This crate reads it, ends a torn last line, appends one line that the CLI itself
//! would write, gives the file a second name, and puts lines back that the file lost; it **never** changes or removes a line. It starts no process and knows
//! no runtime: whoever calls it from async code does so on a thread that may block.
//!
//! | question | module |
//! |---|---|
//! | where does the CLI keep its files? | `place` |
//! | what does a line say? | `line`, `message` |
//! | which message is the true leaf, and is anything missing? | `tree`, `resume` (pure) |
//! | how much of the file is read? | `tail` |
//! | is the conversation ready to be resumed? | `prepare` |
//! | could it be resumed, while its CLI lives? | `look` |
//! | does it end in the middle of a line? | `cut` |
//! | is what the file lost in a copy of it? | `put_back`; what is said if not: `loss` |
//! | what was a turn answered? | `answer` |
//! | who else keeps the file? | `keep` |
//!
//! Why it is so: `docs/design/why-restart-resumes.md` and `docs/design/exactly-once.md`.

mod answer;
mod cut;
mod error;
mod keep;
mod line;
mod look;
mod loss;
mod message;
mod place;
mod prepare;
mod put_back;
mod resume;
mod settled;
mod tail;
mod tree;

pub use answer::{DiskAnswer, answer_to};
pub use cut::{CutLine, cut_line};
pub use error::TranscriptError;
pub use keep::{Kept, are_one, find_any, keep, kept, release, restore, second_name};
pub use look::{Look, Saved, holds, look};
pub use place::{NoConfigDir, config_dir, find};
pub use prepare::{Resumable, prepare};
pub use resume::OpenPrompt;
pub use settled::{Known, Settled};
