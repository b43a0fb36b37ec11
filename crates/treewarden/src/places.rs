//! The places among the live CLIs of a program, for the tasks that ask for them.
//!
//! The decisions are [`treewarden_core::places`]'. This file wakes whoever got a place, that one alone, and tells the
//! engine of an idle session that its place is wanted. A program without `max_live` has no places to run out of, and
//! pays for none.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::oneshot;
use treewarden_core::places::{Order, Places as Machine, Ticket};

/// A session as the places see it: one that may have a place, and may be asked to give it up.
pub(crate) trait Tenant: Send + Sync {
    /// It is never asked to.
    fn is_pinned(&self) -> bool;

    /// Asks it to park its CLI. It is called without a lock of the places, and may be late: then the place is free by now, or
    /// about to be.
    fn park(&self);
}

/// The places of one program; a cheap clone.
#[derive(Clone)]
pub(crate) struct Places(Option<Arc<Shared>>);

struct Shared {
    inner: Mutex<Inner>,
}

struct Inner {
    machine: Machine,
    askers: HashMap<Ticket, Asker>,
}

struct Asker {
    who: Who,
    /// Told once whether there is a place.
    answer: Option<oneshot::Sender<bool>>,
}

/// Whose place it is, or may become.
enum Who {
    Session(Weak<dyn Tenant>),
    /// A CLI that has no session yet, which is told once that its place is wanted.
    Spare(Option<oneshot::Sender<()>>),
}

impl Who {
    fn of<T: Tenant + 'static>(session: &Arc<T>) -> Self {
        let session: Weak<T> = Arc::downgrade(session);
        Self::Session(session)
    }
}

/// A place among the live CLIs, from before the spawn to the end of the tree; dropping it gives it up.
pub(crate) struct Place(Option<(Arc<Shared>, Ticket)>);

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.0.as_ref().map(|(_, ticket)| ticket)).finish()
    }
}

/// A request for a place; dropping it takes it back.
pub(crate) struct Request {
    place: Place,
    answer: Option<oneshot::Receiver<bool>>,
}

/// Sessions that are never parked have all places, so that no wait would end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AllPinned {
    /// How many places there are.
    pub(crate) limit: usize,
}

impl Places {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self(limit.map(|limit| {
            let inner = Inner { machine: Machine::new(limit), askers: HashMap::new() };
            Arc::new(Shared { inner: Mutex::new(inner) })
        }))
    }

    /// Asks for a place for this session.
    pub(crate) fn ask<T: Tenant + 'static>(&self, session: &Arc<T>) -> Request {
        let Some(shared) = &self.0 else { return Request { place: Place(None), answer: None } };
        let (tell, answer) = oneshot::channel();
        // The asker is entered under the lock that gave the ticket: a grant that came in between would find
        // nobody to tell.
        let ticket = shared.with(|inner| {
            let ticket = inner.machine.ask(session.is_pinned());
            let who = Who::of(session);
            inner.askers.insert(ticket, Asker { who, answer: Some(tell) });
            ticket
        });
        Request { place: Place(Some((Arc::clone(shared), ticket))), answer: Some(answer) }
    }

    /// The machine had not enough for one more CLI: an idle session is asked to park its own.
    pub(crate) fn make_room(&self) {
        if let Some(shared) = &self.0 {
            shared.with(|inner| inner.machine.make_room());
        }
    }

    /// Takes a place for a CLI that has no session yet, if there is one that nobody has or waits for.
    pub(crate) fn spare(&self) -> Option<SparePlace> {
        let Some(shared) = &self.0 else { return Some(SparePlace { place: Place(None), wanted: None }) };
        let (tell, wanted) = oneshot::channel();
        // The spare is entered under the same lock, too: its place may be wanted at once.
        let ticket = shared.with(|inner| {
            let ticket = inner.machine.spare()?;
            inner.askers.insert(ticket, Asker { who: Who::Spare(Some(tell)), answer: None });
            Some(ticket)
        })?;
        Some(SparePlace { place: Place(Some((Arc::clone(shared), ticket))), wanted: Some(wanted) })
    }
}

