//! Control does not queue behind work: asks, waits and followers are bounded, and nothing else is.
//!
//! What lasts has [`LASTING`] places, whichever door it came through, and [`WAITING`] more wait for one; a program that may not
//! have as many connections gives it fewer. All other requests need no place and are answered at once, so a door must let in
//! more callers than these, or `stop` would wait outside. Bytes and connections are the door's to bound.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::answer::Progress;
use crate::refusal::{Code, Refusal, Unanswered};
use crate::sink::Sink;

/// How many asks, waits and followers are served at once, unless the service is given fewer places.
pub const LASTING: usize = 256;

/// How many more of them wait for a place, unless the service is given fewer; further ones are refused.
pub const WAITING: usize = 128;

/// The places of what lasts.
#[derive(Debug)]
pub(crate) struct Places {
    /// How many there are, for the words.
    all: usize,
    lasting: Semaphore,
    waiting: Semaphore,
}

impl Places {
    pub(crate) fn new(lasting: usize, waiting: usize) -> Self {
        Self { all: lasting, lasting: Semaphore::new(lasting), waiting: Semaphore::new(waiting) }
    }

    /// Takes a place, or waits for one and says so.
    pub(crate) async fn take(&self, sink: &mut impl Sink) -> Result<SemaphorePermit<'_>, Unanswered> {
        // The two semaphores are asked one after the other: a caller that gets a place at once must not hold,
        // even for a moment, a place of those that wait.
        if let Ok(place) = self.lasting.try_acquire() {
            return Ok(place);
        }
        // The permit is held for as long as this caller waits, and not longer.
        let all = self.all;
        let Ok(_may_wait) = self.waiting.try_acquire() else {
            let text = format!("{all} asks and followers are served, and more wait already; try again later");
            return Err(Refusal::new(Code::Busy, text).into());
        };
        let text = format!("one of the {all} asks and followers that are served at once to end");
        // Told at once: a client takes silence for a daemon that hangs.
        sink.item(Progress::Waiting { r#for: text }.into()).await?;
        tokio::select! {
            // First: a caller who went away while the last place was freed must not be obeyed.
            biased;
            gone = sink.gone() => Err(gone.into()),
            place = self.lasting.acquire() => Ok(place.expect("the semaphore is never closed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::answer::{Answer, Item};
    use crate::sink::Gone;

    /// Counts what it is told, and goes when it is notified.
    #[derive(Debug, Clone, Default)]
    struct Heard(Arc<(AtomicUsize, Notify)>);

    impl Sink for Heard {
        async fn item(&mut self, _item: Item) -> Result<(), Gone> {
            self.0.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        async fn end(&mut self, _end: Result<Answer, Refusal>) -> Result<(), Gone> {
            Ok(())
        }

        async fn gone(&mut self) -> Gone {
            self.0.1.notified().await;
            Gone
        }

        fn is_gone(&self) -> bool {
            false
        }
    }

    async fn all(places: &Places) -> Vec<SemaphorePermit<'_>> {
        let mut all = Vec::new();
        for _ in 0..LASTING {
            all.push(places.take(&mut Heard::default()).await.expect("there is one"));
        }
        all
    }

    async fn until_told(heard: &Heard) {
        while heard.0.0.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn whoever_finds_no_place_is_told_so_and_gets_the_next_one() {
        let places = Places::new(LASTING, WAITING);
        let mut held = all(&places).await;
        let heard = Heard::default();
        let mut waits = heard.clone();
        let freed = async {
            until_told(&heard).await;
            held.pop();
        };
        let (place, ()) = tokio::join!(places.take(&mut waits), freed);
        assert!(place.is_ok());
    }

    #[tokio::test]
    async fn only_so_many_wait_and_one_who_goes_leaves_the_place_to_another() {
        let places = Arc::new(Places::new(LASTING, WAITING));
        let held = all(&places).await;
        let sinks: Vec<Heard> = (0..WAITING).map(|_| Heard::default()).collect();
        let waiting: Vec<_> = sinks
            .iter()
            .map(|sink| {
                let (places, mut sink) = (Arc::clone(&places), sink.clone());
                tokio::spawn(async move { places.take(&mut sink).await.map(SemaphorePermit::forget) })
            })
            .collect();
        for sink in &sinks {
            until_told(sink).await;
        }
        let refused = places.take(&mut Heard::default()).await.expect_err("all wait already");
        assert!(matches!(refused, Unanswered::Refused(Refusal { code: Code::Busy, .. })));
        // Both at once: the callers go, and there are places.
        for sink in &sinks {
            sink.0.1.notify_one();
        }
        drop(held);
        for task in waiting {
            assert!(
                matches!(task.await.expect("no panic"), Err(Unanswered::Gone)),
                "who is gone takes no place"
            );
        }
        assert_eq!(all(&places).await.len(), LASTING, "every place is free again");
    }
}
