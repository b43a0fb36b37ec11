//! The supervisor machine beside a model of OTP that was written from OTP's documentation, not from the machine.
//!
//! The model is a list of children and a few functions that follow the text of `supervisor(3)`, one sentence each. It
//! has no queue and no asynchrony: what takes time is added to its clock. Children obey at once, take their time, or do
//! not listen and are killed at their deadline. Both are put through the same random steps in virtual time; after each
//! one they must agree on every child's state, on every start, stop and kill in its order, on the time, on the answer,
//! and on whether and how the supervisor has ended.

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
    AutoShutdown, ChildState, Event, Flags, Machine, Request, Restart, RunId, Strategy as Restarts, Target,
};

use documented::{Course, is_clean};
use driven::{Did, Driven, Outcome, reason};
use manners::{manners, spec};
use paper::{Paper, flags, restart};

#[derive(Debug, Clone)]
enum Step {
    End(usize, u8),
    Outcomes(Vec<u8>),
    Start(u8, Restart, bool),
    Terminate(u8),
    Restart(u8),
    Delete(u8),
    Wait(u16),
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Up,
    Down,
    Restarting,
}

/// OTP by its documentation.
struct Model {
    children: Vec<(String, Restart, bool, State)>,
    course: Course,
}

impl Model {
    /// "The children are started in the order of the list, and terminated in the reverse order when one fails."
    fn init(&mut self) {
        for at in 0..self.children.len() {
            match self.start(at) {
                Outcome::Up => self.children[at].3 = State::Up,
                Outcome::Ignore => {}
                Outcome::Fail => return self.end(),
            }
        }
        self.forget_temporary();
    }

    fn start(&mut self, at: usize) -> Outcome {
        self.course.start(&self.children[at].0)
    }

    /// "If the start function returns `ignore`, the child specification is kept, unless it is a temporary child." The
    /// specification of a temporary child goes with the child.
    fn forget_temporary(&mut self) {
        self.children.retain(|(_, restart, _, state)| *restart != Restart::Temporary || *state == State::Up);
    }

    fn stop(&mut self, at: usize) {
        let (id, .., state) = &self.children[at];
        if *state == State::Up {
            self.course.stop(id, manners(self.course.manners, id));
        }
        self.children[at].3 = State::Down;
    }

    /// "The supervisor terminates its children in reversed start order."
    fn end(&mut self) {
        (0..self.children.len()).rev().for_each(|at| self.stop(at));
        self.children.clear();
        self.course.end();
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.children.iter().position(|child| child.0 == id)
    }

    /// "A permanent child is always restarted, a temporary one never, a transient one only if it terminates abnormally."
    fn child_ended(&mut self, at: usize, reason: &ExitReason) {
        match self.children[at].1 {
            Restart::Permanent => self.restart(at),
            Restart::Transient if !is_clean(reason) => self.restart(at),
            _ => {
                let significant = self.children[at].2;
                self.children[at].3 = State::Down;
                self.forget_temporary();
                let another = self.children.iter().any(|child| child.2 && child.3 != State::Down);
                // "any: when any significant child terminates by itself. all: when the last one has."
                let over = match self.course.flags.auto_shutdown {
                    AutoShutdown::Never => false,
                    AutoShutdown::AnySignificant => significant,
                    AutoShutdown::AllSignificant => significant && !another,
                };
                if over {
                    self.end();
                }
            }
        }
    }

    /// "If more than MaxR restarts occur within MaxT seconds, the supervisor terminates all the children and then
    /// itself." Then the strategy; a restart that fails is tried again, and counts again.
    fn restart(&mut self, at: usize) {
        let id = self.children[at].0.clone();
        self.children[at].3 = State::Down;
        let mut next = Some(id);
        while let Some(id) = next.take() {
            let Some(at) = self.find(&id) else { return };
            if !self.course.count_restart() {
                self.children[at].3 = State::Down;
                return self.end();
            }
            let from = match self.course.flags.strategy {
                Restarts::OneForOne => None,
                Restarts::OneForAll => Some(0),
                Restarts::RestForOne => Some(at),
            };
            next = match from {
                None => self.restart_alone(at),
                Some(from) => self.restart_from(from),
            };
        }
    }

