//! The machine's state, and how an event finds its way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::time::Instant;

use foldhash::fast::RandomState;

use super::child::{Child, Life};
use super::event::{Action, Event, Reply, Request, RunId, Types};
use super::report::{Context, OffenderPid, Reason, Report};
use super::spec::{AutoShutdown, ChildId, ChildSpec, Flags, FlagsError, GiveUp, SpecError, Strategy};
use super::timers::Timers;
use super::{FailedToStartChild, InitError};
use crate::ExitReason;
use crate::budget::Budget;

/// Says where a supervisor's children come from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Mode<S> {
    /// A list, started in order and addressed by id: OTP's `supervisor`.
    Static,
    /// Children come and go, are addressed by their runs, and never wait for each other: Elixir's `DynamicSupervisor`.
    Dynamic {
        /// How many there may be, the restarting ones included.
        max_children: Option<usize>,
    },
    /// As `Dynamic`, all made after one spec: OTP's `simple_one_for_one`. The start of the template is not used.
    Template(Box<ChildSpec<S>>),
}

/// What the machine is in the middle of.
pub(super) enum Task<H: Types> {
    Idle,
    Init {
        rest: VecDeque<u64>,
    },
    RollBack {
        error: InitError,
        rest: Vec<u64>,
    },
    StartChild {
        caller: H::Caller,
    },
    RestartChild {
        caller: H::Caller,
    },
    Terminate {
        caller: H::Caller,
        slot: u64,
    },
    /// As `Terminate`, and then as `RestartChild`.
    Renew {
        caller: H::Caller,
        slot: u64,
    },
    Restart {
        old: OffenderPid<H::Child>,
    },
    GroupStop {
        group: Group<H::Child>,
        rest: Vec<u64>,
    },
    GroupStart {
        group: Group<H::Child>,
        rest: VecDeque<u64>,
    },
    Shutdown {
        reason: ExitReason,
        rest: Vec<u64>,
    },
    Done,
}

/// The child that a group restart is for, and the run of it that ended.
pub(super) struct Group<C> {
    pub(super) failed: u64,
    pub(super) was: Option<(RunId, C)>,
    /// The rank of its first member.
    pub(super) from: u64,
}

/// What came while the machine was busy.
pub(super) enum Letter<H: Types> {
    Exited(RunId),
    TryAgain(RunId),
    /// A back-off that ran out.
    Retry(RunId),
    Call(H::Caller, Request<H>),
}

/// A supervisor's decisions.
///
/// Feed it with [`handle`](Self::handle), take what it wants with [`poll_action`](Self::poll_action) until there is
/// nothing left, and send [`Event::Tick`] when [`poll_timeout`](Self::poll_timeout) has come.
pub struct Machine<H: Types> {
    pub(super) mode: Mode<H::Start>,
    pub(super) flags: Flags,
    /// By their slots, which are given in the order of the first starts.
    pub(super) children: BTreeMap<u64, Child<H>>,
    /// Slots by rank, the start order; empty when children come and go, which start in the order of their slots.
    pub(super) order: BTreeMap<u64, u64>,
    /// Slots by id; empty when children are not addressed by id.
    pub(super) ids: HashMap<ChildId, u64, RandomState>,
    pub(super) next_slot: u64,
    pub(super) next_rank: u64,
    pub(super) epoch: Instant,
    pub(super) budget: Budget,
    pub(super) task: Task<H>,
    pub(super) mailbox: VecDeque<Letter<H>>,
    pub(super) stop_request: Option<ExitReason>,
    /// The start that was ordered and has not finished.
    pub(super) awaiting: Option<RunId>,
    /// How many children are being stopped.
    pub(super) stops_left: usize,
    /// Errors of a template supervisor's end, by reason.
    pub(super) stop_errors: Vec<(ExitReason, usize)>,
    pub(super) killed: bool,
    /// Whether starts are reported: those of a list, where somebody hears of them.
    pub(super) reports_progress: bool,
    /// The children have no order: they are stopped all at once.
    pub(super) stops_at_once: bool,
    pub(super) timers: Timers,
    pub(super) actions: VecDeque<Action<H>>,
    pub(super) random: u64,
}

impl<H: Types> fmt::Debug for Machine<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("flags", &self.flags)
            .field("children", &self.children.len())
            .field("busy", &self.is_busy())
            .finish_non_exhaustive()
    }
}

impl<H: Types> Machine<H> {
    /// Makes the machine of a supervisor with a list of children.
    ///
    /// `now` is where its seconds begin; `seed` feeds the jitter of back-offs.
    ///
    /// # Errors
    ///
    /// Flags or specs that are not valid, or two specs with one id.
    pub fn new(
        now: Instant,
        seed: u64,
        flags: Flags,
        specs: Vec<ChildSpec<H::Start>>,
    ) -> Result<Self, InitError> {
        flags.validate()?;
        validate_specs(&specs, flags.auto_shutdown)?;
        let mut machine = Self::empty(now, seed, Mode::Static, flags);
        for spec in specs {
            machine.insert(spec);
        }
        Ok(machine)
    }

