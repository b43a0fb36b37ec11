//! What could not be ended of a session's trees.
//!
//! Once its parents and the leader are gone, a process of another user that began a session of its own can be told for the
//! session's by nothing: its environment may not be read, and it is in no group of ours. So whoever found it says so, and it
//! keeps the session from starting as long as it lives. What is known here ends with this host.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::pid::Process;
use crate::program::Cookie;
use crate::proof::NotGone;

static SURVIVORS: LazyLock<Mutex<HashMap<Cookie, Vec<Process>>>> = LazyLock::new(Mutex::default);

fn all() -> MutexGuard<'static, HashMap<Cookie, Vec<Process>>> {
    SURVIVORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note of what lives on.
pub(crate) fn note(cookie: &Cookie, error: &NotGone) {
    // What a live host owns would be ended by the next proof, which counts whatever is noted here as the
    // session's own.
    if error.is_another_hosts() || error.processes().is_empty() {
        return;
    }
    let mut all = all();
    let known = all.entry(cookie.clone()).or_default();
    let new =
        error.processes().iter().filter(|process| !known.contains(process)).copied().collect::<Vec<_>>();
    known.extend(new);
}

/// What still lives of it.
pub(crate) fn of(cookie: &Cookie) -> Vec<Process> {
    let mut all = all();
    let Some(known) = all.get_mut(cookie) else { return Vec::new() };
    known.retain(|process| process.is_alive());
    let live = known.clone();
    if live.is_empty() {
        all.remove(cookie);
    }
    live
}
