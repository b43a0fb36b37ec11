//! The supervisor machine whose children come and go, beside a model of Elixir's `DynamicSupervisor` and OTP's
//! `simple_one_for_one` that was written from their documentation.
//!
//! As in `supervisor_model.rs`, the model has no queue and no asynchrony. A restart that fails is tried again in a step of
//! its own, so that calls meet children that are being restarted.

#[path = "support/documented.rs"]
mod documented;
#[path = "support/driven.rs"]
mod driven;
#[path = "support/manners.rs"]
mod manners;
#[path = "support/paper.rs"]
mod paper;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{
    AutoShutdown, ChildState, Event, Flags, Machine, Mode, Request, Restart, RunId, Shutdown, Target,
};

use documented::{Course, Stop, is_clean};
use driven::{Did, Driven, Outcome, reason};
use manners::{Manners, manners, spec};
use paper::{Paper, flags, restart};

#[derive(Debug, Clone)]
enum Step {
    End(usize, u8),
    Outcomes(Vec<u8>),
    Start(Restart),
    /// One of those that are there; the run that it had before, if that is asked for.
    Terminate(usize, bool),
    Retry,
    Wait(u16),
    Stop,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Up,
    Restarting,
}

/// Where the children come from.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Dynamic(Option<usize>),
    Template(Restart),
}

/// Elixir and OTP by their documentation.
struct Model {
    kind: Kind,
    children: Vec<(String, Restart, State)>,
    /// How many were ever begun: each has a name of its own.
    begun: usize,
    retries: VecDeque<String>,
    course: Course,
}

impl Model {
    /// "If the child process start function returns an error tuple or an erroneous value, or if it fails, the child
    /// specification is discarded"; so it is with `ignore`. "max_children: the maximum amount of children to be running
    /// under this supervisor at the same time", of which those that are being restarted are some.
    fn start_child(&mut self, restart: Restart) -> &'static str {
        if let Kind::Dynamic(Some(max)) = self.kind
            && self.children.len() >= max
        {
            return "max_children";
        }
        let restart = if let Kind::Template(restart) = self.kind { restart } else { restart };
        let id = name(self.begun);
        self.begun += 1;
        match self.course.start(&id) {
            Outcome::Up => self.children.push((id, restart, State::Up)),
            Outcome::Ignore => {}
            Outcome::Fail => return "failed",
        }
        "ok"
    }

    /// "Terminates the given child identified by pid. If there is no such pid, this function returns
    /// `{:error, :not_found}`." The pid of a child that is being restarted is the one that it had.
    fn terminate(&mut self, at: usize) -> &'static str {
        let (id, _, state) = self.children.remove(at);
        if state == State::Up {
            let manners = self.manners(&id);
            self.course.stop(&id, manners);
        }
        "ok"
    }

    /// All children of a template are waited for alike.
    fn manners(&self, id: &str) -> Manners {
        let own = manners(self.course.manners, id);
        match self.kind {
            Kind::Dynamic(_) => own,
            Kind::Template(_) => Manners { shutdown: template_shutdown(self.course.manners), ..own },
        }
    }

    /// "The supervisor terminates its children at once": each has its own time.
    fn end(&mut self) {
        let children = std::mem::take(&mut self.children);
        let up = children.iter().filter(|child| child.2 == State::Up);
        let mut stops: Vec<_> = up.map(|(id, ..)| Stop::of(id, self.manners(id))).collect();
        self.course.log.extend(stops.iter().map(|stop| stop.told.clone()));
        stops.sort_by_key(|stop| stop.took);
        self.course.now += stops.last().map_or(0, |stop| stop.took);
        self.course.log.extend(stops.into_iter().filter_map(|stop| stop.late));
        self.course.end();
    }

    /// "A permanent child is always restarted, a temporary one never, a transient one only if it terminates abnormally."
    /// A child that is not restarted is forgotten.
    fn child_ended(&mut self, at: usize, reason: &ExitReason) {
        match self.children[at].1 {
            Restart::Permanent => self.restart(at),
            Restart::Transient if !is_clean(reason) => self.restart(at),
            _ => drop(self.children.remove(at)),
        }
    }

    /// "max_restarts: the maximum number of restarts allowed in a time frame", failed ones included. A child that says
    /// `ignore` when it is restarted is forgotten.
    fn restart(&mut self, at: usize) {
        self.children[at].2 = State::Restarting;
        if !self.course.count_restart() {
            return self.end();
        }
        let id = self.children[at].0.clone();
        match self.course.start(&id) {
            Outcome::Up => self.children[at].2 = State::Up,
            Outcome::Ignore => drop(self.children.remove(at)),
            Outcome::Fail => self.retries.push_back(id),
        }
    }

    fn retry(&mut self) {
        let Some(id) = self.retries.pop_front() else { return };
        if let Some(at) = self.find(&id) {
            self.restart(at);
        }
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.children.iter().position(|child| child.0 == id)
    }
}

fn name(number: usize) -> String {
    format!("c{number}")
}

fn template_shutdown(seed: u8) -> Shutdown {
    // Some children do not listen, and would be waited for without end.
    match manners(seed, "c0").shutdown {
        Shutdown::Infinity => Shutdown::Timeout(Duration::from_millis(500)),
        shutdown => shutdown,
    }
}

/// The machine, and the run that each child had last.
struct Beside {
    driven: Driven,
    last: Vec<(String, RunId)>,
}

