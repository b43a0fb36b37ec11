//! A bench for the session machine: it owns the time, hands events over and collects actions.

#![allow(dead_code, reason = "each test file uses its own part of the bench")]

use std::time::{Duration, Instant};

use treewarden_core::session::CrashKind;
use treewarden_core::session::{
    Action, Config, Delivery, DrainReason, End, Event, ExitClass, Fact, Item, Lifecycle, Machine, OpenTurn,
    Opening, Patience, Permanent, PermanentKind, ResultFact, Saved, Settlement, Start, StartFailure, State,
    StopReason,
};
use treewarden_proto::TurnId;
use uuid::Uuid;

/// The turn with this number.
pub(crate) fn turn(number: u128) -> TurnId {
    TurnId::from_uuid(Uuid::from_u128(number))
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A turn that was never sent, and is carried on after a crash.
pub(crate) fn open(number: u128) -> OpenTurn {
    OpenTurn {
        turn: turn(number),
        attempts: 0,
        delivery: Delivery::ExactlyOnce,
        timeout: Some(secs(300)),
        deadline: None,
        patience: Patience::default(),
    }
}

/// A turn that waits for a usage limit until then.
pub(crate) fn patient(number: u128, until: Instant) -> OpenTurn {
    OpenTurn { patience: Patience { limit_until: Some(until), ..Patience::default() }, ..open(number) }
}

/// A turn that this many incarnations have sent.
pub(crate) fn taken(number: u128, attempts: u32) -> OpenTurn {
    OpenTurn { attempts, ..open(number) }
}

pub(crate) fn at_most_once(number: u128) -> OpenTurn {
    OpenTurn { delivery: Delivery::AtMostOnce, ..open(number) }
}

pub(crate) fn item(number: u128) -> Item {
    Item::Turn(open(number))
}

/// The result of these turns.
pub(crate) fn result(turns: &[u128]) -> Event {
    Event::Frame(Fact::Result(ResultFact {
        turns: turns.iter().map(|n| turn(*n)).collect(),
        ..ResultFact::default()
    }))
}

/// The result of these turns, ended by an interrupt.
pub(crate) fn aborted(turns: &[u128]) -> Event {
    Event::Frame(Fact::Result(ResultFact {
        turns: turns.iter().map(|n| turn(*n)).collect(),
        aborted: true,
        ..ResultFact::default()
    }))
}

pub(crate) fn lifecycle(number: u128, state: Lifecycle) -> Event {
    Event::Frame(Fact::Lifecycle(turn(number), state))
}

pub(crate) fn frame(fact: Fact) -> Event {
    Event::Frame(fact)
}

pub(crate) fn cancel(number: u128) -> Event {
    Event::Cancel(turn(number), DrainReason::Interrupted)
}

pub(crate) fn send(number: u128) -> Action {
    Action::Send(turn(number))
}

pub(crate) fn settle(number: u128, settlement: Settlement) -> Action {
    Action::Settle(turn(number), settlement)
}

pub(crate) fn start(rerun: bool) -> Action {
    Action::Start(Start { opening: None, rerun })
}

pub(crate) fn start_as(opening: Opening, rerun: bool) -> Action {
    Action::Start(Start { opening: Some(opening), rerun })
}

pub(crate) fn stopped(reason: StopReason) -> Action {
    Action::End(End::Stopped(reason))
}

pub(crate) fn crashed(kind: CrashKind) -> Action {
    Action::End(End::Crashed(ExitClass::Crash(kind)))
}

/// The CLI was killed by a signal from outside.
pub(crate) fn killed() -> Event {
    Event::Exited(ExitClass::Crash(CrashKind::Signal(9)))
}

/// The CLI refuses the id as one that is there.
pub(crate) fn in_use() -> StartFailure {
    StartFailure::IdInUse(Permanent::new(PermanentKind::IdInUse, "Error: Session ID 1 is already in use."))
}

/// The CLI refuses the id as one that is not there.
pub(crate) fn no_conversation() -> StartFailure {
    StartFailure::NoConversation(Permanent::new(PermanentKind::ConversationLost, "No conversation found"))
}

/// A CLI that was spawned ends before it is up.
pub(crate) fn ends_early() -> Event {
    Event::StartFailed(StartFailure::passing(&ExitClass::Crash(CrashKind::Exit(1)), "no network\n"))
}

/// The last settled turn is on disk.
pub(crate) fn saved() -> Event {
    Event::OnDisk(Saved::Yes)
}

/// It is not.
pub(crate) fn missing() -> Event {
    Event::OnDisk(Saved::No("turn 1 is nowhere".to_owned()))
}

/// The CLI ended as it was asked to.
pub(crate) fn exited() -> Event {
    Event::Exited(ExitClass::Clean)
}

/// A machine, its time, and the actions that nobody has looked at yet.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    actions: Vec<Action>,
    /// Each outcome is stored at once.
    stores: bool,
}

impl Bench {
    pub(crate) fn new(config: Config, open: Vec<Item>) -> Self {
        let now = Instant::now();
        let mut actions = Vec::new();
        let machine = Machine::new(now, config, open, &mut actions);
        let mut bench = Self { machine, now, actions, stores: true };
        bench.store(0);
        bench
    }

    /// From now on no outcome is stored before the test says so.
    pub(crate) fn store_nothing(&mut self) {
        self.stores = false;
    }

    /// Stores the outcomes that were reached since there were so many actions.
    fn store(&mut self, from: usize) {
        let mut at = from;
        while self.stores && at < self.actions.len() {
            if let Action::Settle(turn, _) = &self.actions[at] {
                let settled = Event::Settled(*turn);
                self.machine.handle(self.now, settled, &mut self.actions);
            }
            at += 1;
        }
    }

    /// A machine whose CLI has come up, with its first actions already taken.
    pub(crate) fn up(config: Config, open: Vec<Item>, lifecycle: bool) -> Self {
        let mut bench = Self::new(config, open);
        bench.feed(Event::Spawned);
        bench.feed(Event::Initialized { lifecycle });
        bench
    }

    /// A machine whose CLI is idle.
    pub(crate) fn ready() -> Self {
        let mut bench = Self::up(Config::default(), vec![], true);
        bench.take();
        bench
    }

    /// A machine whose CLI works at turn 1.
    pub(crate) fn busy() -> Self {
        let mut bench = Self::up(Config::default(), vec![item(1)], true);
        bench.take();
        bench
    }

    pub(crate) fn feed(&mut self, event: Event) {
        let from = self.actions.len();
        self.machine.handle(self.now, event, &mut self.actions);
        self.store(from);
    }

    /// Hands an event over and returns what is to be done about it.
    pub(crate) fn on(&mut self, event: Event) -> Vec<Action> {
        self.take();
        self.feed(event);
        self.take()
    }

    /// Hands an event over, and everything that is due in the time that passes after it.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Action> {
        let until = self.now + time;
        self.take();
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= until) {
            let before = self.actions.len();
            self.now = self.now.max(at);
            self.machine.handle_timeout(self.now, &mut self.actions);
            self.store(before);
            let moved = self.machine.poll_timeout() != Some(at) || self.actions.len() > before;
            assert!(moved, "a deadline that nothing comes of: {:?}", self.machine);
        }
        self.now = until;
        self.take()
    }

    /// The disk is looked at after a turn that was settled, and the turn is there.
    pub(crate) fn is_on_disk(&mut self) {
        assert_eq!(self.pass(millis(300)), [Action::LookOnDisk]);
        assert_eq!(self.on(saved()), []);
    }

    pub(crate) fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(crate) fn state(&self) -> State {
        self.machine.state()
    }
}
