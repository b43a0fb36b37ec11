//! A model of what stands around the session machine: the CLI, its transcript, and the driver.
//!
//! The world checks each action as it comes; a broken promise is a panic.

mod at_work;
mod cli;
mod op;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use at_work::AtWork;
use cli::{Cli, Event, Fact, Line, Truth};
pub(crate) use op::Op;
use treewarden_core::session::{
    Config, CrashKind, Delivery, DrainReason, End, ExitClass, Found, Item, OpenTurn, Patience, Permanent,
    PermanentKind, ResultFact, Saved, Start, StartFailure, State, StopReason,
};
use treewarden_proto::TurnId;
use uuid::Uuid;

type Machine = treewarden_core::session::Machine<Truth>;
type Action = treewarden_core::session::Action<Truth>;
type Settlement = treewarden_core::session::Settlement<Truth>;

#[derive(Debug)]
pub(crate) struct World {
    weak: bool,
    now: Instant,
    machine: Machine,
    /// What the driver holds open, in order.
    open: Vec<Item>,
    opened: BTreeSet<TurnId>,
    settled: BTreeMap<TurnId, Settlement>,
    /// Outcomes on their way to the store.
    commits: VecDeque<TurnId>,
    /// Outcomes that it did not take.
    in_hand: VecDeque<TurnId>,
    /// The turn that waits until it does.
    held: Option<TurnId>,
    disk: Vec<Line>,
    cli: Option<Cli>,
    starting: Option<Start>,
    initializing: bool,
    reads: Vec<TurnId>,
    looks: Option<bool>,
    at_work: AtWork,
    /// The last turn that has an answer.
    answered: Option<TurnId>,
    ending: bool,
    /// Processes of a CLI are left.
    left: bool,
    stop_asked: bool,
    /// How the session ended for good.
    pub(crate) over: Option<End>,
    parked: bool,
}

impl World {
    pub(crate) fn new(weak: bool) -> Self {
        let now = Instant::now();
        let mut actions = Vec::new();
        let machine = Machine::new(now, config(), Vec::new(), &mut actions);
        let mut world = Self {
            weak,
            now,
            machine,
            open: Vec::new(),
            opened: BTreeSet::new(),
            settled: BTreeMap::new(),
            commits: VecDeque::new(),
            in_hand: VecDeque::new(),
            held: None,
            disk: Vec::new(),
            cli: None,
            starting: None,
            initializing: false,
            reads: Vec::new(),
            looks: None,
            at_work: AtWork::default(),
            answered: None,
            ending: false,
            left: false,
            stop_asked: false,
            over: None,
            parked: false,
        };
        world.act(actions);
        world
    }

    pub(crate) fn apply(&mut self, op: Op) {
        if self.over.is_some() {
            return;
        }
        match op {
            Op::Enqueue { at_most_once } => self.enqueue(at_most_once),
            Op::Clear => self.join(Item::Clear),
            Op::Cancel(which) => {
                let turns: Vec<_> = self.open.iter().filter_map(id).collect();
                if let Some(turn) = turns.get(usize::from(which) % turns.len().max(1)) {
                    self.feed(Event::Cancel(*turn, DrainReason::Interrupted));
                }
            }
            Op::Interrupt => {
                let first = self.open.iter().find_map(id);
                self.feed(
                    first.map_or(Event::InterruptOwnWork, |turn| {
                        Event::Cancel(turn, DrainReason::Interrupted)
                    }),
                );
            }
            Op::Stop(reason) if !self.parked => {
                self.stop_asked |= reason != StopReason::Park;
                self.feed(Event::Stop(reason));
            }
            Op::Stop(_) => {}
            Op::Renew if !self.parked => {
                self.feed(Event::Configure { config: Config::default(), renew: true });
            }
            Op::TooLarge if !self.parked => self.feed(Event::TooLarge),
            Op::Renew | Op::TooLarge => {}
            Op::Step { limited } => {
                if let Some(cli) = &mut self.cli {
                    cli.step(limited);
                }
            }
            Op::Read => self.read(),
            Op::Drive { fails } => self.drive(fails),
            Op::Crowd { waits } if self.starting.is_some() && !self.ending => {
                self.feed(Event::AwaitsPlace(waits));
            }
            Op::Short if self.starting.is_some() && !self.ending => {
                self.starting = None;
                self.feed(Event::StartFailed(StartFailure::Shortage("no descriptors".to_owned())));
            }
            Op::Crowd { .. } | Op::Short => {}
            Op::Flush(count) => self.flush(count.into()),
            Op::Kill => {
                if let Some(cli) = &mut self.cli {
                    cli.dead = true;
                }
            }
            Op::Freeze => {
                if let Some(cli) = &mut self.cli {
                    cli.frozen = true;
                }
            }
            Op::Survive => {
                if let Some(cli) = &mut self.cli {
                    cli.survives = true;
                }
            }
            Op::Store => self.store(),
            Op::Refuse => {
                if let Some(turn) = self.commits.pop_front() {
                    self.in_hand.push_back(turn);
                    self.feed(Event::Settled(turn));
                }
            }
            Op::Stray { named } => self.stray(named),
            Op::Own => {
                if let Some(cli) = &mut self.cli {
                    cli.begin_own();
                }
            }
            Op::Tasks(count) => {
                if let Some(cli) = &mut self.cli {
                    cli.tasks(count.into());
                }
            }
            Op::Wait(ms) => self.wait(self.now + Duration::from_millis(ms.into())),
            Op::Deadline => {
                if let Some(at) = self.machine.poll_timeout() {
                    self.wait(at);
                }
            }
        }
    }

