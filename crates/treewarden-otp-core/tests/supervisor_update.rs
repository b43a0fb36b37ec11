//! An update of a supervisor that runs, and what a child that is given up comes to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use treewarden_otp_core::supervisor::{
    Action, AutoShutdown, ChildInfo, ChildSpec, ChildState, Event, Flags, GiveUp, Machine, Mode, Place,
    Reply, Report, Request, Restart, RunId, SpecError, StartOutcome, Strategy, Types, UpdateError,
};
use treewarden_otp_core::{Backoff, ExitReason};

/// Children are their own pids, and what starts them is a word.
#[derive(Debug)]
enum Paper {}

impl Types for Paper {
    type Start = &'static str;
    type Child = RunId;
    type Info = ();
    type Caller = ();

    fn is_alive(_: &RunId) -> bool {
        true
    }
}

/// A supervisor whose starts end at once.
struct Bench {
    machine: Machine<Paper>,
    now: Instant,
    /// What does not start when it is to, once for each entry.
    fails: Vec<&'static str>,
    retries: VecDeque<RunId>,
    /// What was started, by the word that starts it.
    started: Vec<&'static str>,
    given_up: Vec<(&'static str, GiveUp)>,
    replies: Vec<Reply<Paper>>,
    finished: bool,
}

fn child(id: &'static str) -> ChildSpec<&'static str> {
    ChildSpec::new(id, id)
}

fn with(id: &'static str, restart: Restart, significant: bool) -> ChildSpec<&'static str> {
    let mut spec = child(id);
    spec.restart = restart;
    spec.significant = significant;
    spec
}

fn keep(id: &'static str) -> Place<&'static str> {
    Place::Keep(id.into())
}

impl Bench {
    fn new(flags: Flags, specs: Vec<ChildSpec<&'static str>>) -> Self {
        let now = Instant::now();
        Self::of(now, Machine::new(now, 1, flags, specs).expect("the flags and specs are valid"))
    }

    /// A supervisor whose children are made after one spec.
    fn template(flags: Flags, spec: ChildSpec<&'static str>) -> Self {
        let (now, mode) = (Instant::now(), Mode::Template(Box::new(spec)));
        Self::of(now, Machine::dynamic(now, 1, flags, mode).expect("the flags and the spec are valid"))
    }

    fn of(now: Instant, machine: Machine<Paper>) -> Self {
        let mut bench = Self {
            machine,
            now,
            fails: vec![],
            retries: VecDeque::new(),
            started: vec![],
            given_up: vec![],
            replies: vec![],
            finished: false,
        };
        bench.feed(Event::Init);
        bench.started.clear();
        bench
    }

    fn feed(&mut self, event: Event<Paper>) {
        self.machine.handle(self.now, event);
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Start(order) => {
                    let outcome = match self.fails.iter().position(|start| *start == order.start) {
                        Some(at) => Err(ExitReason::message(self.fails.remove(at))),
                        None => {
                            self.started.push(order.start);
                            Ok(StartOutcome::Running(order.pid, None))
                        }
                    };
                    self.machine.handle(self.now, Event::Started(order.pid, outcome));
                }
                Action::Stop(pid, _, reason) => self.machine.handle(self.now, Event::Exited(pid, reason)),
                Action::GivenUp(start, how, _) => self.given_up.push((start, how)),
                Action::Reply((), reply) => self.replies.push(reply),
                Action::Finished(_) => self.finished = true,
                Action::Report(Report::Quarantined(_)) | Action::Kill(..) => {
                    panic!("nothing has to be killed here")
                }
                Action::TryAgain(pid) => self.retries.push_back(pid),
                Action::Report(_) | Action::Initialized(_) => {}
            }
        }
    }

    fn call(&mut self, request: Request<Paper>) -> Reply<Paper> {
        self.feed(Event::Call((), request));
        self.replies.pop().expect("every call is answered")
    }

    fn update(&mut self, flags: Flags, places: Vec<Place<&'static str>>) -> Result<(), UpdateError> {
        match self.call(Request::Update(Some(flags), places)) {
            Reply::Update(result) => result,
            other => panic!("{other:?} answers something else"),
        }
    }

    /// The children in their order.
    fn children(&mut self) -> Vec<ChildInfo<RunId>> {
        match self.call(Request::WhichChildren) {
            Reply::WhichChildren(mut children) => {
                children.reverse();
                children
            }
            other => panic!("{other:?} answers something else"),
        }
    }

    fn order(&mut self) -> Vec<String> {
        self.children().iter().map(|child| child.id.to_string()).collect()
    }

    fn run_of(&mut self, id: &str) -> Option<RunId> {
        self.children().into_iter().find(|child| child.id.as_str() == id).and_then(|child| {
            match child.state {
                ChildState::Running(pid, _) => Some(pid),
                _ => None,
            }
        })
    }

    fn crash(&mut self, id: &str) {
        let pid = self.run_of(id).expect("it runs");
        self.feed(Event::Exited(pid, ExitReason::message("boom")));
    }
}

#[test]
fn what_is_kept_or_changed_goes_on_running_and_the_order_is_the_lists() {
    let mut bench = Bench::new(Flags::default(), vec![child("a"), child("b"), child("c")]);
    let before: Vec<_> = ["a", "b", "c"].map(|id| bench.run_of(id)).into();
    let places = vec![keep("c"), Place::Put(child("new")), Place::Put(ChildSpec::new("a", "a2"))];
    bench.update(Flags::default(), places).expect("it is valid");
    assert_eq!(bench.order(), ["c", "new", "a", "b"], "what is not in the list comes after it");
    assert_eq!(["a", "b", "c"].map(|id| bench.run_of(id)).to_vec(), before);
    assert!(bench.started.is_empty() && bench.run_of("new").is_none());
    bench.crash("a");
    assert_eq!(bench.started, ["a2"], "the next start is by the new spec");
}

#[test]
fn a_kept_child_that_is_gone_stays_gone() {
    let once = with("once", Restart::Temporary, false);
    let mut bench = Bench::new(Flags::default(), vec![once, child("a")]);
    bench.crash("once");
    bench.update(Flags::default(), vec![keep("a"), keep("once")]).expect("it is valid");
    assert_eq!(bench.order(), ["a"]);
}

#[test]
fn new_flags_hold_from_the_next_end_of_a_child_on() {
    let mut bench = Bench::new(Flags::default(), vec![child("a"), child("b")]);
    let flags = Flags { strategy: Strategy::RestForOne, ..Flags::default() };
    bench.update(flags, vec![keep("b"), keep("a")]).expect("it is valid");
    bench.crash("b");
    assert_eq!(bench.started, ["b", "a"]);
    bench.started.clear();
    bench.crash("a");
    assert_eq!(bench.started, ["a"]);
}

#[test]
fn what_is_refused_changes_nothing() {
    let significant = || with("s", Restart::Transient, true);
    let any = Flags { auto_shutdown: AutoShutdown::AnySignificant, ..Flags::default() };
    let mut bench = Bench::new(any.clone(), vec![significant(), child("a")]);
    let never = Flags::default();
    let table = [
        (never.clone(), vec![keep("a")], UpdateError::Spec(SpecError::SignificantNever("s".into()))),
        (never, vec![keep("s"), keep("a")], UpdateError::Spec(SpecError::SignificantNever("s".into()))),
        (
            any.clone(),
            vec![Place::Put(with("new", Restart::Permanent, true))],
            UpdateError::Spec(SpecError::SignificantPermanent("new".into())),
        ),
        (
            any.clone(),
            vec![keep("a"), Place::Put(child("a"))],
            UpdateError::Spec(SpecError::DuplicateId("a".into())),
        ),
    ];
    for (flags, places, expected) in table {
        assert_eq!(bench.update(flags, places), Err(expected));
        assert_eq!(bench.order(), ["s", "a"]);
        assert_eq!(bench.machine.flags(), &any);
    }
    let zero = Flags { max_seconds: 0, ..any };
    assert!(matches!(bench.update(zero, vec![]), Err(UpdateError::Flags(_))));
}

#[test]
fn a_child_that_runs_as_temporary_stays_so_when_its_template_changes() {
    for restart in [Restart::Permanent, Restart::Transient] {
        let mut bench = Bench::template(Flags::default(), with("t", Restart::Temporary, false));
        assert!(matches!(bench.call(Request::StartChild(child("a"))), Reply::StartChild(Ok(_))));
        let change = Request::CodeChange(Flags::default(), vec![with("t", restart, false)]);
        assert!(matches!(bench.call(change), Reply::CodeChange(Ok(()))));
        bench.crash("t");
        assert!(!bench.machine.is_busy(), "{restart:?}: there is no start of it left to wait for");
        assert_eq!(bench.order(), Vec::<String>::new(), "its start is gone since it runs");
        assert!(matches!(bench.call(Request::StartChild(child("b"))), Reply::StartChild(Ok(_))));
        bench.crash("t");
        assert_eq!(bench.started, ["a", "b", "b"], "what is started from now on is as the template is");
        bench.feed(Event::Stop(ExitReason::Shutdown));
        assert!(bench.finished);
    }
}

#[test]
fn the_group_of_a_child_that_became_temporary_is_started_without_it() {
    let table = [
        (Strategy::OneForAll, vec!["a", "a", "c"]),
        (Strategy::RestForOne, vec!["c"]),
        (Strategy::OneForOne, vec!["b"]),
    ];
    for (strategy, started) in table {
        let flags = Flags { strategy, ..Flags::default() };
        let mut bench = Bench::new(flags.clone(), vec![child("a"), child("b"), child("c")]);
        bench.fails.push("b");
        bench.crash("b");
        let places = vec![keep("a"), Place::Put(with("b", Restart::Temporary, false)), keep("c")];
        bench.update(flags, places).expect("it is valid");
        let retry = bench.retries.pop_front().expect("the start of b has failed");
        bench.feed(Event::TryAgain(retry));
        assert_eq!(bench.started, started, "{strategy:?}");
        assert!(bench.run_of("a").is_some() && bench.run_of("c").is_some(), "{strategy:?}");
    }
}

#[test]
fn the_children_of_a_dynamic_supervisor_have_no_order_to_change() {
    let now = Instant::now();
    let mut machine: Machine<Paper> =
        Machine::dynamic(now, 1, Flags::default(), Mode::Dynamic { max_children: None })
            .expect("it is valid");
    machine.handle(now, Event::Init);
    machine.handle(now, Event::Call((), Request::Update(None, vec![])));
    let answers: Vec<_> = std::iter::from_fn(|| machine.poll_action()).collect();
    let refused = |action: &Action<Paper>| {
        matches!(action, Action::Reply((), Reply::Update(Err(UpdateError::Dynamic))))
    };
    assert!(answers.iter().any(refused), "{answers:?}");
}

#[test]
fn whoever_starts_a_parked_child_is_told_and_a_restart_gives_it_a_fresh_budget() {
    let flags = Flags { give_up: GiveUp::Park, max_restarts: 1, ..Flags::default() };
    let mut bench = Bench::new(flags, vec![child("a"), child("b")]);
    for _ in 0..2 {
        bench.crash("a");
    }
    assert_eq!(bench.given_up, [("a", GiveUp::Park)], "at once, and once");
    assert!(matches!(bench.children()[0].state, ChildState::Parked));
    assert!(bench.run_of("b").is_some() && !bench.finished);
    assert!(matches!(bench.call(Request::RestartChild("a".into())), Reply::RestartChild(Ok(_))));
    bench.crash("a");
    assert!(bench.run_of("a").is_some(), "the budget is a fresh one");
    bench.crash("a");
    assert_eq!(bench.given_up.len(), 2);
}

#[test]
fn whoever_starts_the_child_that_ends_its_supervisor_is_told() {
    let mut bench = Bench::new(Flags { max_restarts: 0, ..Flags::default() }, vec![child("a"), child("b")]);
    bench.crash("a");
    assert_eq!(bench.given_up, [("a", GiveUp::Escalate)]);
    assert!(bench.finished);
}

/// Crashes a child again and again and returns how long each restart waited.
fn waits(bench: &mut Bench, up: Duration, count: usize) -> Vec<Duration> {
    (0..count)
        .map(|_| {
            bench.now += up;
            let crashed = bench.now;
            bench.crash("a");
            if let Some(at) = bench.machine.poll_timeout() {
                bench.now = at;
                bench.feed(Event::Tick);
            }
            assert!(bench.run_of("a").is_some());
            bench.now - crashed
        })
        .collect()
}

#[test]
fn a_back_off_grows_from_crash_to_crash_and_starts_anew_after_a_stable_run() {
    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350))
        .jitter(0.0)
        .reset_after(Duration::from_secs(30));
    let mut spec = child("a");
    spec.backoff = Some(backoff);
    let flags = Flags { max_restarts: 1_000, max_seconds: 1, ..Flags::default() };
    let mut bench = Bench::new(flags, vec![spec]);
    let millis = |waits: Vec<Duration>| waits.iter().map(Duration::as_millis).collect::<Vec<_>>();
    assert_eq!(millis(waits(&mut bench, Duration::from_secs(1), 5)), [0, 100, 200, 350, 350]);
    let almost = Duration::from_millis(29_999);
    assert_eq!(millis(waits(&mut bench, almost, 1)), [350], "not stable long enough");
    assert_eq!(millis(waits(&mut bench, Duration::from_secs(30), 1)), [0], "stable: it starts anew");
    assert_eq!(millis(waits(&mut bench, Duration::from_secs(1), 2)), [100, 200]);
}

