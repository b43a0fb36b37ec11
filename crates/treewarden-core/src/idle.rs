//! Which sessions have been idle for so long that they are removed, and when to look again.
//!
//! It is for sessions that come and go with their users: one that nobody asks any more gives its place to another. It is
//! not for the CLI of an idle session, which is parked long before by the [session machine](crate::session). It must
//! never count a session as idle that has anything to do; whoever removes one looks once more, since a turn may come
//! between this decision and its effect.

use std::time::{Duration, Instant};

/// The least time between two looks, so that many sessions that are due one after another cost one look a second.
const APART: Duration = Duration::from_secs(1);

/// What a look comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look<K> {
    /// The sessions that are to be removed, each with the time since when it is idle.
    pub due: Vec<(K, Instant)>,
    /// When to look again: nothing becomes due before.
    pub again: Instant,
}

/// Looks at sessions, each with the time since when it is idle; one that has something to do has none.
///
/// `limit` is how long a session may be idle.
pub fn look<K>(
    now: Instant,
    limit: Duration,
    sessions: impl IntoIterator<Item = (K, Option<Instant>)>,
) -> Look<K> {
    // A session that is busy, or that does not exist yet, is idle from now on at the earliest.
    let mut again = far(now, limit);
    let mut due = Vec::new();
    for (key, idle) in sessions {
        let Some(since) = idle else { continue };
        let at = far(since, limit);
        if at <= now {
            due.push((key, since));
        } else {
            again = again.min(at);
        }
    }
    Look { due, again: again.max(now + APART) }
}

/// A time that a clock cannot hold is as good as the next day.
fn far(from: Instant, limit: Duration) -> Instant {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    from.checked_add(limit).unwrap_or_else(|| from + DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_session_is_due_when_it_was_idle_for_so_long_and_not_before() {
        let began = Instant::now();
        let now = began + HOUR;
        let sessions = [
            ("idle for an hour", Some(began)),
            ("idle for less", Some(began + MINUTE)),
            ("idle for longer", Some(began)),
        ];
        let look = look(now, HOUR, sessions);
        assert_eq!(look.due, [("idle for an hour", began), ("idle for longer", began)]);
        assert_eq!(look.again, now + MINUTE);
    }

    #[test]
    fn what_has_something_to_do_is_never_due() {
        let now = Instant::now() + 24 * HOUR;
        let look = look(now, MINUTE, [("busy", None::<Instant>)]);
        assert_eq!((look.due.len(), look.again), (0, now + MINUTE));
    }

    #[test]
    fn without_a_session_none_is_due_before_one_could_be() {
        let now = Instant::now();
        assert_eq!(look::<()>(now, HOUR, []).again, now + HOUR);
    }

    #[test]
    fn sessions_that_are_due_one_after_another_cost_one_look_a_second() {
        let began = Instant::now();
        let millis = |n| (n, Some(began + Duration::from_millis(n)));
        let look = look(began + HOUR, HOUR, (0..1000).map(millis));
        assert_eq!(look.due.len(), 1);
        assert_eq!(look.again, began + HOUR + Duration::from_secs(1));
    }

    #[test]
    fn a_limit_that_no_clock_can_hold_is_no_limit_that_is_past() {
        let now = Instant::now();
        let look = look(now, Duration::MAX, [((), Some(now))]);
        assert!(look.due.is_empty() && look.again > now);
    }
}