    /// Lets the world run, without further harm, until nothing is left to do.
    pub(crate) fn settle_down(&mut self) {
        for _ in 0..5_000 {
            let stored = self.commits.is_empty() && self.in_hand.is_empty();
            let done = self.open.is_empty() && (self.parked || self.machine.state() == State::Ready);
            if self.over.is_some() || (done && stored) {
                return;
            }
            let frozen = self.cli.as_ref().is_some_and(|cli| cli.frozen);
            let initializing = self.initializing && !frozen;
            let reads = self.looks.is_some() || !self.reads.is_empty();
            let pending = self.starting.is_some() || initializing || self.ending || reads || !stored;
            let busy = self.cli.as_ref().is_some_and(Cli::is_busy);
            self.flush(usize::MAX);
            self.apply(Op::Step { limited: false });
            self.read();
            self.drive(false);
            self.store();
            if !pending && !busy {
                let at =
                    self.machine.poll_timeout().expect("a session that waits for nothing has a deadline");
                self.wait(at);
            }
        }
        panic!("the session does not come to rest: {self:#?}");
    }

    pub(crate) fn assert_all_settled(&self) {
        if self.over == Some(End::Stopped(StopReason::Shutdown)) {
            let kept: BTreeSet<_> = self.open.iter().filter_map(id).collect();
            assert!(self.opened.iter().all(|turn| kept.contains(turn) != self.settled.contains_key(turn)));
            return;
        }
        for turn in &self.opened {
            assert!(self.settled.contains_key(turn), "{turn} has no outcome: {self:#?}");
        }
    }

    fn enqueue(&mut self, at_most_once: bool) {
        let turn = TurnId::from_uuid(Uuid::from_u128(self.opened.len() as u128 + 1));
        let delivery = if at_most_once { Delivery::AtMostOnce } else { Delivery::ExactlyOnce };
        let timeout = Some(Duration::from_secs(300));
        self.opened.insert(turn);
        self.join(Item::Turn(OpenTurn {
            turn,
            attempts: 0,
            delivery,
            timeout,
            deadline: None,
            patience: Patience::default(),
        }));
    }

    fn join(&mut self, item: Item) {
        self.open.push(item.clone());
        if self.parked { self.incarnate() } else { self.feed(Event::Enqueue(item)) }
    }

    fn incarnate(&mut self) {
        self.parked = false;
        let mut actions = Vec::new();
        self.held = None;
        let on_their_way: Vec<_> = self.commits.iter().copied().collect();
        self.machine = Machine::new(self.now, config(), self.open.clone(), &mut actions);
        self.machine.await_outcomes(on_their_way);
        self.act(actions);
    }

    fn feed(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.at_work.note(
            self.now,
            self.open.first().and_then(id),
            self.machine.in_flight().is_some(),
            &event,
        );
        self.machine.handle(self.now, event, &mut actions);
        self.act(actions);
    }

    fn wait(&mut self, until: Instant) {
        let due = self.machine.poll_timeout().filter(|at| *at <= until);
        self.now = self.now.max(due.unwrap_or(until));
        let mut actions = Vec::new();
        self.machine.handle_timeout(self.now, &mut actions);
        if let Some(at) = due {
            let moved = self.machine.poll_timeout() != Some(at) || !actions.is_empty();
            assert!(moved, "a deadline that nothing comes of: {:#?}", self.machine);
        }
        self.act(actions);
    }

