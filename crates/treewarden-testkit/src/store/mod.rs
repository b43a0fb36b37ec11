//! What any [`Backend`](treewarden_store::Backend) must do, as tests that a backend's author runs.
//!
//! Each check gets an empty store, does something with it, and panics where the contract is broken; the run tells which checks
//! failed, and with what words. It is not for what a backend promises beyond the contract, such as a power cut or a full disk. No
//! check may rely on how fast a backend is, nor on what another check left.
//!
//! | what the checks of this file ask | its promise in a sentence |
//! |---|---|
//! | `fence` | one writer has a name at a time; a commit that is asked again is stored once, and whole |
//! | `turns` | a turn is opened once and settled once, and its texts come back to the byte |
//! | `records` | a record is replaced as a whole, with the fields of versions that are yet to come |
//! | `lines` | flushed lines come in order, and a place among them is taken once |
//! | `completed` | a start learns which turns the CLI must have written |
//! | `pruning` | what is still of use stays, and an id that was used is never new again |
//! | `together` | all of it holds for many names, several handles, dropped calls and a second opening |
//! | `schedules` | random orders of all that are answered as by `MemoryStore` |
//!
//! ```text
//! Conformance::run ─► for each check: a temporary folder ─► a task, 300 s ─► open(folder) ─► Backend ─► calls, asserts
//!                       └─► passed, failed with its words, or excepted ─► one panic that names all that failed
//! ```
//!
//! A check sees the store through the trait alone. What cannot be seen so, it does not ask: that a commit is on the disk when it returns, or that
//! two processes keep apart; `role` of this crate is for a backend's own tests of those.
//!
//! # Examples
//!
//! ```
//! use treewarden_store::MemoryStore;
//! use treewarden_testkit::store::Conformance;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! Conformance::new(|_folder| async { MemoryStore::new() }).run().await;
//! # }
//! ```

mod completed;
mod fence;
mod lines;
mod pruning;
mod records;
mod run;
mod schedules;
mod setup;
mod together;
mod turns;

pub use run::Conformance;