    fn restart_alone(&mut self, at: usize) -> Option<String> {
        let id = self.children[at].0.clone();
        match self.start(at) {
            Outcome::Up => self.children[at].3 = State::Up,
            Outcome::Ignore => self.children[at].3 = State::Down,
            Outcome::Fail => {
                self.children[at].3 = State::Restarting;
                return Some(id);
            }
        }
        None
    }

    /// "The rest of the child processes, or all others, are terminated, and then all of them restarted." Those that
    /// are temporary are not; the one that fails to start is where the next attempt begins.
    fn restart_from(&mut self, from: usize) -> Option<String> {
        (from..self.children.len()).rev().for_each(|at| self.stop(at));
        self.forget_temporary();
        for at in from..self.children.len() {
            let failed = self.restart_alone(at);
            if failed.is_some() {
                return failed;
            }
        }
        None
    }

    fn call(&mut self, step: &Step) -> &'static str {
        if !self.course.alive {
            return "noproc";
        }
        match step {
            Step::Start(id, restart, significant) => self.start_child(&name(*id), *restart, *significant),
            Step::Terminate(id) => match self.find(&name(*id)) {
                None => "not_found",
                Some(at) => {
                    self.stop(at);
                    self.forget_temporary();
                    "ok"
                }
            },
            Step::Restart(id) => match self.find(&name(*id)).map(|at| (at, self.children[at].3)) {
                None => "not_found",
                Some((_, State::Up)) => "running",
                Some((_, State::Restarting)) => "restarting",
                Some((at, State::Down)) => match self.start(at) {
                    Outcome::Fail => "failed",
                    Outcome::Ignore => "ok",
                    Outcome::Up => {
                        self.children[at].3 = State::Up;
                        "ok"
                    }
                },
            },
            Step::Delete(id) => match self.find(&name(*id)).map(|at| (at, self.children[at].3)) {
                None => "not_found",
                Some((_, State::Up)) => "running",
                Some((_, State::Restarting)) => "restarting",
                Some((at, State::Down)) => {
                    self.children.remove(at);
                    "ok"
                }
            },
            _ => "ok",
        }
    }

    fn start_child(&mut self, id: &str, restart: Restart, significant: bool) -> &'static str {
        if significant
            && (restart == Restart::Permanent || self.course.flags.auto_shutdown == AutoShutdown::Never)
        {
            return "invalid";
        }
        match self.find(id).map(|at| self.children[at].3) {
            Some(State::Up) => return "already_started",
            Some(_) => return "already_present",
            None => {}
        }
        self.children.push((id.to_owned(), restart, significant, State::Down));
        let at = self.children.len() - 1;
        match self.start(at) {
            Outcome::Up => self.children[at].3 = State::Up,
            Outcome::Ignore => self.forget_temporary(),
            Outcome::Fail => {
                self.children.pop();
                return "failed";
            }
        }
        "ok"
    }
}

fn name(id: u8) -> String {
    format!("c{id}")
}

fn request(seed: u8, step: &Step) -> Option<Request<Paper>> {
    Some(match step {
        Step::Start(id, restart, significant) => {
            let mut spec = spec(seed, &name(*id), *restart);
            spec.significant = *significant;
            Request::StartChild(spec)
        }
        Step::Terminate(id) => Request::TerminateChild(Target::Id(name(*id).as_str().into())),
        Step::Restart(id) => Request::RestartChild(name(*id).as_str().into()),
        Step::Delete(id) => Request::DeleteChild(name(*id).as_str().into()),
        _ => return None,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..8usize, any::<u8>()).prop_map(|(nth, kind)| Step::End(nth, kind)),
        3 => prop::collection::vec(0..7u8, 0..6).prop_map(Step::Outcomes),
        3 => (0..8u8, restart(), any::<bool>()).prop_map(|(id, restart, sig)| Step::Start(id, restart, sig)),
        3 => (0..8u8).prop_map(Step::Terminate),
        3 => (0..8u8).prop_map(Step::Restart),
        2 => (0..8u8).prop_map(Step::Delete),
        3 => (0..3000u16).prop_map(Step::Wait),
        1 => Just(Step::Stop),
    ]
}

type Children = Vec<(String, Restart, bool, State)>;

