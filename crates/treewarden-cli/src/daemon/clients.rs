//! Which clients are connected: many may be, and nobody keeps `ps` or `stop` out.
//!
//! ```text
//! accepted ─► connected (so many) ─► request read (UNFINISHED bytes, TO_FINISH) ─► the service: control is answered at once,
//!     └ full: the client that has                                                  asks, waits and followers have places there
//!       asked nothing for longest is hung up on
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How many KiB all requests together may hold, beyond the first [`FREE`] of each, until they are carried
/// out.
const UNFINISHED: usize = 64 * 1024;

/// How much of a request is read whatever the others hold.
const FREE: usize = 64 * 1024;

/// A request that has begun must have ended within this time.
pub(super) const TO_FINISH: Duration = Duration::from_secs(10);

/// The places of the clients.
#[derive(Debug)]
pub(super) struct Clients {
    connected: Arc<Semaphore>,
    idle: Mutex<Idlers>,
    unfinished: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Idlers {
    next: u64,
    /// By the order in which they became idle. Whoever is removed from here gives its place to somebody else.
    hang_up: BTreeMap<u64, oneshot::Sender<()>>,
}

/// Whether a client has a place.
#[derive(Debug)]
pub(super) enum Admission {
    Place(OwnedSemaphorePermit),
    /// Another client is hung up on: its place is this one's.
    Soon,
    /// All are at work.
    Full,
}

/// A client between two requests; it may be hung up on while this lives.
#[derive(Debug)]
pub(super) struct Idle<'c> {
    clients: &'c Clients,
    number: u64,
    hung_up: oneshot::Receiver<()>,
}

impl Clients {
    /// Places for so many clients.
    pub(super) fn new(connected: usize) -> Self {
        Self {
            connected: Arc::new(Semaphore::new(connected)),
            idle: Mutex::default(),
            unfinished: Arc::new(Semaphore::new(UNFINISHED)),
        }
    }

    /// Looks for a place for one more client, and makes one where somebody is idle.
    pub(super) fn admit(&self) -> Admission {
        if let Ok(place) = Arc::clone(&self.connected).try_acquire_owned() {
            return Admission::Place(place);
        }
        // The one that has asked nothing for longest has the lowest number.
        let idlest = self.idle.lock().unwrap_or_else(PoisonError::into_inner).hang_up.pop_first();
        match idlest {
            Some((_, hang_up)) => {
                // One that is gone by itself leaves its place as well.
                let _gone = hang_up.send(());
                Admission::Soon
            }
            None => Admission::Full,
        }
    }

    /// Gives back the place that was another's, who was hung up on.
    pub(super) fn give_back(&self) {
        self.connected.add_permits(1);
    }

    /// Says that a client has asked nothing yet, or has its answer.
    pub(super) fn idle(&self) -> Idle<'_> {
        let (hang_up, hung_up) = oneshot::channel();
        let mut idlers = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let number = idlers.next;
        idlers.next += 1;
        idlers.hang_up.insert(number, hang_up);
        Idle { clients: self, number, hung_up }
    }

    /// Lets a request grow from `held` to `size` bytes, at the expense of the others; false if they hold too much.
    pub(super) fn grow(&self, held: &mut Option<OwnedSemaphorePermit>, size: usize) -> bool {
        // In whole KiB, since one permit stands for one.
        let want = size.saturating_sub(FREE).div_ceil(1024);
        let have = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(more) = u32::try_from(want.saturating_sub(have)) else { return false };
        if more == 0 {
            return true;
        }
        // The bytes are never waited for: those who hold the rest may be waiting as well, each for the
        // others' bytes.
        match (Arc::clone(&self.unfinished).try_acquire_many_owned(more), held) {
            (Ok(more), Some(held)) => held.merge(more),
            (Ok(more), held @ None) => *held = Some(more),
            (Err(_), _) => return false,
        }
        true
    }
}

impl Idle<'_> {
    /// Ends the idling of a client that has asked something, or goes; false if its place is another's since, so that it is to
    /// be hung up on all the same. Served, it would be one client more than may be.
    pub(super) fn stays(self) -> bool {
        self.leave()
    }

    /// True if the client still has its place. Under the lock under which `admit` gives it away: one of the two comes first.
    fn leave(&self) -> bool {
        self.clients
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .hang_up
            .remove(&self.number)
            .is_some()
    }

    /// Ready when the client is to be hung up on. Cancelling loses nothing.
    pub(super) async fn hung_up(&mut self) {
        // The sender goes away without a word only together with this.
        let _told = (&mut self.hung_up).await;
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: usize = 64;

    fn all_places(clients: &Clients) -> Vec<OwnedSemaphorePermit> {
        let place = |_| match clients.admit() {
            Admission::Place(place) => place,
            other => panic!("{other:?}"),
        };
        (0..CLIENTS).map(place).collect()
    }

    #[test]
    fn one_client_too_many_takes_the_place_of_the_one_that_was_idle_longest() {
        let clients = Clients::new(CLIENTS);
        let _places = all_places(&clients);
        let (mut first, mut second) = (clients.idle(), clients.idle());
        assert!(matches!(clients.admit(), Admission::Soon));
        assert!(first.hung_up.try_recv().is_ok());
        assert!(second.hung_up.try_recv().is_err());
        drop(second);
        assert!(matches!(clients.admit(), Admission::Full), "nobody is idle");
    }

    #[test]
    fn whoever_asks_or_goes_after_its_place_was_given_away_has_none() {
        let clients = Clients::new(CLIENTS);
        let _places = all_places(&clients);
        let (early, late) = (clients.idle(), clients.idle());
        assert!(matches!(clients.admit(), Admission::Soon));
        assert!(!early.stays(), "its place is the newcomer's");
        assert!(late.stays());
        assert!(matches!(clients.admit(), Admission::Full), "who asked is not hung up on");
    }

    #[test]
    fn unfinished_requests_share_their_bytes() {
        let clients = Clients::new(CLIENTS);
        let (mut small, mut great, mut late) = (None, None, None);
        assert!(clients.grow(&mut small, FREE) && small.is_none(), "the first bytes cost nothing");
        assert!(clients.grow(&mut great, FREE + 1024 * UNFINISHED / 2));
        assert!(clients.grow(&mut great, FREE + 1024 * UNFINISHED));
        assert!(!clients.grow(&mut late, FREE + 1));
        drop(great);
        assert!(clients.grow(&mut late, FREE + 1));
    }
}
