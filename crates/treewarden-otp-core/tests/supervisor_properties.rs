//! The supervisor machine under random events in virtual time, against an independent model of the world around it.
//!
//! The model knows nothing of the machine's insides: it only obeys its actions and watches what they add up to. The
//! invariants: never two runs of one child at once; never more restarts than the budget allows; no start after a stop
//! has begun; children of a list stop newest first; every call is answered exactly once; a stop always ends.

#[path = "support/paper.rs"]
mod paper;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{
    Action, AutoShutdown, ChildSpec, Context, Event, Flags, Kind, Machine, Mode, Place, Reason, Reply,
    Report, Request, Restart, RunId, Shutdown, StartOutcome, Target,
};

use paper::{Paper, flags, restart};

#[derive(Debug, Clone)]
enum Step {
    /// The nth living child ends.
    End(usize, u8),
    /// The next starts fail or are ignored.
    Starts(Vec<u8>),
    Start(u8, Restart),
    Terminate(u8),
    Again(u8),
    Delete(u8),
    /// The specs change: that of a child in a list, or the template.
    Change(u8, Restart),
    List,
    Wait(u16),
    Deaf(bool),
    Stop,
    Kill,
}

struct World {
    machine: Machine<Paper>,
    now: Instant,
    alive: BTreeMap<u64, RunId>,
    outcomes: VecDeque<u8>,
    deaf: bool,
    retries: VecDeque<RunId>,
    calls: usize,
    answers: Vec<usize>,
    started_after_stop: bool,
    stopping: bool,
    finished: Option<ExitReason>,
    gave_up: bool,
    is_static: bool,
    starts_of: HashMap<u64, u64>,
}

fn reason(kind: u8) -> ExitReason {
    match kind % 4 {
        0 => ExitReason::Normal,
        1 => ExitReason::Shutdown,
        2 => ExitReason::Killed,
        _ => ExitReason::message("boom"),
    }
}

impl World {
    fn new(flags: Flags, mode: Option<Mode<()>>, specs: Vec<ChildSpec<()>>) -> Option<Self> {
        let now = Instant::now();
        let is_static = mode.is_none();
        let machine = match mode {
            None => Machine::new(now, 1, flags, specs).ok()?,
            Some(mode) => Machine::dynamic(now, 1, flags, mode).ok()?,
        };
        let mut world = Self {
            machine,
            now,
            alive: BTreeMap::new(),
            outcomes: VecDeque::new(),
            deaf: false,
            retries: VecDeque::new(),
            calls: 0,
            answers: Vec::new(),
            started_after_stop: false,
            stopping: false,
            finished: None,
            gave_up: false,
            is_static,
            starts_of: HashMap::new(),
        };
        world.tell(Event::Init);
        Some(world)
    }

    fn tell(&mut self, event: Event<Paper>) {
        self.machine.handle(self.now, event);
        self.obey();
    }

