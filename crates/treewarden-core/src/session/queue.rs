//! What waits in a session, in order; what of it the engine of the moment knows; and what is asked of that engine.
//!
//! It keeps the order and the bounds. It is not for the journal, and must never deliver an outcome or wake anybody: what is
//! taken out of it is the caller's to see to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use treewarden_proto::{SessionId, TurnId};

use super::event::{Item, OpenTurn, StopReason};
use super::flight::DrainReason;
use super::limited::Patience;
use super::prompt::Prompt;
use crate::limits::Size;

/// How many turns and clears a session's queue holds at most.
pub const QUEUE: usize = 64;

/// How many bytes the prompts in a session's queue take at most together; one alone may take more.
pub const PROMPTS: usize = 64 << 20;

/// How many consumers a turn can have.
pub const CONSUMERS: usize = 64;

/// Something in a session's queue.
///
/// `S` is a consumer's end of a turn, and `C` is that of whoever waits for a clear; neither is ever used here.
#[derive(Debug)]
pub enum Entry<S, C> {
    /// A turn that is open.
    Turn(Box<TurnEntry<S>>),
    /// Whoever waits for the new conversation is told through it.
    Clear(C),
}

/// An open turn, with whoever waits for it.
#[derive(Debug)]
pub struct TurnEntry<S> {
    /// The turn, as the machine is told of it.
    pub open: OpenTurn,
    /// The conversation in which it was asked.
    pub asked_in: SessionId,
    /// What is sent to a CLI.
    pub prompt: Arc<Prompt>,
    /// How many bytes that takes.
    pub bytes: usize,
    /// How many CLIs died while they worked at it.
    pub interruptions: u32,
    /// It is in the CLI of the moment.
    pub in_flight: bool,
    /// An earlier host opened it, or one that lives still.
    pub restored: bool,
    /// Those who consume it.
    pub sinks: Vec<Arc<S>>,
}

/// What a handle asks of the engine of the moment.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// The turn is to end for this reason, also where it has not begun.
    Cancel(TurnId, DrainReason),
    /// What the CLI works at by itself is to be interrupted.
    InterruptOwnWork,
    /// The CLI is to be ended.
    Stop(StopReason),
    /// The CLI of this process id takes too much memory, with what it started.
    TooLarge {
        /// The CLI that is meant: the next one may be there by the time this is read.
        pid: u32,
        /// How much.
        taken: Size,
    },
    /// The options are others now; the CLI is to be replaced if they concern it.
    Configure {
        /// They concern it.
        renew: bool,
    },
}

/// Whether there is room for one more turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// A place is reserved.
    Reserved,
    /// There are as many turns and clears as may be.
    TooMany,
    /// The prompts take as many bytes as they may.
    TooLarge,
}

/// Whether a consumer joined a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// It did.
    Yes,
    /// The turn is not in the queue.
    NotOpen,
    /// The turn has as many consumers as it may have.
    TooMany,
}

/// The queue of a session: what waits in it, in which order, and what its engine knows of that.
#[derive(Debug)]
pub struct Queue<S, C> {
    entries: VecDeque<Entry<S, C>>,
    /// How many entries, counted from the front, the engine of the moment knows.
    taken: usize,
    /// Places that are taken by turns on their way to the journal.
    reserved: usize,
    /// How many bytes the prompts take of what waits, and of what has a place reserved.
    bytes: usize,
    commands: VecDeque<Command>,
}

impl<S, C> Default for Queue<S, C> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), taken: 0, reserved: 0, bytes: 0, commands: VecDeque::new() }
    }
}

impl<S, C> Queue<S, C> {
    /// Reserves a place for a prompt of so many bytes, unless none is left beside so many that are taken otherwise.
    pub fn reserve(&mut self, besides: usize, bytes: usize) -> Room {
        // Turns on their way to the journal count: otherwise a hundred callers who are stored at the same
        // moment would all fit.
        if self.entries.len() + self.reserved + besides >= QUEUE {
            return Room::TooMany;
        }
        if self.bytes > 0 && self.bytes + bytes > PROMPTS {
            return Room::TooLarge;
        }
        self.reserved += 1;
        self.bytes += bytes;
        Room::Reserved
    }

    /// Whether a turn has a place reserved that it has not taken yet.
    pub fn awaits_turns(&self) -> bool {
        self.reserved > 0
    }

    /// Gives a reserved place back, with its bytes, or up to what is put there before anybody else can ask.
    pub fn give_back(&mut self, bytes: usize) {
        self.reserved -= 1;
        self.bytes -= bytes;
    }

    /// Puts something behind all that waits.
    pub fn push(&mut self, entry: Entry<S, C>) {
        if let Entry::Turn(entry) = &entry {
            self.bytes += entry.bytes;
        }
        self.entries.push_back(entry);
    }

