//! What is told to whoever listens, bounded in number and in bytes: one [ring](treewarden_otp_core::ring) for all of them.
//!
//! It is for the reports of supervisors and the events of registries. It must never make whoever tells something wait, and
//! never keep more for a listener who does not read: the oldest go, and the listener is told how many. Nothing is kept where
//! nobody listens, nor what all have read.
//!
//! There is one lock, around the ring. Nothing is awaited or dropped under it, and nothing else is locked.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use treewarden_otp_core::ring::{Cursor, Limits, Missed, Read, Ring};

/// How much is kept for those who listen.
pub(crate) const LIMITS: Limits = Limits { items: 1024, bytes: 8 << 20 };

/// Where events go.
pub(crate) struct Stream<T> {
    state: Mutex<State<T>>,
    /// Wakes those who have heard everything.
    news: Notify,
}

struct State<T> {
    ring: Ring<T>,
    /// How far each listener has come, by its number.
    listeners: HashMap<u64, Cursor>,
    next: u64,
    /// Nothing can come any more.
    ended: bool,
}

impl<T> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// What a listener does not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// So many events, which are gone.
    Missed(u64),
    /// Nothing can come any more.
    Ended,
}

impl<T: Clone> Stream<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State { ring: Ring::new(limits), listeners: HashMap::new(), next: 0, ended: false };
        Self { state: Mutex::new(state), news: Notify::new() }
    }

    /// Begins to listen: to what is told from now on.
    pub(crate) fn listen(self: &Arc<Self>) -> Listening<T> {
        let mut state = self.lock();
        let (id, cursor) = (state.next, state.ring.now());
        state.next += 1;
        state.listeners.insert(id, cursor);
        Listening { stream: Arc::clone(self), id }
    }

    /// Tells an event that takes so many bytes, if anybody listens.
    pub(crate) fn tell(&self, event: impl FnOnce() -> (usize, T)) {
        if !self.is_heard() {
            return;
        }
        // Made without the lock: it may run the code of whoever made its parts.
        let (size, event) = event();
        let mut state = self.lock();
        if state.listeners.is_empty() {
            return;
        }
        let gone: Vec<T> = std::iter::from_fn(|| state.ring.make_room(size)).collect();
        state.ring.push(size, |_| event);
        // Listeners are woken, and old events dropped, when the lock is free: each of them may take it.
        drop(state);
        drop(gone);
        self.news.notify_waiters();
    }

    /// Takes a listener one step on; `None` if it has heard everything, and more can come.
    fn step(&self, id: u64) -> Option<Result<T, Unheard>> {
        let mut state = self.lock();
        let State { ring, listeners, ended, .. } = &mut *state;
        // It stands there until it is dropped.
        let cursor = listeners.get_mut(&id)?;
        let told = match ring.read(cursor) {
            Read::Event(event) => Ok(event),
            Read::Missed(Missed::Gone(missed)) => Err(Unheard::Missed(missed)),
            Read::Nothing if *ended => Err(Unheard::Ended),
            // A listener comes from nowhere else, so that nothing else can be said of it.
            Read::Nothing | Read::Missed(_) => return None,
        };
        let gone = state.let_go();
        drop(state);
        drop(gone);
        Some(told)
    }
}

impl<T> Stream<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        !self.lock().listeners.is_empty()
    }

    /// Ends the stream: what was told is still heard.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.news.notify_waiters();
    }
}

impl<T> State<T> {
    /// Lets go of what every listener has heard; without a listener, of all.
    fn let_go(&mut self) -> Vec<T> {
        let heard = self.listeners.values().map(|cursor| cursor.seen()).min();
        let Self { ring, .. } = self;
        std::iter::from_fn(|| ring.let_go(heard.unwrap_or(u64::MAX))).collect()
    }
}

/// One listener's end of a stream.
pub(crate) struct Listening<T> {
    stream: Arc<Stream<T>>,
    id: u64,
}

impl<T> fmt::Debug for Listening<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T: Clone> Listening<T> {
    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// Events were missed, and the next call goes on after them; or the stream has ended.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<T, Unheard> {
        loop {
            // Made before the look: what is told between the look and the wait would wake nobody.
            let news = self.stream.news.notified();
            match self.stream.step(self.id) {
                Some(told) => return told,
                None => news.await,
            }
        }
    }
}