#[test]
fn a_back_off_that_no_clock_can_hold_waits_and_does_not_end_the_supervisor() {
    let mut spec = child("a");
    spec.backoff = Some(Backoff::new(Duration::MAX, Duration::MAX));
    let mut bench = Bench::new(Flags::default(), vec![spec]);
    bench.crash("a");
    bench.crash("a");
    assert_eq!(bench.children()[0].state, ChildState::Restarting);
    assert_eq!(bench.machine.poll_timeout(), None);
    bench.feed(Event::Stop(ExitReason::Shutdown));
    assert!(bench.finished);
}

#[test]
fn the_jitter_of_two_supervisors_differs_and_stays_within_its_share() {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).factor(1.0).jitter(0.2);
    let run = |seed| {
        let mut spec = child("a");
        spec.backoff = Some(backoff.clone());
        let flags = Flags { max_restarts: 1_000, max_seconds: 1, ..Flags::default() };
        let mut bench = Bench::new(flags.clone(), vec![]);
        bench.machine = Machine::new(bench.now, seed, flags, vec![spec]).expect("it is valid");
        bench.feed(Event::Init);
        waits(&mut bench, Duration::ZERO, 20).split_off(1)
    };
    let (first, second) = (run(1 << 40), run(77 << 40));
    assert_ne!(first, second);
    let share = Duration::from_millis(800)..=Duration::from_millis(1_200);
    assert!(first.iter().chain(&second).all(|wait| share.contains(wait)), "{first:?} {second:?}");
    let distinct: std::collections::BTreeSet<_> = first.iter().collect();
    assert!(distinct.len() > 10, "{first:?}");
}