/// The place of a CLI that has no session yet.
#[derive(Debug)]
pub(crate) struct SparePlace {
    place: Place,
    wanted: Option<oneshot::Receiver<()>>,
}

impl SparePlace {
    /// Ready when a session needs the place; only the first call is told.
    pub(crate) fn wanted(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let wanted = self.wanted.take();
        async move {
            match wanted {
                Some(wanted) => drop(wanted.await),
                None => std::future::pending().await,
            }
        }
    }

    /// Hands the place to a session that takes the CLI.
    pub(crate) fn adopt<T: Tenant + 'static>(self, session: &Arc<T>) -> Place {
        if let Some((shared, ticket)) = &self.place.0 {
            shared.with(|inner| {
                inner.machine.adopt(*ticket, session.is_pinned());
                let who = Who::of(session);
                // The session's entry takes the place of the pool's: from now on the session is asked to give
                // the place up.
                inner.askers.insert(*ticket, Asker { who, answer: None });
            });
        }
        self.place
    }
}

impl Shared {
    /// Changes the places, and does what follows when the lock is free again.
    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut inner);
        let mut wanted = Vec::new();
        // Orders are carried out under the lock, in the order in which they were decided; to send wakes a
        // task, and runs nothing of it.
        while let Some(order) = inner.machine.poll_order() {
            match order {
                Order::Grant(ticket) => inner.tell(ticket, true),
                Order::Refuse(ticket) => inner.tell(ticket, false),
                Order::Park(ticket) => match inner.askers.get_mut(&ticket).map(|asker| &mut asker.who) {
                    // The session is only kept here: to ask it, or to drop the last reference to it, takes
                    // its own locks.
                    Some(Who::Session(session)) => wanted.extend(session.upgrade()),
                    // The CLI may be ending by itself, and its place is free then or about to be.
                    Some(Who::Spare(tell)) => drop(tell.take().map(|tell| tell.send(()))),
                    None => {}
                },
            }
        }
        drop(inner);
        // Sessions are asked when the lock is free: `park` takes the lock of a desk, for which there is no
        // order with this one.
        for session in wanted {
            session.park();
        }
        result
    }
}

impl Inner {
    fn tell(&mut self, ticket: Ticket, granted: bool) {
        if let Some(answer) = self.askers.get_mut(&ticket).and_then(|asker| asker.answer.take()) {
            // Whoever is gone has left its place, or is about to.
            let _gone = answer.send(granted);
        }
    }
}

impl Request {
    /// Tells whether there was no place at once.
    pub(crate) fn waits(&self) -> bool {
        self.answer.as_ref().is_some_and(oneshot::Receiver::is_empty)
    }

    /// Waits for the place; the wait is fair.
    pub(crate) async fn granted(self) -> Result<Place, AllPinned> {
        let Self { place, answer } = self;
        let Some(answer) = answer else { return Ok(place) };
        // A sender that is gone is that of a machine that is gone; then there is no place to be had.
        if answer.await.unwrap_or(false) { Ok(place) } else { Err(AllPinned { limit: place.limit() }) }
    }
}

impl Place {
    fn with(&self, change: impl FnOnce(&mut Machine, Ticket)) {
        if let Some((shared, ticket)) = &self.0 {
            shared.with(|inner| change(&mut inner.machine, *ticket));
        }
    }

    fn limit(&self) -> usize {
        self.0.as_ref().map_or(usize::MAX, |(shared, _)| shared.with(|inner| inner.machine.limit()))
    }

    /// Its CLI waits for a turn, so that another session may ask for the place.
    pub(crate) fn idle(&self) {
        self.with(Machine::idle);
    }

    /// Its CLI works: the place is not to be had.
    pub(crate) fn busy(&self) {
        self.with(Machine::busy);
    }

    /// Its CLI is being ended: the place is on its way.
    pub(crate) fn leaving(&self) {
        self.with(Machine::leaving);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((shared, ticket)) = &self.0 {
            shared.with(|inner| {
                inner.machine.leave(*ticket);
                inner.askers.remove(ticket);
            });
        }
    }
}