    fn obey(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Start(order) => self.start(order.pid),
                Action::Stop(pid, child, _) => {
                    assert_eq!(pid, child);
                    if !self.deaf {
                        self.end(pid, ExitReason::Shutdown);
                    }
                }
                Action::Kill(pid, _) => self.end(pid, ExitReason::Killed),
                Action::TryAgain(pid) => self.retries.push_back(pid),
                Action::Reply(caller, reply) => {
                    assert!(!self.answers.contains(&caller), "call {caller} was answered twice");
                    self.answers.push(caller);
                    if let Reply::WhichChildren(children) = reply {
                        assert!(children.len() <= 300);
                    }
                }
                Action::Report(Report::Error(Context::Shutdown, Reason::ReachedMaxRestartIntensity, _)) => {
                    self.gave_up = true;
                }
                Action::Report(_) | Action::GivenUp(..) | Action::Initialized(_) => {}
                Action::Finished(reason) => {
                    assert!(self.finished.is_none(), "finished twice");
                    assert!(self.alive.is_empty(), "finished before {:?} were gone", self.alive);
                    self.finished = Some(reason);
                }
            }
        }
    }

    fn start(&mut self, pid: RunId) {
        assert!(!self.alive.contains_key(&pid.slot), "a second run of child {} was started", pid.slot);
        let last = self.starts_of.insert(pid.slot, pid.incarnation).unwrap_or(0);
        assert!(pid.incarnation > last, "incarnation {pid} was used twice");
        self.started_after_stop |= self.stopping;
        let outcome = match self.outcomes.pop_front().unwrap_or(9) {
            0 | 1 => Err(ExitReason::message("no")),
            2 => Ok(StartOutcome::Ignore),
            _ => {
                self.alive.insert(pid.slot, pid);
                Ok(StartOutcome::Running(pid, None))
            }
        };
        self.machine.handle(self.now, Event::Started(pid, outcome));
    }

    fn end(&mut self, pid: RunId, reason: ExitReason) {
        if self.alive.get(&pid.slot) == Some(&pid) {
            self.alive.remove(&pid.slot);
            self.machine.handle(self.now, Event::Exited(pid, reason));
        }
    }

    fn call(&mut self, request: Request<Paper>) {
        let caller = self.calls;
        self.calls += 1;
        self.tell(Event::Call(caller, request));
    }

    fn retry(&mut self) {
        for _ in 0..50 {
            let Some(pid) = self.retries.pop_front() else { return };
            self.tell(Event::TryAgain(pid));
        }
    }

    fn target(&self, id: u8) -> Target {
        match self.alive.values().nth(usize::from(id)) {
            Some(pid) if !self.is_static => Target::RunId(*pid),
            _ => Target::Id(format!("c{id}").into()),
        }
    }

    /// The last run of some child, whether it lives or not.
    fn some_run(&self, nth: u8) -> Option<RunId> {
        let runs: BTreeMap<u64, u64> = self.starts_of.iter().map(|(slot, run)| (*slot, *run)).collect();
        runs.into_iter().nth(usize::from(nth)).map(|(slot, incarnation)| RunId { slot, incarnation })
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::End(nth, kind) => {
                let count = self.alive.len().max(1);
                if let Some(pid) = self.alive.values().nth(nth % count).copied() {
                    self.end(pid, reason(*kind));
                    self.obey();
                }
            }
            Step::Starts(outcomes) => self.outcomes = outcomes.iter().copied().collect(),
            Step::Start(id, restart) => self.call(Request::StartChild(spec(*id, *restart))),
            Step::Change(id, restart) if self.is_static => {
                self.call(Request::Update(None, vec![Place::Put(spec(*id, *restart))]));
            }
            Step::Change(id, restart) => {
                let flags = self.machine.flags().clone();
                self.call(Request::CodeChange(flags, vec![spec(*id, *restart)]));
            }
            Step::Terminate(id) => self.call(Request::TerminateChild(self.target(*id))),
            Step::Again(id) => match self.some_run(*id) {
                Some(run) if !self.is_static => self.call(Request::RestartRun(run)),
                _ => self.call(Request::RestartChild(format!("c{id}").into())),
            },
            Step::Delete(id) => self.call(Request::DeleteChild(format!("c{id}").into())),
            Step::List => self.call(Request::WhichChildren),
            Step::Wait(ms) => self.pass(Duration::from_millis(u64::from(*ms))),
            Step::Deaf(deaf) => self.deaf = *deaf,
            Step::Stop => {
                // A group restart that is under way is one step, and ends first; as in OTP.
                self.stopping |= !self.machine.is_busy();
                self.tell(Event::Stop(ExitReason::Shutdown));
            }
            Step::Kill => {
                self.stopping = true;
                self.tell(Event::Killed);
            }
        }
        self.retry();
    }

    /// Lets time pass, with every deadline on its way.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.tell(Event::Tick);
        }
        self.now = until;
    }
}

fn spec(id: u8, restart: Restart) -> ChildSpec<()> {
    let mut spec = ChildSpec::new(format!("c{id}").as_str(), ());
    spec.restart = restart;
    spec
}