fn children() -> impl Strategy<Value = Children> {
    prop::collection::vec((restart(), any::<bool>()), 0..6).prop_map(|children| {
        let numbered = (0_u8..).zip(children);
        numbered
            .map(|(number, (restart, sig))| {
                (name(number), restart, sig && restart != Restart::Permanent, State::Down)
            })
            .collect()
    })
}

fn both(seed: u8, flags: &Flags, children: &Children, outcomes: &[u8]) -> Option<(Model, Driven)> {
    let specs = children.iter().map(|(id, restart, significant, _)| {
        let mut spec = spec(seed, id, *restart);
        spec.significant = *significant;
        spec
    });
    let now = Instant::now();
    let machine = Machine::new(now, 1, flags.clone(), specs.collect()).ok()?;
    let outcomes: VecDeque<u8> = outcomes.iter().copied().collect();
    let course = Course::new(flags.clone(), seed, outcomes.clone());
    let mut model = Model { children: children.clone(), course };
    let mut driven = Driven::new(machine, now, seed, outcomes, |order, _| order.id.to_string());
    model.init();
    tell(&mut driven, Event::Init);
    Some((model, driven))
}

/// A restart that fails is tried again at once.
fn tell(driven: &mut Driven, event: Event<Paper>) {
    driven.tell(event);
    while let Some(pid) = driven.retries.pop_front() {
        driven.tell(Event::TryAgain(pid));
    }
}

fn listed(driven: &Driven) -> Vec<(String, State)> {
    let state = |state: &ChildState<RunId>| match state {
        ChildState::Running(..) => State::Up,
        ChildState::Restarting => State::Restarting,
        _ => State::Down,
    };
    driven.listed.iter().rev().map(|child| (child.id.to_string(), state(&child.state))).collect()
}

fn put_through(step: &Step, model: &mut Model, driven: &mut Driven) {
    match step {
        Step::End(nth, kind) => {
            let count = driven.running.len().max(1);
            if let Some((pid, id)) = driven.running.get(nth % count).cloned() {
                driven.running.retain(|(run, _)| *run != pid);
                tell(driven, Event::Exited(pid, reason(*kind)));
                if let Some(at) = model.find(&id) {
                    model.child_ended(at, &reason(*kind));
                }
            }
        }
        Step::Outcomes(outcomes) => {
            model.course.outcomes = outcomes.iter().copied().collect();
            driven.outcomes = model.course.outcomes.clone();
        }
        Step::Wait(ms) => {
            driven.now += Duration::from_millis(u64::from(*ms));
            model.course.now += u64::from(*ms);
        }
        Step::Stop => {
            tell(driven, Event::Stop(ExitReason::Shutdown));
            if model.course.alive {
                model.end();
            }
        }
        call => {
            if let Some(request) = request(model.course.manners, call) {
                tell(driven, Event::Call(0, request));
                let answer = model.call(call);
                model.course.log.push(Did::Answered(answer));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_does_what_the_documentation_of_otp_says(
        flags in flags(),
        mut children in children(),
        outcomes in prop::collection::vec(0..20u8, 0..8),
        steps in prop::collection::vec(step(), 0..50),
        seed in any::<u8>(),
    ) {
        if flags.auto_shutdown == AutoShutdown::Never {
            children.iter_mut().for_each(|child| child.2 = false);
        }
        let both = both(seed, &flags, &children, &outcomes);
        prop_assert!(both.is_some(), "the flags and specs are valid");
        let Some((mut model, mut driven)) = both else { return Ok(()) };
        for step in &steps {
            prop_assert_eq!(&model.course.log, &driven.log);
            prop_assert_eq!(model.course.alive, !driven.machine.is_finished());
            if model.course.alive {
                driven.tell(Event::Call(0, Request::WhichChildren));
                let known: Vec<_> = model.children.iter().map(|child| (child.0.clone(), child.3)).collect();
                prop_assert_eq!(known, listed(&driven), "after {:?}", model.course.log);
            }
            put_through(step, &mut model, &mut driven);
            prop_assert_eq!(driven.now - driven.began, Duration::from_millis(model.course.now));
        }
        prop_assert_eq!(&model.course.log, &driven.log);
    }
}
