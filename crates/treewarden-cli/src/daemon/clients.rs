//! Which clients are connected: many may be, and nobody keeps `ps` or `stop` out.
//!
//! ```text
//! accepted ─► connected (so many) ─► request read (UNFINISHED bytes, TO_FINISH) ─► the service: control is answered at once,
//!     └ full: the client that has                                                  asks, waits and followers have places there
//!       asked nothing for longest is hung up on; where all have asked, the one that has taken nothing for longest
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    connected: Semaphore,
    offers: Mutex<Offers>,
    unfinished: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Offers {
    next: u64,
    /// The places that may be given away, in that order. Whoever is removed from here gives its place to somebody else.
    hang_up: BTreeMap<Offer, oneshot::Sender<()>>,
}

/// A place among those that may be given away: by why it may, and since when.
type Offer = (Why, u64);

/// Why a client may be hung up on; the first kind goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// It has asked nothing yet, or has its answer: it loses nothing.
    Idle,
    /// It takes nothing of its answer.
    Blocked,
}

/// A client's place; dropped, it is given back, unless it went to another.
#[derive(Debug)]
pub(super) struct Place {
    clients: Arc<Clients>,
    /// Where it stands while it may be given to another.
    offer: Option<Offer>,
}

/// A client that has asked nothing yet, or has its answer; it may be hung up on while this lives.
#[derive(Debug)]
pub(super) struct Idle {
    place: Place,
    hung_up: oneshot::Receiver<()>,
}

impl Clients {
    /// Places for so many clients.
    pub(super) fn new(connected: usize) -> Self {
        Self {
            connected: Semaphore::new(connected),
            offers: Mutex::default(),
            unfinished: Arc::new(Semaphore::new(UNFINISHED)),
        }
    }

    /// Gives one more client a place: one that is free, or that of a client that is idle, or else of one that takes nothing;
    /// `None` if all are at work.
    ///
    /// The client is idle from this moment on, and not from that at which it is served: of many that come at once, those that are
    /// served a moment later would count as being at work, and clients would be turned away while nobody asks anything.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Idle> {
        match self.connected.try_acquire() {
            Ok(place) => place.forget(),
            Err(_) => {
                // The one that is so for longest has the lowest number of its kind.
                let (_, hang_up) = self.offers().hang_up.pop_first()?;
                // One that is gone by itself leaves its place as well.
                let _gone = hang_up.send(());
            }
        }
        Some(Place { clients: Arc::clone(self), offer: None }.idle())
    }

    fn offers(&self) -> MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Place {
    /// Says that the client has its answer.
    pub(super) fn idle(mut self) -> Idle {
        let hung_up = self.offer(Why::Idle);
        Idle { place: self, hung_up }
    }

    /// Waits for a client that takes nothing, who may be hung up on meanwhile: `None` if it is to be, as its place is another's.
    ///
    /// # Cancel safety
    ///
    /// The place stays to be had until the next call, or until it is dropped.
    pub(super) async fn while_blocked<T>(&mut self, taken: impl Future<Output = T>) -> Option<T> {
        // Of a call that was dropped: two offers would be two clients let in for one place.
        if !self.is_own() {
            return None;
        }
        let hung_up = self.offer(Why::Blocked);
        let taken = tokio::select! {
            biased;
            taken = taken => taken,
            // The sender goes away without a word only together with this.
            _told = hung_up => return None,
        };
        // Taken too late: another has the place already.
        self.is_own().then_some(taken)
    }

    fn offer(&mut self, why: Why) -> oneshot::Receiver<()> {
        let (hang_up, hung_up) = oneshot::channel();
        let mut offers = self.clients.offers();
        let offer = (why, offers.next);
        offers.next += 1;
        offers.hang_up.insert(offer, hang_up);
        drop(offers);
        self.offer = Some(offer);
        hung_up
    }

    /// Ends the offer; false if the place is another's since. Under the lock under which `admit` gives it away: one of the two
    /// comes first.
    fn is_own(&mut self) -> bool {
        let Some(offer) = self.offer else { return true };
        let own = self.clients.offers().hang_up.remove(&offer);
        // One that went stays so, and is given back by nobody but the other.
        self.offer = self.offer.filter(|_| own.is_none());
        own.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_own() {
            self.clients.connected.add_permits(1);
        }
    }
}

impl Idle {
    /// Ends the idling of a client that has asked something, or goes; `None` if its place is another's since, so that it is to
    /// be hung up on all the same. Served, it would be one client more than may be.
    pub(super) fn stays(self) -> Option<Place> {
        let mut place = self.place;
        place.is_own().then_some(place)
    }