impl Beside {
    fn tell(&mut self, event: Event<Paper>) {
        self.driven.tell(event);
        for (pid, id) in &self.driven.running {
            self.last.retain(|(known, _)| known != id);
            self.last.push((id.clone(), *pid));
        }
    }

    fn listed(&mut self) -> Vec<State> {
        self.driven.tell(Event::Call(0, Request::WhichChildren));
        let state = |state: &ChildState<RunId>| match state {
            ChildState::Running(..) => State::Up,
            _ => State::Restarting,
        };
        self.driven.listed.iter().rev().map(|child| state(&child.state)).collect()
    }
}

fn put_through(step: &Step, model: &mut Model, beside: &mut Beside) {
    match step {
        Step::End(nth, kind) => {
            let count = beside.driven.running.len().max(1);
            if let Some((pid, id)) = beside.driven.running.get(nth % count).cloned() {
                beside.driven.running.retain(|(run, _)| *run != pid);
                beside.tell(Event::Exited(pid, reason(*kind)));
                if let Some(at) = model.find(&id) {
                    model.child_ended(at, &reason(*kind));
                }
            }
        }
        Step::Outcomes(outcomes) => {
            model.course.outcomes = outcomes.iter().copied().collect();
            beside.driven.outcomes = model.course.outcomes.clone();
        }
        Step::Start(restart) => {
            let spec = spec(model.course.manners, &name(model.begun), *restart);
            beside.tell(Event::Call(0, Request::StartChild(spec)));
            let answer = if model.course.alive { model.start_child(*restart) } else { "noproc" };
            model.course.log.push(Did::Answered(answer));
        }
        Step::Terminate(nth, is_gone) => {
            let count = beside.last.len().max(1);
            let Some((id, mut pid)) = beside.last.get(nth % count).cloned() else { return };
            if *is_gone {
                pid.incarnation += 1_000;
            }
            beside.tell(Event::Call(0, Request::TerminateChild(Target::RunId(pid))));
            let answer = match model.find(&id) {
                _ if !model.course.alive => "noproc",
                Some(at) if !is_gone => model.terminate(at),
                _ => "not_found",
            };
            model.course.log.push(Did::Answered(answer));
        }
        Step::Retry => {
            if let Some(pid) = beside.driven.retries.pop_front() {
                beside.tell(Event::TryAgain(pid));
            }
            if model.course.alive {
                model.retry();
            }
        }
        Step::Wait(ms) => {
            beside.driven.now += Duration::from_millis(u64::from(*ms));
            model.course.now += u64::from(*ms);
        }
        Step::Stop => {
            beside.tell(Event::Stop(ExitReason::Shutdown));
            if model.course.alive {
                model.end();
            }
        }
    }
}

fn both(seed: u8, kind: Kind, flags: &Flags) -> Option<(Model, Beside)> {
    let mode = match kind {
        Kind::Dynamic(max_children) => Mode::Dynamic { max_children },
        Kind::Template(restart) => {
            let mut template = spec(seed, "c0", restart);
            template.shutdown = Some(template_shutdown(seed));
            Mode::Template(Box::new(template))
        }
    };
    let now = Instant::now();
    let machine = Machine::dynamic(now, 1, flags.clone(), mode).ok()?;
    let model = Model {
        kind,
        children: Vec::new(),
        begun: 0,
        retries: VecDeque::new(),
        course: Course::new(flags.clone(), seed, VecDeque::new()),
    };
    let driven = Driven::new(machine, now, seed, VecDeque::new(), |_, count| name(count));
    let mut beside = Beside { driven, last: Vec::new() };
    beside.tell(Event::Init);
    Some((model, beside))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => restart().prop_map(Step::Start),
        6 => (0..8usize, any::<u8>()).prop_map(|(nth, kind)| Step::End(nth, kind)),
        3 => prop::collection::vec(0..7u8, 0..6).prop_map(Step::Outcomes),
        3 => (0..8usize, prop::bool::weighted(0.2)).prop_map(|(nth, gone)| Step::Terminate(nth, gone)),
        3 => Just(Step::Retry),
        3 => (0..3000u16).prop_map(Step::Wait),
        1 => Just(Step::Stop),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![prop::option::of(0..4usize).prop_map(Kind::Dynamic), restart().prop_map(Kind::Template),]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn children_that_come_and_go_are_kept_as_the_documentation_says(
        kind in kind(),
        mut flags in flags(),
        steps in prop::collection::vec(step(), 0..60),
        seed in any::<u8>(),
    ) {
        // Children that come and go are restarted one for one, whatever the flags say, and none is significant.
        flags.auto_shutdown = AutoShutdown::Never;
        let both = both(seed, kind, &flags);
        prop_assert!(both.is_some(), "the flags and the template are valid");
        let Some((mut model, mut beside)) = both else { return Ok(()) };
        for step in &steps {
            prop_assert_eq!(&model.course.log, &beside.driven.log);
            prop_assert_eq!(model.course.alive, !beside.driven.machine.is_finished());
            if model.course.alive {
                let known: Vec<_> = model.children.iter().map(|child| child.2.clone()).collect();
                prop_assert_eq!(known, beside.listed(), "after {:?}", model.course.log);
            }
            put_through(step, &mut model, &mut beside);
            prop_assert_eq!(beside.driven.now - beside.driven.began, Duration::from_millis(model.course.now));
        }
        prop_assert_eq!(&model.course.log, &beside.driven.log);
    }
}
