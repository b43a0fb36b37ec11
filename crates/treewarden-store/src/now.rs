//! The time by which records and turns are dated.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in Unix milliseconds: for people to read, and never to decide who is first.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