    /// The next thing that the CLI printed is read; once all is read, its end is told.
    fn read(&mut self) {
        let Some(cli) = &mut self.cli else { return };
        if let Some(event) = cli.printed.pop_front() {
            self.feed(event);
        } else if cli.dead {
            self.gone(ExitClass::Crash(CrashKind::Signal(9)));
        }
    }

    /// The store takes the outcome that came first.
    fn store(&mut self) {
        if self.in_hand.pop_front().is_none()
            && let Some(turn) = self.commits.pop_front()
        {
            self.feed(Event::Settled(turn));
        }
        // What was waited for is stored: the turn goes into the CLI, if nothing else keeps it back.
        let is_held = self.held.filter(|_| self.in_hand.is_empty() && self.commits.is_empty());
        if let Some(turn) = is_held {
            self.held = None;
            self.feed(Event::Released(turn));
        }
    }

    fn gone(&mut self, class: ExitClass) {
        let left = self.cli.take().is_some_and(|cli| cli.survives);
        self.left |= left;
        let not_gone = || Permanent::new(PermanentKind::NotGone, "a process is left");
        let class = if left { ExitClass::Permanent(not_gone()) } else { class };
        self.at_work = AtWork::default();
        self.initializing = false;
        self.ending = false;
        self.feed(Event::Exited(class));
    }

    fn drive(&mut self, fails: bool) {
        if let Some(start) = self.starting.take() {
            if fails || self.ending {
                self.ending = false;
                let failure = StartFailure::passing(&ExitClass::Crash(CrashKind::Exit(1)), "");
                return self.feed(Event::StartFailed(failure));
            }
            self.cli = Some(Cli::new(self.weak, &self.disk, start.rerun));
            return self.feed(Event::Spawned);
        }
        if self.ending {
            let Some(cli) = &mut self.cli else { return };
            if !cli.printed.is_empty() {
                return self.read();
            }
            return self.gone(ExitClass::Clean);
        }
        if self.initializing && self.cli.as_ref().is_some_and(|cli| !cli.frozen && !cli.dead) {
            self.initializing = false;
            return self.feed(Event::Initialized { lifecycle: !self.weak });
        }
        if let Some(saved) = self.looks.take() {
            return self.feed(Event::OnDisk(if saved { Saved::Yes } else { Saved::No("lost".to_owned()) }));
        }
        if let Some(turn) = self.reads.pop() {
            let found = if self.disk.contains(&Line::Answer(turn)) {
                Found::Answer(Some(turn))
            } else if self.disk.contains(&Line::Interruption(turn)) {
                Found::Interruption
            } else {
                Found::Nothing
            };
            self.feed(Event::TranscriptRead(turn, found));
        }
    }

    fn is_saved(&self) -> bool {
        self.answered.is_none_or(|turn| self.disk.contains(&Line::Answer(turn)))
    }

    /// What must hold when a CLI is ended that could have gone on.
    fn check_ended_for_convenience(&self) {
        if !self.stop_asked && self.open.first() != Some(&Item::Clear) {
            assert!(self.is_saved(), "the only copy of an answer is given up");
            self.at_work.check_ended(self.now);
        }
    }

    /// Writes of the CLI reach the disk, in order.
    fn flush(&mut self, count: usize) {
        let Some(cli) = self.cli.as_mut().filter(|cli| !cli.dead) else { return };
        let count = count.min(cli.unwritten.len());
        self.disk.extend(cli.unwritten.drain(..count));
    }

