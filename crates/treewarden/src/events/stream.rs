//! The stream: who publishes into the ring, who reads from it, and how readers are woken.
//!
//! There is one lock, around the ring. It is held for a push or for one step of one reader, never over an await, and
//! nothing else is locked under it; whoever publishes may hold the lock of a session.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use treewarden_core::events::{Boot, Cursor, Limits, Missed, Position, Read, Ring};
use treewarden_proto::SessionName;
use treewarden_store::now;

use super::event::{Gap, GapKind, HostEvent, Site};
use super::happening::Happening;

/// How much is kept for those who come late or read slowly.
const LIMITS: Limits = Limits { items: 1024, bytes: 8 << 20 };

struct Shared {
    boot: Boot,
    state: Mutex<State>,
    /// Wakes those who have read everything.
    news: Notify,
}

struct State {
    ring: Ring<Arc<HostEvent>>,
    /// Nothing can come any more.
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gap(&self, missed: Missed) -> Gap {
        let (missed, why) = match missed {
            Missed::Gone(missed) => (Some(missed), GapKind::Gone),
            Missed::OtherLife => (None, GapKind::OtherLife),
            Missed::NotGiven => (None, GapKind::NotGiven),
        };
        Gap { at: now(), boot: self.boot, missed, why }
    }

    /// Takes a reader one step on; `Err` says whether more can come.
    fn step(&self, cursor: &mut Cursor) -> Result<Result<Arc<HostEvent>, Gap>, bool> {
        let state = self.lock();
        match state.ring.read(cursor) {
            Read::Event(event) => Ok(Ok(event)),
            Read::Missed(missed) => Ok(Err(self.gap(missed))),
            Read::Nothing => Err(!state.ended),
        }
    }
}

/// The events of a host: what happened lately to its sessions and supervisors, and what happens; a cheap clone.
///
/// The last 1,024 events are kept, 8 MiB of them at most, whether anybody reads or not. An event of more than 256 KiB, such
/// as a large frame of a CLI, is cut down to what it is. A reader holds nothing of its own: one that is too slow finds that
/// events are gone, and is told how many. See `docs/events.md` for all kinds of events.
///
/// # Examples
///
/// ```no_run
/// # async fn run(host: treewarden::Host) {
/// use treewarden::events::Happening;
///
/// let mut reader = host.events().now();
/// while let Some(event) = reader.next().await {
///     match event {
///         Ok(event) => match &event.what {
///             Happening::Exited { class } => println!("{}: its CLI ended: {class}", event.path),
///             _ => {}
///         },
///         Err(gap) => println!("{gap}"),
///     }
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Events(Arc<Shared>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.latest()).finish()
    }
}

impl Events {
    fn new(limits: Limits) -> Self {
        let state = Mutex::new(State { ring: Ring::new(limits), ended: false });
        Self(Arc::new(Shared { boot: another_life(), state, news: Notify::new() }))
    }

    /// Begins to read what happens from now on.
    #[must_use]
    pub fn now(&self) -> Reader {
        self.reader(Ring::now)
    }

    /// Begins to read all that is kept, and then what happens.
    #[must_use]
    pub fn kept(&self) -> Reader {
        self.reader(Ring::kept)
    }

    /// Goes on behind the last event that was seen.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(host: treewarden::Host) {
    /// let events = host.events();
    /// let mut reader = events.kept();
    /// let seen = match reader.next().await {
    ///     Some(Ok(event)) => event.position(),
    ///     _ => events.latest(),
    /// };
    /// // A client that was away: it gets what it missed, or is told how much of that is gone.
    /// let mut again = events.since(seen);
    /// # again.next().await;
    /// # }
    /// ```
    ///
    /// What is kept since then comes first, and then what happens. If some of it is not kept any more, a [`Gap`] with its
    /// number comes before. A position of another life of the host, or with a number that this one has not given yet, gives a gap without a
    /// number, and then all that is kept.
    #[must_use]
    pub fn since(&self, position: Position) -> Reader {
        let seq = (position.boot == self.0.boot).then_some(position.seq);
        self.reader(|ring| ring.after(seq))
    }

    /// The position of the latest event: whoever keeps it can go on behind that with [`since`](Self::since).
    #[must_use]
    pub fn latest(&self) -> Position {
        Position { boot: self.0.boot, seq: self.0.lock().ring.last() }
    }