    /// How many entries wait or run.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing waits or runs.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Nothing waits or runs, and nothing is on its way here.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.reserved == 0
    }

    /// There is something for an engine to do.
    pub fn has_work(&self) -> bool {
        !self.entries.is_empty() || !self.commands.is_empty()
    }

    /// Notes a command, unless it is noted already. So there are never more than one cancel for each turn,
    /// one interrupt of own work, three kinds of stop and two of `Configure`.
    pub fn command(&mut self, command: Command) {
        if !self.commands.contains(&command) {
            self.commands.push_back(command);
        }
    }

    /// All that waits, for a new engine.
    pub fn take_all(&mut self) -> Vec<Item> {
        // A new machine knows nothing of what its predecessor was given.
        self.taken = 0;
        self.take_items()
    }

    /// What is new to the engine of the moment.
    pub fn take_new(&mut self) -> (Vec<Item>, VecDeque<Command>) {
        (self.take_items(), std::mem::take(&mut self.commands))
    }

    fn take_items(&mut self) -> Vec<Item> {
        let from = std::mem::replace(&mut self.taken, self.entries.len());
        let item = |entry: &Entry<S, C>| match entry {
            Entry::Turn(entry) => Item::Turn(entry.open.clone()),
            Entry::Clear(_) => Item::Clear,
        };
        self.entries.range(from..).map(item).collect()
    }

    /// The engine of the moment is gone: what was asked of it concerns no other, but for the end of a turn that is open still.
    pub fn forget_engine(&mut self) {
        let open: Vec<TurnId> = self.turns().collect();
        // Whoever had a turn end was told that it does: forgotten with the engine, the next CLI would run it on.
        self.commands.retain(|command| matches!(command, Command::Cancel(turn, _) if open.contains(turn)));
        self.taken = 0;
    }

    /// The turns that somebody had end, and that no engine was told of.
    pub fn take_cancels(&mut self) -> Vec<(TurnId, DrainReason)> {
        let cancel = |command: &Command| match command {
            Command::Cancel(turn, reason) => Some((*turn, *reason)),
            _ => None,
        };
        let cancels = self.commands.iter().filter_map(cancel).collect();
        self.commands.retain(|command| cancel(command).is_none());
        cancels
    }

    /// Notes when the time of a turn is over, which the next engine goes by.
    pub fn keep_deadline(&mut self, turn: TurnId, deadline: Instant) {
        if let Some(entry) = self.turn_mut(turn) {
            entry.open.deadline = Some(deadline);
        }
    }

    /// The open turns whose time has begun, each with its end.
    pub fn deadlines(&self) -> impl Iterator<Item = (TurnId, Instant)> {
        self.turns().filter_map(|turn| Some((turn, self.turn(turn)?.open.deadline?)))
    }

    /// The turn that is under way, or next.
    pub fn first_open(&self) -> Option<TurnId> {
        self.turns().next()
    }

    /// The open turns, in order.
    pub fn turns(&self) -> impl Iterator<Item = TurnId> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Turn(entry) => Some(entry.open.turn),
            Entry::Clear(_) => None,
        })
    }

    /// An open turn.
    pub fn turn(&self, turn: TurnId) -> Option<&TurnEntry<S>> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Turn(entry) if entry.open.turn == turn => Some(&**entry),
            _ => None,
        })
    }

    fn turn_mut(&mut self, turn: TurnId) -> Option<&mut TurnEntry<S>> {
        self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Turn(entry) if entry.open.turn == turn => Some(&mut **entry),
            _ => None,
        })
    }

    /// Lets another consumer wait for an open turn.
    pub fn attach(&mut self, turn: TurnId, sink: &Arc<S>) -> Attached {
        let Some(entry) = self.turn_mut(turn) else { return Attached::NotOpen };
        // The queue has one reference, and the consumer the other: where only ours is left, nobody reads any
        // more.
        entry.sinks.retain(|sink| Arc::strong_count(sink) > 1);
        if entry.sinks.len() >= CONSUMERS {
            return Attached::TooMany;
        }
        entry.sinks.push(Arc::clone(sink));
        Attached::Yes
    }

    /// Notes that the CLI of the moment has the turn, and counts that once for each CLI.
    pub fn in_flight(&mut self, turn: TurnId) -> Option<&mut TurnEntry<S>> {
        let entry = self.turn_mut(turn)?;
        if !std::mem::replace(&mut entry.in_flight, true) {
            // Otherwise a turn that kills every CLI before it is sent to one would have attempts without end.
            entry.open.attempts += 1;
        }
        Some(entry)
    }

    /// Notes that a turn is gone on with in the CLI of the moment.
    pub fn gone_on(&mut self, turn: TurnId, deadline: Option<Instant>, patience: Patience) {
        if let Some(entry) = self.turn_mut(turn) {
            (entry.open.deadline, entry.open.patience) = (deadline, patience);
        }
    }

    /// A turn waits that bears with usage limits.
    pub fn has_patient(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry, Entry::Turn(entry) if entry.open.patience.limit_until.is_some()))
    }

    /// Counts a crash against the turns that were in the CLI, and says which, and how often that has happened to each.
    pub fn interrupted(&mut self) -> Vec<(TurnId, u32, Vec<Arc<S>>)> {
        let mut hit = Vec::new();
        for entry in &mut self.entries {
            if let Entry::Turn(entry) = entry
                && std::mem::take(&mut entry.in_flight)
            {
                entry.interruptions += 1;
                hit.push((entry.open.turn, entry.interruptions, entry.sinks.clone()));
            }
        }
        hit
    }

    /// Takes a turn out.
    pub fn remove(&mut self, turn: TurnId) -> Option<Box<TurnEntry<S>>> {
        let is = |entry: &Entry<S, C>| matches!(entry, Entry::Turn(entry) if entry.open.turn == turn);
        match self.remove_first(is)? {
            Entry::Turn(entry) => Some(entry),
            Entry::Clear(_) => None,
        }
    }

    /// Takes the foremost clear out, which was carried out.
    pub fn remove_clear(&mut self) -> Option<C> {
        match self.remove_first(|entry| matches!(entry, Entry::Clear(_)))? {
            Entry::Clear(done) => Some(done),
            Entry::Turn(_) => None,
        }
    }

    /// Takes a clear out that is foremost.
    pub fn take_clear(&mut self) -> Option<C> {
        let is_next = matches!(self.entries.front(), Some(Entry::Clear(_)));
        if is_next { self.remove_clear() } else { None }
    }

    fn remove_first(&mut self, is: impl Fn(&Entry<S, C>) -> bool) -> Option<Entry<S, C>> {
        let at = self.entries.iter().position(is)?;
        // `taken` counts from the front. An entry that the engine knows shifts the others down; one that it
        // does not know yet leaves the count as it is.
        if at < self.taken {
            self.taken -= 1;
        }
        let removed = self.entries.remove(at)?;
        if let Entry::Turn(entry) = &removed {
            self.bytes -= entry.bytes;
        }
        Some(removed)
    }

    /// Takes all out, with what was asked of the engine.
    pub fn drain(&mut self) -> VecDeque<Entry<S, C>> {
        let entries = std::mem::take(&mut self.entries);
        for entry in &entries {
            if let Entry::Turn(entry) = entry {
                self.bytes -= entry.bytes;
            }
        }
        self.forget_engine();
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Delivery;

    /// A queue whose clears are numbered.
    type Queue = super::Queue<(), u8>;

    fn turn(queue: &mut Queue) -> TurnId {
        let turn = TurnId::new();
        let delivery = Delivery::ExactlyOnce;
        queue.push(Entry::Turn(Box::new(TurnEntry {
            open: OpenTurn {
                turn,
                attempts: 0,
                delivery,
                timeout: None,
                deadline: None,
                patience: Patience::default(),
            },
            asked_in: SessionId::random(),
            prompt: Arc::new("hello".into()),
            bytes: 5,
            interruptions: 0,
            in_flight: false,
            restored: false,
            sinks: Vec::new(),
        })));
        turn
    }

    fn ids(items: &[Item]) -> Vec<Option<TurnId>> {
        let id = |item: &Item| match item {
            Item::Turn(open) => Some(open.turn),
            Item::Clear => None,
        };
        items.iter().map(id).collect()
    }

    #[test]
    fn a_place_on_its_way_counts_until_it_is_given_back() {
        let mut queue = Queue::default();
        turn(&mut queue);
        assert_eq!((1..QUEUE).filter(|_| queue.reserve(0, 1) == Room::Reserved).count(), QUEUE - 1);
        assert_eq!(queue.reserve(0, 1), Room::TooMany);
        queue.give_back(1);
        assert_eq!(queue.reserve(1, 1), Room::TooMany);
        assert_eq!(queue.reserve(0, 1), Room::Reserved);
        assert_eq!(queue.reserve(0, 1), Room::TooMany);
    }

    #[test]
    fn prompts_share_their_bytes_and_one_alone_may_take_more() {
        let mut queue = Queue::default();
        assert_eq!(queue.reserve(0, PROMPTS + 1), Room::Reserved);
        assert_eq!(queue.reserve(0, 1), Room::TooLarge);
        queue.give_back(PROMPTS + 1);
        let first = turn(&mut queue);
        assert_eq!(queue.reserve(0, PROMPTS), Room::TooLarge);
        assert_eq!(queue.reserve(0, PROMPTS - 5), Room::Reserved);
        assert_eq!(queue.reserve(0, 1), Room::TooLarge);
        assert!(queue.remove(first).is_some());
        assert_eq!(queue.reserve(0, 5), Room::Reserved);
        turn(&mut queue);
        queue.drain();
        queue.give_back(PROMPTS - 5);
        queue.give_back(5);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn an_engine_is_told_of_each_entry_once_whatever_is_taken_out_meanwhile() {
        let mut queue = Queue::default();
        let (first, second) = (turn(&mut queue), turn(&mut queue));
        queue.push(Entry::Clear(1));
        assert_eq!(ids(&queue.take_all()), [Some(first), Some(second), None]);
        let third = turn(&mut queue);
        assert!(queue.take_clear().is_none(), "a turn is before it");
        assert!(queue.remove(first).is_some());
        assert!(queue.remove_clear().is_some());
        assert!(queue.remove_clear().is_none());
        assert_eq!(ids(&queue.take_new().0), [Some(third)]);
        let fourth = turn(&mut queue);
        assert!(queue.remove(fourth).is_some(), "it was not known yet");
        let fifth = turn(&mut queue);
        assert_eq!(ids(&queue.take_new().0), [Some(fifth)]);
        assert_eq!(
            ids(&queue.take_all()),
            [Some(second), Some(third), Some(fifth)],
            "to another engine all is new"
        );
    }

    #[test]
    fn what_is_asked_twice_is_asked_once_and_ends_with_the_engine() {
        let mut queue = Queue::default();
        queue.command(Command::InterruptOwnWork);
        queue.command(Command::Stop(StopReason::Park));
        queue.command(Command::InterruptOwnWork);
        assert!(queue.has_work());
        assert_eq!(queue.take_new().1, [Command::InterruptOwnWork, Command::Stop(StopReason::Park)]);
        assert!(!queue.has_work());
        queue.command(Command::InterruptOwnWork);
        queue.forget_engine();
        assert!(!queue.has_work());
    }

    #[test]
    fn the_end_that_was_asked_for_an_open_turn_outlives_the_engine() {
        let mut queue = Queue::default();
        let (open, gone) = (turn(&mut queue), turn(&mut queue));
        queue.command(Command::Cancel(open, DrainReason::Interrupted));
        queue.command(Command::Cancel(gone, DrainReason::Interrupted));
        queue.remove(gone);
        queue.forget_engine();
        assert_eq!(queue.take_new().1, [Command::Cancel(open, DrainReason::Interrupted)]);
    }

    #[test]
    fn what_no_engine_was_told_of_can_be_taken_by_whoever_ends_it() {
        let mut queue = Queue::default();
        let (first, second) = (turn(&mut queue), turn(&mut queue));
        queue.command(Command::InterruptOwnWork);
        queue.command(Command::Cancel(second, DrainReason::Interrupted));
        assert_eq!(queue.take_cancels(), [(second, DrainReason::Interrupted)]);
        assert_eq!(queue.take_cancels(), []);
        assert_eq!(queue.take_new().1, [Command::InterruptOwnWork]);
        let now = Instant::now();
        queue.keep_deadline(first, now);
        assert_eq!(queue.deadlines().collect::<Vec<_>>(), [(first, now)]);
    }

    #[test]
    fn a_crash_counts_against_what_was_in_the_cli_and_an_attempt_once_for_each_cli() {
        let mut queue = Queue::default();
        let (first, second) = (turn(&mut queue), turn(&mut queue));
        assert_eq!(queue.in_flight(first).map(|entry| entry.open.attempts), Some(1));
        assert_eq!(queue.in_flight(first).map(|entry| entry.open.attempts), Some(1));
        let hit: Vec<_> = queue.interrupted().into_iter().map(|(turn, times, _)| (turn, times)).collect();
        assert_eq!(hit, [(first, 1)]);
        assert!(queue.interrupted().is_empty(), "one crash");
        assert_eq!(queue.in_flight(first).map(|entry| entry.open.attempts), Some(2));
        assert_eq!(queue.turn(second).map(|entry| entry.interruptions), Some(0));
    }

    #[test]
    fn a_turn_has_so_many_consumers_and_one_who_left_holds_no_place() {
        let mut queue = Queue::default();
        let turn = turn(&mut queue);
        let mut sinks: Vec<_> = (0..CONSUMERS).map(|_| Arc::new(())).collect();
        assert!(sinks.iter().all(|sink| queue.attach(turn, sink) == Attached::Yes));
        let late = Arc::new(());
        assert_eq!(queue.attach(turn, &late), Attached::TooMany);
        sinks.pop();
        assert_eq!(queue.attach(turn, &late), Attached::Yes);
        assert_eq!(queue.attach(TurnId::new(), &late), Attached::NotOpen);
    }
}