    fn stray(&mut self, named: bool) {
        let Some(cli) = self.cli.as_mut().filter(|cli| !cli.dead && !cli.frozen) else { return };
        let other = TurnId::from_uuid(Uuid::from_u128(1_000_000));
        let turns = if named { vec![other] } else { vec![] };
        let result = ResultFact { turns, unsolicited: !named || self.weak, ..ResultFact::default() };
        cli.printed.push_back(Event::Frame(Fact::Result(result)));
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert!(self.over.is_none(), "{action:?} after the end");
            match action {
                Action::Start(start) => {
                    assert!(self.cli.is_none() && self.starting.is_none(), "two CLIs at once");
                    assert!(!self.stop_asked, "a start after a stop");
                    assert!(!self.left, "a start beside what is left of a CLI");
                    self.starting = Some(start);
                }
                Action::Initialize => self.initializing = true,
                Action::Send(turn) => self.send(turn),
                Action::Nudge(turn, _) => {
                    panic!("the model's CLI leaves no answer missing, and {turn} is nudged")
                }
                Action::GoOn(turn, _) => panic!("{turn} does not wait for the model API"),
                Action::Interrupt => self.cli.as_mut().expect("a CLI to interrupt").interrupt(),
                Action::Probe => self.cli.as_mut().expect("a CLI to probe").probe(),
                Action::ReadTranscript(turn) => self.reads.push(turn),
                Action::Settle(turn, settlement) => self.settle(turn, settlement),
                Action::LookOnDisk => {
                    // What is seen is what is there when the look begins, and it is told later.
                    self.looks = Some(self.is_saved());
                }
                Action::Recycle => self.check_ended_for_convenience(),
                Action::Stop | Action::Terminate | Action::Kill => {
                    assert!(!self.ending, "a CLI is ended once");
                    if action == Action::Stop {
                        self.check_ended_for_convenience();
                    }
                    self.ending = true;
                }
                Action::Rename => {
                    assert!(self.answered.is_none(), "a conversation lost its id, and what it held")
                }
                Action::NewConversation => {
                    assert_eq!(self.open.first(), Some(&Item::Clear), "a clear out of its place");
                    self.open.remove(0);
                    self.disk.clear();
                    self.answered = None;
                }
                Action::End(end) => self.end(end),
            }
        }
    }

    fn send(&mut self, turn: TurnId) {
        assert!(!self.stop_asked, "{turn} sent after a stop");
        assert!(self.commits.is_empty(), "{turn} is sent before {:?} are stored or in hand", self.commits);
        let is_new = matches!(self.open.first(), Some(Item::Turn(open)) if open.attempts == 0);
        if is_new && !self.in_hand.is_empty() {
            self.held = Some(turn);
            return self.feed(Event::Held(turn));
        }
        let deadline = self.machine.in_flight().filter(|open| open.turn == turn).map(|open| open.deadline);
        match self.open.first_mut() {
            Some(Item::Turn(open)) if open.turn == turn => {
                self.at_work.check_sent(self.now, turn, open.attempts);
                open.attempts += 1;
                open.deadline = deadline.flatten();
            }
            other => panic!("{turn} sent out of its order: {other:?}"),
        }
        self.cli.as_mut().expect("a CLI to write to").take(turn);
    }

    fn settle(&mut self, turn: TurnId, settlement: Settlement) {
        if let Settlement::Result(truth) | Settlement::Transcript(truth) = settlement {
            assert_eq!(truth, Some(turn), "the answer to another turn");
            assert_ne!(self.held, Some(turn), "an answer to a turn that was not sent");
            self.answered = Some(turn);
        }
        if matches!(settlement, Settlement::Transcript(_)) {
            assert!(self.disk.contains(&Line::Answer(turn)), "no such answer on disk");
        }
        let before = self.settled.insert(turn, settlement);
        assert_eq!(before, None, "{turn} settled twice");
        self.commits.push_back(turn);
        self.held = self.held.filter(|held| *held != turn);
        let at = self.open.iter().position(|item| id(item) == Some(turn)).expect("the turn is open");
        self.open.remove(at);
    }

    fn end(&mut self, end: End) {
        assert!(self.cli.is_none() && self.starting.is_none(), "the end of a CLI that lives");
        assert!(!self.stop_asked || matches!(end, End::Stopped(_)), "a stop that was lost: {end:?}");
        let failed = matches!(&end, End::Failed(reason) if reason.kind == PermanentKind::NotGone);
        assert!(!self.left || failed || matches!(end, End::Stopped(_)), "what is left is not told: {end:?}");
        self.reads.clear();
        self.looks = None;
        self.held = None;
        match end {
            End::Parked if self.open.is_empty() => self.parked = true,
            End::Parked | End::Crashed(_) => self.incarnate(),
            End::Stopped(_) | End::Failed(_) => self.over = Some(end),
        }
    }
}

fn id(item: &Item) -> Option<TurnId> {
    match item {
        Item::Turn(open) => Some(open.turn),
        Item::Clear => None,
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.idle_timeout = Some(Duration::from_secs(900));
    config.max_attempts = 5;
    config
}