/// A list of children, or children that come and go.
fn mode() -> impl Strategy<Value = Option<Mode<()>>> {
    prop_oneof![
        6 => Just(None),
        2 => prop::option::of(1..6usize).prop_map(|max_children| Some(Mode::Dynamic { max_children })),
        2 => restart().prop_map(|restart| Some(Mode::Template(Box::new(spec(0, restart))))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8usize, any::<u8>()).prop_map(|(nth, kind)| Step::End(nth, kind)),
        2 => prop::collection::vec(0..6u8, 0..5).prop_map(Step::Starts),
        2 => (0..8u8, restart()).prop_map(|(id, restart)| Step::Start(id, restart)),
        2 => (0..8u8).prop_map(Step::Terminate),
        2 => (0..8u8).prop_map(Step::Again),
        1 => (0..8u8).prop_map(Step::Delete),
        2 => (0..8u8, restart()).prop_map(|(id, restart)| Step::Change(id, restart)),
        1 => Just(Step::List),
        2 => (0..4000u16).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Deaf),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
    ]
}

fn specs() -> impl Strategy<Value = Vec<ChildSpec<()>>> {
    let spec = (restart(), any::<bool>(), 0..4u8, any::<bool>());
    prop::collection::vec(spec, 0..6).prop_map(|specs| {
        let numbered = specs.into_iter().enumerate();
        let spec = numbered.map(|(number, (restart, significant, shutdown, supervisor))| {
            let mut spec = ChildSpec::new(format!("c{number}").as_str(), ());
            spec.restart = restart;
            spec.significant = significant && restart != Restart::Permanent;
            spec.shutdown = match shutdown {
                0 => Some(Shutdown::BrutalKill),
                1 => Some(Shutdown::Timeout(Duration::from_millis(700))),
                _ => None,
            };
            spec.kind = if supervisor { Kind::Supervisor } else { Kind::Worker };
            spec
        });
        spec.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_breaks_a_supervisor(
        flags in flags(),
        mode in mode(),
        mut specs in specs(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut flags = flags;
        if mode.is_some() {
            flags.auto_shutdown = AutoShutdown::Never;
        }
        if flags.auto_shutdown == AutoShutdown::Never {
            specs.iter_mut().for_each(|spec| spec.significant = false);
        }
        let world = World::new(flags, mode, specs);
        prop_assert!(world.is_some(), "the flags and specs are valid");
        if let Some(mut world) = world {
            for step in &steps {
                world.step(step);
            }
            // A stop always ends: those that do not listen are killed, and those without a deadline obey at last.
            world.step(&Step::Stop);
            world.deaf = false;
            for pid in world.alive.values().copied().collect::<Vec<_>>() {
                world.end(pid, ExitReason::Shutdown);
                world.obey();
            }
            world.pass(Duration::from_secs(60));
            prop_assert!(world.finished.is_some(), "the stop did not end");
            prop_assert!(world.alive.is_empty());
            prop_assert!(!world.started_after_stop, "a child was started while the supervisor stopped");
            // And every call is answered, those after the end too.
            world.call(Request::WhichChildren);
            prop_assert_eq!(world.answers.len(), world.calls);
        }
    }

    #[test]
    fn a_supervisor_never_exceeds_its_budget(
        max_restarts in 0..5u32,
        max_seconds in 1..4u32,
        gaps in prop::collection::vec(0..2500u64, 1..40),
    ) {
        let flags = Flags { max_restarts, max_seconds, ..Flags::default() };
        let Some(mut world) = World::new(flags, None, vec![ChildSpec::new("c0", ())]) else { return Ok(()) };
        let begin = world.now;
        // The independent model: OTP's list of whole seconds.
        let mut seconds: Vec<u64> = Vec::new();
        for gap in gaps {
            world.pass(Duration::from_millis(gap));
            let second = (world.now - begin).as_secs();
            seconds.retain(|past| past + u64::from(max_seconds) >= second);
            seconds.push(second);
            world.step(&Step::End(0, 3));
            if seconds.len() > max_restarts as usize {
                prop_assert!(matches!(world.finished, Some(ExitReason::Shutdown)));
                prop_assert!(world.gave_up);
                return Ok(());
            }
            prop_assert_eq!(world.alive.len(), 1, "the child is restarted within the budget");
        }
    }
}