    fn reader(&self, begin: impl FnOnce(&Ring<Arc<HostEvent>>) -> Cursor) -> Reader {
        let cursor = begin(&self.0.lock().ring);
        Reader { shared: Arc::clone(&self.0), cursor }
    }

    /// Adds an event. Nobody is waited for, and nothing is written as text.
    pub(crate) fn publish(&self, at: Site, name: Option<SessionName>, what: Happening) {
        let what = what.cut();
        let size = HostEvent::size(&at, &what);
        let Site { path, place } = at;
        let boot = self.0.boot;
        let mut state = self.0.lock();
        // Read under the lock, so that of two events the later one has no earlier time.
        let at = now();
        state.ring.push(size, |seq| Arc::new(HostEvent { boot, seq, at, path, place, name, what }));
        // Readers are woken when the lock is free: each of them takes it first.
        drop(state);
        self.0.news.notify_waiters();
    }
}

/// What is published is published as long as this lives; then the readers come to an end.
#[derive(Debug)]
pub(crate) struct Publisher(Events);

impl Publisher {
    pub(crate) fn new() -> Self {
        Self(Events::new(LIMITS))
    }

    pub(crate) fn events(&self) -> &Events {
        &self.0
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // What was published is still read; only then a reader ends.
        self.0.0.lock().ended = true;
        self.0.0.news.notify_waiters();
    }
}

/// Reads the events of a host, one after another; see [`Events`].
pub struct Reader {
    shared: Arc<Shared>,
    cursor: Cursor,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reader").field(&self.position()).finish()
    }
}

impl Reader {
    /// Waits for the next event; `None` when the last handle of the host is gone, and everything was read.
    ///
    /// # Errors
    ///
    /// [`Gap`] says that events were missed; the next call goes on behind them.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Arc<HostEvent>, Gap>> {
        let Self { shared, cursor } = self;
        loop {
            // Made before the look: what is published between the look and the wait would wake nobody.
            let news = shared.news.notified();
            match shared.step(cursor) {
                Ok(read) => return Some(read),
                Err(true) => news.await,
                Err(false) => return None,
            }
        }
    }

    /// The next event, if there is one already.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn try_next(&mut self) -> Option<Result<Arc<HostEvent>, Gap>> {
        self.shared.step(&mut self.cursor).ok()
    }

    /// How far it has come: behind the last event that it read or was told that it missed.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { boot: self.shared.boot, seq: self.cursor.seen() }
    }
}