impl<T> Drop for Listening<T> {
    fn drop(&mut self) {
        let gone = {
            let mut state = self.stream.lock();
            state.listeners.remove(&self.id);
            state.let_go()
        };
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(items: usize, bytes: usize) -> Arc<Stream<Arc<u32>>> {
        Arc::new(Stream::new(Limits { items, bytes }))
    }

    fn tell(stream: &Stream<Arc<u32>>, size: usize, event: &Arc<u32>) {
        stream.tell(|| (size, Arc::clone(event)));
    }

    #[tokio::test]
    async fn a_listener_who_does_not_read_costs_no_more_than_the_bound_in_bytes_and_is_told_of_the_gap() {
        let stream = stream(1024, 100);
        let mut slow = stream.listen();
        let all: Vec<_> = (0..50).map(Arc::new).collect();
        all.iter().for_each(|event| tell(&stream, 10, event));
        let kept = all.iter().filter(|event| Arc::strong_count(event) > 1).count();
        assert_eq!(kept, 10, "10 bytes each, and 100 in all");
        assert_eq!(slow.next().await, Err(Unheard::Missed(40)));
        assert_eq!(slow.next().await.as_deref(), Ok(&40), "it goes on behind the gap");
        // One alone may be greater than the bound: untold, nobody would know that it is missing.
        let large = Arc::new(99);
        tell(&stream, 1000, &large);
        assert_eq!(slow.next().await, Err(Unheard::Missed(9)));
        assert_eq!(slow.next().await.as_deref(), Ok(&99));
    }

    #[tokio::test]
    async fn what_all_have_heard_is_let_go_and_what_one_has_not_is_kept_for_it() {
        let stream = stream(8, 100);
        let (mut quick, mut slow) = (stream.listen(), stream.listen());
        let event = Arc::new(1);
        tell(&stream, 1, &event);
        assert_eq!(quick.next().await.as_deref(), Ok(&1));
        assert_eq!(Arc::strong_count(&event), 2);
        assert_eq!(slow.next().await.as_deref(), Ok(&1));
        assert_eq!(Arc::strong_count(&event), 1, "both have heard it");
        tell(&stream, 1, &event);
        assert_eq!(quick.next().await.as_deref(), Ok(&1));
        drop(slow);
        assert_eq!(Arc::strong_count(&event), 1, "whoever has not heard it listens no more");
    }

    #[tokio::test]
    async fn nothing_is_made_or_kept_where_nobody_listens() {
        let stream = stream(8, 100);
        stream.tell(|| panic!("nobody would hear it"));
        let event = Arc::new(1);
        let listening = stream.listen();
        tell(&stream, 1, &event);
        drop(listening);
        assert_eq!(Arc::strong_count(&event), 1);
        let mut late = stream.listen();
        tell(&stream, 1, &Arc::new(2));
        assert_eq!(late.next().await.as_deref(), Ok(&2), "it hears what is told from then on");
    }

    #[tokio::test]
    async fn a_listener_waits_for_what_is_told_and_hears_all_of_it_before_the_end() {
        let stream = stream(8, 100);
        let mut listening = stream.listen();
        let heard = tokio::spawn(async move { [listening.next().await, listening.next().await] });
        tokio::task::yield_now().await;
        tell(&stream, 1, &Arc::new(1));
        stream.end();
        assert_eq!(heard.await.expect("it ends"), [Ok(Arc::new(1)), Err(Unheard::Ended)]);
    }

    /// Tells again when it is dropped.
    #[derive(Debug, Clone)]
    struct Echo(Option<Arc<Stream<Self>>>);

    impl Drop for Echo {
        fn drop(&mut self) {
            if let Some(stream) = self.0.take() {
                stream.tell(|| (1, Self(None)));
            }
        }
    }

    #[tokio::test]
    async fn an_event_whose_drop_tells_another_does_not_wait_for_itself() {
        let stream = Arc::new(Stream::new(Limits { items: 1, bytes: 100 }));
        let mut listening = stream.listen();
        stream.tell(|| (1, Echo(Some(Arc::clone(&stream)))));
        stream.tell(|| (1, Echo(None)));
        assert!(
            matches!(listening.next().await, Err(Unheard::Missed(2))),
            "the echo has taken the last place"
        );
        assert!(listening.next().await.is_ok_and(|echo| echo.0.is_none()));
    }
}
