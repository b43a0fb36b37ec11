//! The time by which whatever outlives a process is dated: the one such clock of the workspace.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in Unix milliseconds: for people to read, and never to decide who is first.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        // A clock before 1970 says 0.
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
