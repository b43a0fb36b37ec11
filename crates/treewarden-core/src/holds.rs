//! Usage limits, which are an account's and not a session's: who is held back, until when, and in which order they go on.
//!
//! A session that meets the limit of its account says so once; every other session of the account asks here before it sends a
//! turn, and so does not run into the limit one by one. The rules:
//!
//! - An account has one hold, which ends at the latest end that was told while it held.
//! - Whoever may wait gets a slot when they ask, and keeps it: first come first served.
//! - After its end a hold lets go a few at first and then more: two, and after each [`STEP`] twice as many. All at once, they
//!   would meet the limit of the next minute.
//! - A limit that is met while they go on is a new hold, for which the slots are given anew.
//!
//! The time is any clock's that also runs while the machine sleeps: a limit is lifted whether the machine sleeps or not. It
//! must never be the wall's, which may be set back.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// How long after one batch the next one, of twice as many, goes on.
pub const STEP: Duration = Duration::from_secs(5);

/// How long after its end a hold still spreads those who ask; more than sixteen thousand have gone on by then.
const RAMP: Duration = Duration::from_secs(60);

/// A place in the order in which sessions go on when a limit is lifted; it says nothing once the hold is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    hold: u64,
    at: Duration,
}

#[derive(Debug)]
struct Hold {
    number: u64,
    until: Duration,
    given: u64,
}

/// The holds of all accounts, by whatever tells one from the other.
#[derive(Debug)]
pub struct Holds<K> {
    holds: HashMap<K, Hold>,
    next: u64,
}

impl<K> Default for Holds<K> {
    fn default() -> Self {
        Self { holds: HashMap::new(), next: 0 }
    }
}

impl<K: Eq + Hash> Holds<K> {
    /// A session of the account met its limit, which is lifted at `until`; `true` if that was not known.
    pub fn reached(&mut self, account: K, now: Duration, until: Duration) -> bool {
        // Those that are over are let go here, so that there are never more than accounts with a limit.
        self.holds.retain(|_, hold| now < hold.until + RAMP);
        let known = self.holds.get(&account).map(|hold| hold.until);
        // Two sessions that met it at the same moment are told the same end, give or take what the telling took.
        if until <= now || known.is_some_and(|known| now < known && until <= known + STEP) {
            return false;
        }
        self.next += 1;
        self.holds.insert(account, Hold { number: self.next, until, given: 0 });
        true
    }

    /// How long the account's limit holds still; `None` if it does not.
    pub fn left(&self, account: &K, now: Duration) -> Option<Duration> {
        self.holds.get(account).and_then(|hold| hold.until.checked_sub(now)).filter(|left| !left.is_zero())
    }

    /// How long whoever has this slot waits before they go on; `None` is to go on now.
    ///
    /// They get a slot if they have to wait and have none, or none of this hold.
    pub fn pass(&mut self, account: &K, now: Duration, slot: &mut Option<Slot>) -> Option<Duration> {
        let Some(hold) = self.holds.get_mut(account).filter(|hold| now < hold.until + RAMP) else {
            *slot = None;
            return None;
        };
        let mine = match *slot {
            Some(mine) if mine.hold == hold.number => mine,
            _ => {
                let mine = Slot { hold: hold.number, at: hold.until + STEP * batch(hold.given) };
                hold.given += 1;
                mine
            }
        };
        *slot = Some(mine);
        mine.at.checked_sub(now).filter(|left| !left.is_zero())
    }
}

/// In which batch the `n`th goes on, from 0: of two, of four, of eight.
fn batch(n: u64) -> u32 {
    (n / 2 + 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held(now: u64, until: u64) -> Holds<&'static str> {
        let mut holds = Holds::default();
        assert!(holds.reached("a", secs(now), secs(until)));
        holds
    }

    #[test]
    fn a_limit_holds_its_account_until_its_end_and_no_other() {
        let mut holds = held(10, 100);
        assert_eq!(holds.left(&"a", secs(40)), Some(secs(60)));
        assert_eq!((holds.left(&"a", secs(100)), holds.left(&"b", secs(40))), (None, None));
        assert_eq!(holds.pass(&"b", secs(40), &mut None), None);
        assert_eq!(holds.pass(&"a", secs(40), &mut None), Some(secs(60)));
    }

    #[test]
    fn what_every_session_tells_of_one_limit_is_one_hold_and_the_latest_end_counts() {
        let mut holds = held(10, 100);
        assert!(!holds.reached("a", secs(11), secs(100)), "told twice");
        assert!(!holds.reached("a", secs(11), secs(50)), "a shorter limit beside a longer one");
        assert_eq!(holds.left(&"a", secs(20)), Some(secs(80)));
        assert!(holds.reached("a", secs(12), secs(1000)));
        assert_eq!(holds.left(&"a", secs(20)), Some(secs(980)));
        assert!(!holds.reached("b", secs(12), secs(12)), "it is over already");
        assert_eq!(holds.left(&"b", secs(12)), None);
    }

    #[test]
    fn a_few_go_on_first_and_then_twice_as_many_each_time() {
        let mut holds = held(0, 100);
        let waits: Vec<u64> =
            (0..14).filter_map(|_| holds.pass(&"a", secs(90), &mut None)).map(|d| d.as_secs()).collect();
        assert_eq!(waits, [10, 10, 15, 15, 15, 15, 20, 20, 20, 20, 20, 20, 20, 20]);
    }

    #[test]
    fn a_thousand_go_on_within_a_minute_and_never_more_than_half_at_once() {
        let mut holds = held(0, 100);
        let mut at = std::collections::BTreeMap::<u64, usize>::new();
        for _ in 0..1000 {
            *at.entry(holds.pass(&"a", secs(0), &mut None).expect("it waits").as_secs()).or_default() += 1;
        }
        assert!(at.values().all(|together| *together <= 512), "{at:?}");
        assert!(*at.keys().max().expect("some") < 160, "{at:?}");
    }

    #[test]
    fn a_slot_is_kept_over_all_asking_and_whoever_comes_late_is_spread_too() {
        let mut holds = held(0, 100);
        let (mut first, mut third) = (None, None);
        holds.pass(&"a", secs(1), &mut first);
        holds.pass(&"a", secs(1), &mut None);
        assert_eq!(holds.pass(&"a", secs(1), &mut third), Some(secs(104)));
        assert_eq!(
            holds.pass(&"a", secs(100), &mut third),
            Some(secs(5)),
            "the limit is lifted, and its turn has not come"
        );
        assert_eq!(holds.pass(&"a", secs(100), &mut first), None);
        assert_eq!(holds.pass(&"a", secs(101), &mut None), Some(secs(4)));
        assert_eq!(holds.pass(&"a", secs(105), &mut third), None);
        assert_eq!(holds.pass(&"a", secs(160), &mut third), None);
        assert_eq!(third, None, "the hold is over and forgotten");
    }

    #[test]
    fn a_limit_that_is_met_again_holds_all_who_wait_still() {
        let mut holds = held(0, 100);
        let mut slots = [None; 3];
        for slot in &mut slots {
            holds.pass(&"a", secs(1), slot);
        }
        assert_eq!(holds.pass(&"a", secs(100), &mut slots[0]), None);
        assert!(holds.reached("a", secs(101), secs(200)));
        assert_eq!(holds.pass(&"a", secs(105), &mut slots[2]), Some(secs(95)));
        assert_eq!(holds.pass(&"a", secs(105), &mut slots[1]), Some(secs(95)));
        assert_eq!(holds.pass(&"a", secs(105), &mut slots[0]), Some(secs(100)));
    }
}