/// A name for this life of the host, which no other has: it is random, and the time and the process go into it.
fn another_life() -> Boot {
    // Random, and no counter: one life knows nothing of another, and a place in that must not be taken for
    // one in this.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_u128(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
    Boot::new(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use treewarden_proto::frame::Frame;

    use super::*;

    fn saved(events: &Events) {
        events.publish(Site::of("a"), "a".parse().ok(), Happening::Saved);
    }

    async fn seq(reader: &mut Reader) -> u64 {
        reader.next().await.expect("the stream goes on").expect("nothing is missed").seq
    }

    fn small(items: usize) -> Publisher {
        Publisher(Events::new(Limits { items, bytes: 1 << 20 }))
    }

    #[test]
    fn no_two_lives_have_one_name() {
        assert_ne!(another_life(), another_life());
    }

    #[tokio::test]
    async fn a_reader_that_keeps_its_position_goes_on_behind_it() {
        let publisher = small(8);
        let events = publisher.events();
        (0..4).for_each(|_| saved(events));
        let mut first = events.kept();
        assert_eq!((seq(&mut first).await, seq(&mut first).await), (1, 2));
        let mut second = events.since(first.position());
        drop(first);
        assert_eq!((seq(&mut second).await, seq(&mut second).await), (3, 4));
        assert!(second.try_next().is_none());
        assert_eq!(second.position(), events.latest());
    }

    #[tokio::test]
    async fn a_gap_is_the_readers_own_and_takes_no_number() {
        let publisher = small(2);
        let events = publisher.events();
        let (mut slow, mut other) = (events.now(), events.now());
        saved(events);
        assert_eq!(seq(&mut other).await, 1);
        (0..3).for_each(|_| saved(events));
        let gap = slow.next().await.expect("the stream goes on").expect_err("two are gone");
        assert_eq!(gap.missed, Some(2));
        assert_eq!((seq(&mut slow).await, seq(&mut slow).await), (3, 4));
        assert_eq!(other.next().await.expect("the stream goes on").expect_err("one is gone").missed, Some(1));
        assert_eq!(events.latest().seq, 4);
    }

    #[tokio::test]
    async fn a_position_of_another_life_gives_a_gap_without_a_number_and_then_all_that_is_kept() {
        let (old, new) = (small(8), small(8));
        (0..3).for_each(|_| saved(old.events()));
        saved(new.events());
        let mut reader = new.events().since(old.events().latest());
        let gap = reader.next().await.expect("the stream goes on").expect_err("nobody knows what was missed");
        assert_eq!((gap.missed, gap.boot), (None, new.events().latest().boot));
        let value = serde_json::to_value(&gap).expect("it can be written");
        assert_eq!((value["event"].as_str(), value["events"].is_null()), (Some("missed"), true), "{value}");
        assert_eq!(value["why"], "other_life");
        assert_eq!(seq(&mut reader).await, 1);
    }

    #[tokio::test]
    async fn a_position_that_is_yet_to_come_is_not_taken_for_one_of_another_life() {
        let publisher = small(8);
        saved(publisher.events());
        let mut to_come = publisher.events().latest();
        to_come.seq += 1;
        let mut reader = publisher.events().since(to_come);
        let gap = reader.next().await.expect("the stream goes on").expect_err("nobody has seen that");
        assert_eq!((gap.missed, gap.why), (None, GapKind::NotGiven));
        assert!(!gap.to_string().contains("another life"), "{gap}");
        assert_eq!(serde_json::to_value(&gap).expect("it can be written")["why"], "not_given");
        assert_eq!(seq(&mut reader).await, 1);
    }

    #[tokio::test]
    async fn one_that_waits_is_woken_by_an_event_and_by_the_end() {
        let publisher = small(2);
        let mut reader = publisher.events().now();
        let waits = tokio::spawn(async move {
            let first = seq(&mut reader).await;
            (first, reader.next().await.is_none())
        });
        tokio::task::yield_now().await;
        saved(publisher.events());
        tokio::task::yield_now().await;
        drop(publisher);
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), waits).await;
        assert_eq!(read.expect("it is woken").expect("it does not panic"), (1, true));
    }

    #[tokio::test]
    async fn what_was_published_before_the_end_is_read_after_it() {
        let publisher = small(2);
        let mut reader = publisher.events().now();
        saved(publisher.events());
        drop(publisher);
        assert_eq!(seq(&mut reader).await, 1);
        assert!(reader.next().await.is_none());
    }

    #[test]
    fn events_of_any_size_take_no_more_memory_than_they_may() {
        let publisher = Publisher::new();
        let mut slow = publisher.events().now();
        for size in [1 << 20, LIMITS.bytes / 64] {
            let line = format!("{{\"type\":\"status\",\"pad\":\"{}\"}}", "x".repeat(size));
            let frame = Frame::parse(line.into()).expect("it is a frame");
            for _ in 0..400 {
                publisher.events().publish(Site::of("a"), None, Happening::unsolicited(&frame));
            }
            let mut held = 0;
            let mut reader = publisher.events().kept();
            while let Some(Ok(event)) = reader.try_next() {
                held += HostEvent::size(&Site::of("a"), &event.what);
            }
            assert!(held <= LIMITS.bytes, "{held}");
        }
        let gap = slow.try_next().expect("there is something").expect_err("the first are gone");
        assert!(gap.missed.is_some_and(|missed| missed > 400), "{gap}");
    }

    #[test]
    fn numbers_have_no_hole_whoever_publishes() {
        const EACH: u64 = 200;
        let publisher = small(1024);
        let events = publisher.events();
        let together = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    together.wait();
                    (0..EACH).for_each(|_| saved(events));
                });
            }
        });
        let mut reader = events.kept();
        let all: Vec<_> =
            std::iter::from_fn(|| reader.try_next()).map(|event| event.expect("all are kept")).collect();
        let seqs: Vec<u64> = all.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=4 * EACH).collect::<Vec<_>>());
    }
}
