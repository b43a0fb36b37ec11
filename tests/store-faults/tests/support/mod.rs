//! What the tests of the store share: folders, the store in them, a runtime.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::allow_attributes, reason = "whether the part is used differs between the binaries")]

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use treewarden_proto::{SessionId, SessionName};
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Durability, Holder, Lease, StoreError};

/// Nothing takes longer, but on a machine that does nothing at all.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Files of a store that are not written through SQLite.
pub(crate) const BESIDE: &[&str] = &[WITNESS, "host-id"];

/// The file that says how far the database is; it is synced at an opening, and never after that.
pub(crate) const WITNESS: &str = "treewarden.commits";

/// Has the witness of a folder be of another boot of the machine, if there is one that can be read.
pub(crate) fn on_another_boot(dir: &Path) {
    let path = dir.join(WITNESS);
    let Ok(text) = std::fs::read_to_string(&path) else { return };
    let Some((said, sum)) = text.trim_end().rsplit_once(" sum=") else { return };
    if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(said.as_bytes())) {
        return;
    }
    let here = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let said = said.replace(here.trim(), "11111111-2222-3333-4444-555555555555");
    let sum = crc32fast::hash(said.as_bytes());
    std::fs::write(path, format!("{:<191}\n", format!("{said} sum={sum:08x}"))).unwrap();
}

/// Takes and gives up the lease of a conversation, as a session does that has it: its file names both.
pub(crate) fn lease(dir: &Path, name: &SessionName, conversation: SessionId) {
    let holder = Holder::this_process(name);
    let lease = Lease::acquire(&dir.join("config"), dir, conversation, &holder).unwrap();
    lease.watch().sync().unwrap();
}

/// A folder in memory, where there is one: thousands are made, and what a disk keeps of them is not the question.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let here = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("store-faults-").tempdir_in(here).unwrap()
}

pub(crate) fn options(durability: Durability) -> SqliteOptions {
    SqliteOptions::default().durability(durability)
}

pub(crate) fn open(dir: &Path, durability: Durability) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(dir, options(durability))
}

pub(crate) fn name(name: &str) -> SessionName {
    SessionName::new(name).unwrap()
}

pub(crate) fn names() -> Vec<SessionName> {
    ["a", "b", "c"].map(name).to_vec()
}

/// Waits for an answer on a runtime of its own.
pub(crate) fn wait<T>(answer: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(DEADLINE, answer).await.expect("an answer within the deadline")
    })
}