    /// Ready when the client is to be hung up on. Cancelling loses nothing.
    pub(super) async fn hung_up(&mut self) {
        // The sender goes away without a word only together with this.
        let _told = (&mut self.hung_up).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: usize = 64;

    fn at_work(clients: &Arc<Clients>, count: usize) -> Vec<Place> {
        (0..count).map(|_| clients.admit().expect("a place").stays().expect("its own")).collect()
    }

    #[test]
    fn one_client_too_many_takes_the_place_of_the_one_that_was_idle_longest() {
        let clients = Arc::new(Clients::new(CLIENTS));
        let mut places = at_work(&clients, CLIENTS);
        assert!(clients.admit().is_none(), "nobody is idle");
        let mut idle = || places.pop().expect("one at work").idle();
        let (mut first, mut second) = (idle(), idle());
        let newcomer = clients.admit().expect("the place of the first");
        assert!(first.hung_up.try_recv().is_ok());
        assert!(second.hung_up.try_recv().is_err());
        let _places = [second, newcomer].map(|idle| idle.stays().expect("its own"));
        assert!(clients.admit().is_none(), "nobody is idle");
    }

    #[test]
    fn of_many_that_come_at_once_none_is_turned_away_while_nobody_asks() {
        let clients = Arc::new(Clients::new(CLIENTS));
        // None of them has been served when the next comes.
        let mut came: Vec<Idle> = (0..4 * CLIENTS).map(|_| clients.admit().expect("a place")).collect();
        let places: Vec<Place> = came.drain(..).filter_map(Idle::stays).collect();
        assert_eq!(places.len(), CLIENTS);
        drop(places);
        assert_eq!(at_work(&clients, CLIENTS).len(), CLIENTS, "each place is given back once");
        drop(clients.admit().expect("they are free"));
    }

    #[test]
    fn whoever_asks_or_goes_after_its_place_was_given_away_has_none() {
        let clients = Arc::new(Clients::new(CLIENTS));
        let mut places = at_work(&clients, CLIENTS);
        let mut idle = || places.pop().expect("one at work").idle();
        let (early, late) = (idle(), idle());
        let newcomer = clients.admit().expect("the place of the early one");
        assert!(early.stays().is_none(), "its place is the newcomer's");
        let _places = [late, newcomer].map(|idle| idle.stays().expect("its own"));
        assert!(clients.admit().is_none(), "who asked is not hung up on");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_hung_up_on_when_nobody_is_idle() {
        let clients = Arc::new(Clients::new(CLIENTS));
        let mut places = at_work(&clients, CLIENTS);
        let (mut first, mut second) = (places.pop().expect("one"), places.pop().expect("one"));
        let idle = places.pop().expect("one").idle();
        let (taken, is_taken) = oneshot::channel();
        let newcomers = async {
            // Both are blocked by now, the first one for longer.
            let of_idle = clients.admit().expect("the place of the idle one").stays().expect("its own");
            let of_first = clients.admit().expect("the place of the first").stays().expect("its own");
            // The second one takes something before its place is wanted.
            taken.send(7).expect("it is waited for");
            tokio::task::yield_now().await;
            (of_idle, of_first)
        };
        let (hung_up, went_on, newcomers) = tokio::join!(
            biased;
            first.while_blocked(std::future::pending::<()>()),
            second.while_blocked(is_taken),
            newcomers
        );
        assert_eq!((hung_up, went_on), (None, Some(Ok(7))));
        assert!(idle.stays().is_none(), "an idle one goes first");
        assert!(clients.admit().is_none(), "who takes something is not hung up on");
        assert_eq!(second.while_blocked(std::future::ready(1)).await, Some(1));
        assert_eq!(first.while_blocked(std::future::ready(1)).await, None, "it stays hung up on");
        drop((first, second, newcomers, places));
        assert_eq!(at_work(&clients, CLIENTS).len(), CLIENTS, "each place is given back once");
        assert!(clients.offers().hang_up.is_empty());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_leaves_one_offer_and_takes_it_back() {
        let clients = Arc::new(Clients::new(1));
        let mut place = at_work(&clients, 1).pop().expect("one");
        for _ in 0..2 {
            let waits = place.while_blocked(std::future::pending::<()>());
            tokio::select! {
                biased;
                _ = waits => panic!("nobody came"),
                () = std::future::ready(()) => {}
            }
            assert_eq!(clients.offers().hang_up.len(), 1);
        }
        drop(place);
        assert!(clients.offers().hang_up.is_empty());
        drop(clients.admit().expect("it is free"));
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