    /// Makes the machine of a supervisor whose children come and go; the strategy is always one for one.
    ///
    /// # Errors
    ///
    /// Flags that are not valid, an `auto_shutdown` in [`Mode::Dynamic`], or a template that is not valid.
    pub fn dynamic(
        now: Instant,
        seed: u64,
        mut flags: Flags,
        mode: Mode<H::Start>,
    ) -> Result<Self, InitError> {
        flags.validate()?;
        flags.strategy = Strategy::OneForOne;
        match &mode {
            Mode::Template(spec) => spec.validate(flags.auto_shutdown)?,
            _ if flags.auto_shutdown != AutoShutdown::Never => {
                return Err(FlagsError::InvalidAutoShutdown(flags.auto_shutdown).into());
            }
            _ => {}
        }
        Ok(Self::empty(now, seed, mode, flags))
    }

    fn empty(now: Instant, seed: u64, mode: Mode<H::Start>, flags: Flags) -> Self {
        Self {
            budget: Budget::new(flags.max_restarts, flags.max_seconds, now),
            reports_progress: matches!(mode, Mode::Static),
            stops_at_once: !matches!(mode, Mode::Static),
            mode,
            flags,
            children: BTreeMap::new(),
            order: BTreeMap::new(),
            ids: HashMap::default(),
            next_slot: 1,
            next_rank: 1,
            epoch: now,
            task: Task::Idle,
            mailbox: VecDeque::new(),
            stop_request: None,
            awaiting: None,
            stops_left: 0,
            stop_errors: Vec::new(),
            killed: false,
            timers: Timers::default(),
            actions: VecDeque::new(),
            // Never zero: xorshift makes only zeros of zero, and the jitter would be gone.
            random: seed | 1,
        }
    }

    /// Tells the machine what happened.
    pub fn handle(&mut self, now: Instant, event: Event<H>) {
        match event {
            Event::Init => self.init(),
            Event::Started(pid, outcome) => self.on_started(now, pid, outcome),
            Event::Exited(pid, reason) => self.on_exited(now, pid, reason),
            Event::TryAgain(pid) => self.deliver(now, Letter::TryAgain(pid)),
            Event::Call(caller, request) => self.deliver(now, Letter::Call(caller, request)),
            Event::Stop(reason) => {
                // The first reason stays. It is only noted, since an operation is never broken off: half of a
                // group restart would leave children that nobody counts. `run` takes it as soon as the
                // machine is idle.
                self.stop_request.get_or_insert(reason);
            }
            Event::Killed => self.on_killed(now),
            Event::Tick => self.on_tick(now),
        }
        self.run(now);
    }

    /// Says whether [`Report::Progress`] is made from now on, as it is at first: it need not be where nobody hears it.
    ///
    /// `wanted` is not asked where the children come and go: their starts are not reported.
    pub fn report_progress(&mut self, wanted: impl FnOnce() -> bool) {
        self.reports_progress = self.is_static() && wanted();
    }

    /// Makes the end of the supervisor stop all children at once, and not newest first, as it does where they come and go.
    ///
    /// For children of a list that do not need each other: so many that wait for each other's end would take too long.
    pub fn stop_at_once(&mut self) {
        self.stops_at_once = true;
    }

    /// Takes the next thing that the machine wants done.
    pub fn poll_action(&mut self) -> Option<Action<H>> {
        self.actions.pop_front()
    }

