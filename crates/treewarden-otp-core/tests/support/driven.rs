//! The machine beside which a model is put: what is told to it and what it does, with children that have manners.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{
    Action, ChildInfo, Event, Machine, Reply, RunId, StartOrder, StartOutcome,
};

use crate::manners::manners;
use crate::paper::Paper;

/// How a start ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    Up,
    Ignore,
    Fail,
}

/// What either side did, by the names of children.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Did {
    Started(String),
    Failed(String),
    Ignored(String),
    Stopped(String),
    Killed(String),
    Answered(&'static str),
    Ended,
}

impl Outcome {
    /// The start that ended so.
    pub(crate) fn did(self, id: String) -> Did {
        match self {
            Self::Up => Did::Started(id),
            Self::Ignore => Did::Ignored(id),
            Self::Fail => Did::Failed(id),
        }
    }
}

pub(crate) fn reason(kind: u8) -> ExitReason {
    match kind % 5 {
        0 => ExitReason::Normal,
        1 => ExitReason::Shutdown,
        2 => ExitReason::shutdown_with(std::io::Error::other("x")),
        3 => ExitReason::Killed,
        _ => ExitReason::message("boom"),
    }
}

/// The next of the outcomes that were drawn; then every start succeeds.
pub(crate) fn outcome(queue: &mut VecDeque<u8>) -> Outcome {
    match queue.pop_front() {
        Some(0 | 1) => Outcome::Fail,
        Some(2) => Outcome::Ignore,
        _ => Outcome::Up,
    }
}

/// The machine, with children that have manners.
pub(crate) struct Driven {
    pub(crate) machine: Machine<Paper>,
    pub(crate) began: Instant,
    pub(crate) now: Instant,
    pub(crate) outcomes: VecDeque<u8>,
    names: HashMap<u64, String>,
    pub(crate) running: Vec<(RunId, String)>,
    manners: u8,
    name: Name,
    /// Who was told to stop, and ends when.
    leaving: Vec<(Instant, RunId)>,
    /// Restarts that failed, and are to be tried again.
    pub(crate) retries: VecDeque<RunId>,
    pub(crate) log: Vec<Did>,
    /// The last answer to `which_children`.
    pub(crate) listed: Vec<ChildInfo<RunId>>,
}

/// The name of the child that is started, of which so many others have one already.
pub(crate) type Name = fn(&StartOrder<()>, usize) -> String;

impl Driven {
    pub(crate) fn new(
        machine: Machine<Paper>,
        now: Instant,
        seed: u8,
        outcomes: VecDeque<u8>,
        name: Name,
    ) -> Self {
        Self {
            machine,
            began: now,
            now,
            outcomes,
            names: HashMap::new(),
            running: Vec::new(),
            manners: seed,
            name,
            leaving: Vec::new(),
            retries: VecDeque::new(),
            log: Vec::new(),
            listed: Vec::new(),
        }
    }

    /// Tells the machine, and does what it wants until it waits for nobody.
    pub(crate) fn tell(&mut self, event: Event<Paper>) {
        self.machine.handle(self.now, event);
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.obey(action);
            }
            if !self.pass() {
                return;
            }
        }
    }

    /// While the machine waits for somebody, lets time pass until something happens.
    fn pass(&mut self) -> bool {
        let leaving = self.leaving.iter().copied().min_by_key(|(at, _)| *at);
        let deadline = self.machine.poll_timeout().filter(|_| self.machine.is_busy());
        match (leaving, deadline) {
            (Some((at, pid)), deadline) if deadline.is_none_or(|deadline| at <= deadline) => {
                self.now = self.now.max(at);
                self.gone(pid, ExitReason::Shutdown);
            }
            (_, Some(deadline)) => {
                self.now = self.now.max(deadline);
                self.machine.handle(self.now, Event::Tick);
            }
            _ => return false,
        }
        true
    }

    fn gone(&mut self, pid: RunId, reason: ExitReason) {
        self.leaving.retain(|(_, leaves)| *leaves != pid);
        self.running.retain(|(run, _)| *run != pid);
        self.machine.handle(self.now, Event::Exited(pid, reason));
    }

    fn obey(&mut self, action: Action<Paper>) {
        match action {
            Action::Start(order) => {
                let (pid, count) = (order.pid, self.names.len());
                let id = self.names.entry(pid.slot).or_insert_with(|| (self.name)(&order, count)).clone();
                let outcome = outcome(&mut self.outcomes);
                self.log.push(outcome.did(id.clone()));
                let outcome = match outcome {
                    Outcome::Up => {
                        self.running.push((pid, id));
                        Ok(StartOutcome::Running(pid, None))
                    }
                    Outcome::Ignore => Ok(StartOutcome::Ignore),
                    Outcome::Fail => Err(ExitReason::message("no")),
                };
                self.machine.handle(self.now, Event::Started(pid, outcome));
            }
            Action::Stop(pid, ..) => {
                let id = self.names[&pid.slot].clone();
                let takes = manners(self.manners, &id).takes;
                self.log.push(Did::Stopped(id));
                match takes {
                    Some(0) => self.gone(pid, ExitReason::Shutdown),
                    Some(takes) => self.leaving.push((self.now + Duration::from_millis(takes), pid)),
                    None => {}
                }
            }
            Action::Kill(pid, ..) => {
                self.log.push(Did::Killed(self.names[&pid.slot].clone()));
                self.gone(pid, ExitReason::Killed);
            }
            Action::TryAgain(pid) => self.retries.push_back(pid),
            Action::Reply(_, Reply::WhichChildren(children)) => self.listed = children,
            Action::Reply(_, reply) => self.log.push(Did::Answered(answer(&reply))),
            Action::Finished(_) => self.log.push(Did::Ended),
            Action::Report(_) | Action::Initialized(_) | Action::GivenUp(..) => {}
        }
    }
}

/// An answer by OTP's name for it.
fn answer(reply: &Reply<Paper>) -> &'static str {
    let text = format!("{reply:?}");
    let names = [
        ("NoProc", "noproc"),
        ("AlreadyStarted", "already_started"),
        ("AlreadyPresent", "already_present"),
        ("InvalidSpec", "invalid"),
        ("NotFound", "not_found"),
        ("MaxChildren", "max_children"),
        ("Err(Running", "running"),
        ("Err(Restarting", "restarting"),
        ("Failed", "failed"),
    ];
    names.iter().find(|(ours, _)| text.contains(ours)).map_or("ok", |(_, otp)| otp)
}
