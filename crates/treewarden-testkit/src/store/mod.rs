//! What any [`Backend`](treewarden_store::Backend) must do, as tests that a backend's author runs.
//!
//! Each check gets an empty store, does something with it, and panics where the contract is broken; the run tells which checks
//! failed, and with what words. It is not for what a backend promises beyond the contract, such as a power cut or a full disk. No
//! check may rely on how fast a backend is, nor on what another check left.
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