    /// The time at which the machine wants an [`Event::Tick`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Says whether an operation is under way; calls that come now wait for its end.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !matches!(self.task, Task::Idle | Task::Done)
    }

    /// Says whether the supervisor has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.task, Task::Done)
    }

    /// The flags in force.
    #[must_use]
    pub fn flags(&self) -> &Flags {
        &self.flags
    }

    fn deliver(&mut self, now: Instant, letter: Letter<H>) {
        match self.task {
            Task::Idle if self.stop_request.is_none() => self.open(now, letter),
            // Answered, and not queued: nothing would ever open the letter.
            Task::Done => {
                if let Letter::Call(caller, _) = letter {
                    self.actions.push_back(Action::Reply(caller, Reply::NoProc));
                }
            }
            _ => self.mailbox.push_back(letter),
        }
    }

    /// Serves what waits, as long as nothing is under way.
    fn run(&mut self, now: Instant) {
        while matches!(self.task, Task::Idle) {
            // A stop goes before everything in the mailbox. Behind it, a child that cannot start and is tried
            // again and again would keep the supervisor from ever ending.
            if let Some(reason) = self.stop_request.take() {
                self.begin_shutdown(now, reason);
            } else if let Some(letter) = self.mailbox.pop_front() {
                self.open(now, letter);
            } else {
                return;
            }
        }
    }

    fn open(&mut self, now: Instant, letter: Letter<H>) {
        match letter {
            Letter::Exited(pid) => self.open_exit(now, pid),
            Letter::TryAgain(pid) => self.try_again(now, pid),
            Letter::Retry(pid) => self.retry(now, pid),
            Letter::Call(caller, request) => self.call(now, caller, request),
        }
    }

    /// Ends the machine: every waiting caller is told, every spec and factory is dropped.
    pub(super) fn finish(&mut self, reason: ExitReason) {
        self.task = Task::Done;
        self.timers.clear();
        // All specs go here, and what their starts hold with them, before `Finished` is told: whoever waits
        // for the supervisor's end finds nothing of its children held.
        self.children.clear();
        self.order.clear();
        self.ids.clear();
        for letter in std::mem::take(&mut self.mailbox) {
            if let Letter::Call(caller, _) = letter {
                self.actions.push_back(Action::Reply(caller, Reply::NoProc));
            }
        }
        // Last, so that a driver that ends with this action has answered every caller.
        self.actions.push_back(Action::Finished(reason));
    }

    pub(super) fn is_static(&self) -> bool {
        matches!(self.mode, Mode::Static)
    }

    /// Adds a child at the end of the start order.
    pub(super) fn insert(&mut self, spec: ChildSpec<H::Start>) -> u64 {
        let (slot, rank) = (self.next_slot, self.next_rank);
        self.next_slot += 1;
        self.next_rank += 1;
        if self.is_static() {
            self.ids.insert(spec.id.clone(), slot);
            self.order.insert(rank, slot);
        }
        let mut child = Child::new(spec, slot, rank);
        // A budget for each child: with one for all, a child that crashes would spend the restarts of its
        // siblings, and they would be parked for it.
        if self.flags.give_up == GiveUp::Park {
            child.budget =
                Some(Box::new(Budget::new(self.flags.max_restarts, self.flags.max_seconds, self.epoch)));
        }
        self.children.insert(slot, child);
        slot
    }

    /// All children, in the order of their starts.
    pub(super) fn slots(&self) -> Vec<u64> {
        if self.is_static() {
            return self.order.values().copied().collect();
        }
        self.children.keys().copied().collect()
    }

    pub(super) fn remove(&mut self, slot: u64) {
        if let Some(mut child) = self.children.remove(&slot) {
            self.order.remove(&child.rank);
            if self.ids.get(&child.spec.id) == Some(&slot) {
                self.ids.remove(&child.spec.id);
            }
            // A deadline that stayed would wake the driver for a child that is gone.
            self.timers.replace(slot, &mut child.timer, None);
        }
    }

    /// OTP's `del_child`: forgets a temporary child (any child when they come and go), keeps the spec of another.
    pub(super) fn drop_run(&mut self, slot: u64) {
        let Some(child) = self.children.get_mut(&slot) else { return };
        if child.is_temporary() || !matches!(self.mode, Mode::Static) {
            self.remove(slot);
        } else {
            child.life = Life::Stopped;
            self.clear_timer(slot);
        }
    }

    pub(super) fn set_timer(&mut self, slot: u64, at: Instant) {
        if let Some(child) = self.children.get_mut(&slot) {
            self.timers.replace(slot, &mut child.timer, Some(at));
        }
    }

    pub(super) fn clear_timer(&mut self, slot: u64) {
        if let Some(child) = self.children.get_mut(&slot) {
            self.timers.replace(slot, &mut child.timer, None);
        }
    }

    /// Reports about a child, with its run as it is now.
    pub(super) fn report(&mut self, slot: u64, context: Context, reason: Reason) {
        let Some(child) = self.children.get(&slot) else { return };
        let pid = child.offender_pid();
        self.report_as(slot, context, reason, pid);
    }

    pub(super) fn report_as(
        &mut self,
        slot: u64,
        context: Context,
        reason: Reason,
        pid: OffenderPid<H::Child>,
    ) {
        let Some(child) = self.children.get(&slot) else { return };
        // OTP's supervisor that was killed runs no code any more, so that nothing is reported about its
        // children.
        if !self.killed {
            self.actions.push_back(Action::Report(Report::Error(context, reason, child.offender(pid))));
        }
    }

    /// A number in `0.0..1.0`, from xorshift: good enough for jitter.
    pub(super) fn next_random(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        // 53 bits, as many as an `f64` holds exactly: with more, the greatest numbers would be rounded up to
        // 1.0.
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn init_failed(&mut self, error: InitError) {
        let reason = match &error {
            // OTP's `{shutdown, {failed_to_start_child, Id, Reason}}`: the parent's report nests it, so that
            // the innermost cause is read at the top of a tree.
            InitError::Child(failed) => ExitReason::shutdown_with(FailedToStartChild::clone(failed)),
            InitError::Stopped(reason) => reason.clone(),
            other => ExitReason::error(other.clone()),
        };
        self.actions.push_back(Action::Initialized(Err(error)));
        self.finish(reason);
    }
}

/// Checks each spec, then that no two have one id.
pub(super) fn validate_specs<S>(specs: &[ChildSpec<S>], auto: AutoShutdown) -> Result<(), SpecError> {
    let mut seen = std::collections::HashSet::new();
    for spec in specs {
        spec.validate(auto)?;
        if !seen.insert(&spec.id) {
            return Err(SpecError::DuplicateId(spec.id.clone()));
        }
    }
    Ok(())
}
