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
    // After a pause, as of a suspended machine, the daemon looks once and not once for each tick that was
    // missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Looks at leases, the tree's lock and the state directory, which says what it finds as events.
pub(super) async fn keep(shared: &Shared, hangup: &Notify) -> Infallible {
    let mut ticks = ticks();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = hangup.notified() => {}
        }
        let _what_was_found_is_an_event = shared.service.tree().host().look_again().await;
    }
}
