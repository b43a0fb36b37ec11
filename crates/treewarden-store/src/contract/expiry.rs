//! When the id of a turn that was removed has expired: pure, for whatever keeps ids.
//!
//! The ids that [`TurnId::new`] makes say when they were made and sort by it (UUID version 7): of them each session keeps one,
//! the highest that was removed, its *watermark*. Any other id is kept by itself, with a digest of its prompt.
//!
//! A watermark alone would refuse new turns where the clock was set back: their ids sort before those of the days that were
//! never. So an id that was made just when its turn is opened is a new one, and no turn is removed so soon that its own could
//! pass for that.

use std::time::Duration;

use treewarden_proto::TurnId;
use uuid::Uuid;

/// An id that was made so short a time before its turn is opened, or after it, is a new one; a turn that was opened so lately
/// is not removed.
pub const FRESH: Duration = Duration::from_secs(600);

/// When an id was made, in Unix milliseconds; `None` if it does not say.
pub fn made_at(turn: TurnId) -> Option<u64> {
    let uuid = turn.as_uuid();
    let (seconds, nanos) = (uuid.get_version_num() == 7).then(|| uuid.get_timestamp())??.to_unix();
    Some(seconds.saturating_mul(1000).saturating_add(u64::from(nanos) / 1_000_000))
}

/// Tells whether a moment is so near to another that what was made then is new: both in Unix milliseconds.
pub fn is_fresh(made_at: u64, now: u64) -> bool {
    u128::from(made_at.abs_diff(now)) <= FRESH.as_millis()
}

/// Tells whether an id that its session does not hold is one that was removed, by the session's watermark.
pub fn has_expired(turn: TurnId, opened_at: u64, watermark: TurnId) -> bool {
    turn <= watermark && made_at(turn).is_some_and(|made| !is_fresh(made, opened_at))
}

/// The digest of a turn's prompt, which is kept with an id that says nothing of its age.
pub fn digest(turn: TurnId, prompt: &str) -> Uuid {
    Uuid::new_v5(turn.as_uuid(), prompt.as_bytes())
}

#[cfg(test)]
mod tests {
    use uuid::{NoContext, Timestamp};

    use super::*;

    const MINUTE: u64 = 60_000;

    fn made(at: u64) -> TurnId {
        let at =
            Timestamp::from_unix(NoContext, at / 1000, u32::try_from(at % 1000).expect("small") * 1_000_000);
        TurnId::from_uuid(Uuid::new_v7(at))
    }

    #[test]
    fn an_id_says_when_it_was_made_unless_it_is_of_another_kind() {
        assert_eq!(made_at(made(1_700_000_000_123)), Some(1_700_000_000_123));
        assert_eq!(made_at(TurnId::from_uuid(Uuid::new_v4())), None);
        assert_eq!(made_at(TurnId::new().nudge(1)), None);
    }

    #[test]
    fn an_id_below_the_watermark_has_expired_and_one_above_it_has_not() {
        let (day, now) = (1440 * MINUTE, 1_700_000_000_000);
        let watermark = made(now - 90 * day);
        assert!(has_expired(made(now - 91 * day), now, watermark));
        assert!(has_expired(watermark, now, watermark));
        assert!(!has_expired(made(now - 89 * day), now, watermark));
        assert!(!has_expired(TurnId::from_uuid(Uuid::from_u128(1)), now, watermark), "it says no age");
    }

    #[test]
    fn a_clock_that_is_set_back_has_no_new_turn_refused() {
        let (now, ten_years) = (1_700_000_000_000, 3650 * 1440 * MINUTE);
        let watermark = made(now + ten_years);
        assert!(!has_expired(made(now), now + MINUTE, watermark));
        assert!(has_expired(made(now + ten_years - MINUTE), now, watermark), "of the days that were never");
        assert!(has_expired(made(now), now + 11 * MINUTE, watermark), "asked again");
    }
}
