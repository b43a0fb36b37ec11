//! The places among the live CLIs of a program: who gets one, who gives one up, and who waits.
//!
//! A place is asked for before a CLI is spawned, and left when the CLI's tree is gone. The rules:
//!
//! - There are never more holders than places.
//! - Whoever finds no place waits, first come first served; a place that becomes free goes to one who waits.
//! - As long as more wait than places are on their way, the holder that has been idle longest is asked to go. A busy
//!   one never is, nor a pinned one, and nobody is asked for a place that nobody needs.
//! - A spare CLI, which has no session yet, is asked to go before any session, and takes no place that one waits for.
//! - Where the machine lacks something for one more CLI, the holder that has been idle longest is asked to go as well.
//! - When every place is held by a pinned holder, which gives none up, whoever waits is refused.
//!
//! Every step is O(log n). What it leads to is taken with [`poll_order`](Places::poll_order).

use std::collections::{BTreeMap, HashMap, VecDeque};

/// One request for a place, and the place once it is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The ticket has its place.
    Grant(Ticket),
    /// The holder is to give its place up, if it is still idle.
    Park(Ticket),
    /// There is no place for the ticket, and none will come: pinned holders have them all.
    Refuse(Ticket),
}

/// What a holder does with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Busy,
    /// Idle, since the time in its priority.
    Idle(Priority),
    /// Asked to go, or going by itself.
    Leaving,
}

/// Who is asked to go first, by the order of the fields: a spare before a session, then the one idle longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Priority {
    is_session: bool,
    since: u64,
}

#[derive(Debug)]
struct Holder {
    pinned: bool,
    does: Use,
}

/// The places of one program; see the [module](self).
#[derive(Debug)]
pub struct Places {
    limit: usize,
    next: u64,
    holders: HashMap<Ticket, Holder>,
    /// Who waits, in the order in which they asked, and whether they are pinned.
    waiting: BTreeMap<Ticket, bool>,
    /// Idle holders that are not pinned.
    idle: BTreeMap<Priority, Ticket>,
    pinned: usize,
    leaving: usize,
    orders: VecDeque<Order>,
}

impl Places {
    /// Makes `limit` places, at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            next: 0,
            holders: HashMap::new(),
            waiting: BTreeMap::new(),
            idle: BTreeMap::new(),
            pinned: 0,
            leaving: 0,
            orders: VecDeque::new(),
        }
    }

    /// How many places there are.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Asks for a place. A pinned holder keeps it however long it is idle.
    pub fn ask(&mut self, pinned: bool) -> Ticket {
        let ticket = Ticket(self.stamp());
        // Into the queue even where a place is free: taken past those who wait, it would be taken from the
        // first of them.
        self.waiting.insert(ticket, pinned);
        self.settle();
        ticket
    }

    /// Takes a place for a CLI that has no session yet, if there is one that nobody has or waits for.
    pub fn spare(&mut self) -> Option<Ticket> {
        // A session that waits has a turn to answer, and a spare only might have one.
        if self.holders.len() >= self.limit || !self.waiting.is_empty() {
            return None;
        }
        let ticket = Ticket(self.stamp());
        // Idle from the beginning, so that the spare can be asked to go as soon as a session needs its place.
        let priority = Priority { is_session: false, since: ticket.0 };
        self.holders.insert(ticket, Holder { pinned: false, does: Use::Idle(priority) });
        self.idle.insert(priority, ticket);
        Some(ticket)
    }

    /// A session takes a spare over, and has something to do; if it was asked to go, it stays.
    pub fn adopt(&mut self, ticket: Ticket, pinned: bool) {
        if let Some(holder) = self.holders.get_mut(&ticket) {
            self.pinned += usize::from(pinned);
            self.pinned -= usize::from(std::mem::replace(&mut holder.pinned, pinned));
        }
        self.busy(ticket);
    }

    /// The holder has nothing to do.
    pub fn idle(&mut self, ticket: Ticket) {
        let priority = Priority { is_session: true, since: self.stamp() };
        let Some(holder) = self.holders.get(&ticket) else { return };
        // A holder that is told idle twice keeps its first time: with the later one it would never be the one
        // that has been idle longest. A pinned holder is never in `idle`, which is the list of those that can
        // be asked.
        if holder.pinned || matches!(holder.does, Use::Idle(_)) {
            return;
        }
        // This takes a holder that was asked to go, and stays, out of `leaving` as well.
        self.uses(ticket, Use::Idle(priority));
        self.idle.insert(priority, ticket);
        self.settle();
    }

    /// The holder has something to do; if it was asked to go, it stays.
    pub fn busy(&mut self, ticket: Ticket) {
        // A holder that was asked to go and got a turn first stays; `settle` then asks another in its place,
        // or whoever waits for that place would wait for as long as the turn takes.
        self.uses(ticket, Use::Busy);
        self.settle();
    }

    /// The holder goes by itself: its place is on its way.
    pub fn leaving(&mut self, ticket: Ticket) {
        self.uses(ticket, Use::Leaving);
    }

    /// The holder is gone, or does not wait any more.
    pub fn leave(&mut self, ticket: Ticket) {
        // First out of `idle` and `leaving`: a holder that left as one of these would stay counted there, and
        // fewer would be asked to go than are needed.
        self.uses(ticket, Use::Busy);
        match self.holders.remove(&ticket) {
            Some(holder) => self.pinned -= usize::from(holder.pinned),
            // It gave up waiting. Granted later, its place would be held by nobody and never come back.
            None => drop(self.waiting.remove(&ticket)),
        }
        self.settle();
    }

    /// The machine had not enough for one more CLI: whoever has been idle longest is asked to go, unless one goes already.
    pub fn make_room(&mut self) {
        // One at a time: what it leaves may be enough, and whoever lacks it comes again.
        if self.leaving == 0 {
            self.park_one();
        }
    }

    /// The next thing to do.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    fn stamp(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn uses(&mut self, ticket: Ticket, does: Use) {
        let Some(holder) = self.holders.get_mut(&ticket) else { return };
        match std::mem::replace(&mut holder.does, does) {
            Use::Idle(priority) => drop(self.idle.remove(&priority)),
            Use::Leaving => self.leaving -= 1,
            Use::Busy => {}
        }
        self.leaving += usize::from(does == Use::Leaving);
    }

    /// Grants what is free, and asks for what is needed beyond that.
    fn settle(&mut self) {
        // Granted before anybody is asked to go: a place that is free parks no session.
        while self.holders.len() < self.limit
            && let Some((ticket, pinned)) = self.waiting.pop_first()
        {
            self.holders.insert(ticket, Holder { pinned, does: Use::Busy });
            self.pinned += usize::from(pinned);
            self.orders.push_back(Order::Grant(ticket));
        }
        // No place can become free by itself: whoever waited now would wait for ever and not know why.
        if self.pinned == self.limit {
            let refused = std::mem::take(&mut self.waiting);
            self.orders.extend(refused.into_keys().map(Order::Refuse));
        }
        // Those on their way count, so that two who wait do not have three sessions parked.
        while self.waiting.len() > self.leaving && self.park_one() {}
    }

    /// Asks the one that has been idle longest to go; `false` if nobody is idle.
    fn park_one(&mut self) -> bool {
        let Some((_, ticket)) = self.idle.first_key_value() else { return false };
        let ticket = *ticket;
        self.uses(ticket, Use::Leaving);
        self.orders.push_back(Order::Park(ticket));
        true
    }
}
