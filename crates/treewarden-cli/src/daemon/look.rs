//! What may be removed under the daemon, looked at from time to time and at a hangup.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Shared;

/// How often it is looked; each turn is preceded by a look besides.
const EVERY: Duration = Duration::from_secs(5);

/// Ticks whenever it is time to look.
pub(super) fn ticks() -> Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Looks at leases, the tree's lock and the state directory, and says what was found as events.
pub(super) async fn keep(shared: &Shared, hangup: &Notify) -> Infallible {
    let mut ticks = ticks();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = hangup.notified() => {}
        }
        let host = shared.tree.host().clone();
        // A file system may take its time.
        let Ok(news) = tokio::task::spawn_blocking(move || host.look_again()).await else { continue };
        for missing in &news {
            shared.journal.removed(&missing.what, missing.mended);
        }
    }
}
