//! What a supervisor that is killed does about the children that it was stopping already.

#[path = "support/paper.rs"]
#[expect(dead_code, reason = "random flags are the property tests'")]
mod paper;

use std::time::{Duration, Instant};

use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{
    Action, ChildSpec, Event, Flags, Kind, Machine, Request, RunId, Shutdown, StartOutcome, Target,
};

use paper::Paper;

/// A supervisor with one child, which was told to stop and has not ended.
struct Bench {
    machine: Machine<Paper>,
    now: Instant,
    child: RunId,
}

impl Bench {
    fn stopping(kind: Kind, shutdown: Shutdown) -> Self {
        let mut spec = ChildSpec::new("c0", ());
        (spec.kind, spec.shutdown) = (kind, Some(shutdown));
        let now = Instant::now();
        let mut machine = Machine::new(now, 1, Flags::default(), vec![spec]).expect("the spec is valid");
        machine.handle(now, Event::Init);
        let Some(Action::Start(order)) = machine.poll_action() else { panic!("the child is started") };
        let child = order.pid;
        machine.handle(now, Event::Started(child, Ok(StartOutcome::Running(child, None))));
        machine.handle(now, Event::Call(0, Request::TerminateChild(Target::Id("c0".into()))));
        let mut bench = Self { machine, now, child };
        assert!(bench.actions().iter().any(|action| matches!(action, Action::Stop(..))));
        bench
    }

    fn actions(&mut self) -> Vec<Action<Paper>> {
        std::iter::from_fn(|| self.machine.poll_action()).collect()
    }

    /// How long it is until the child is killed.
    fn killed_after(&mut self) -> Option<Duration> {
        let at = self.machine.poll_timeout()?;
        self.machine.handle(at, Event::Tick);
        let actions = self.actions();
        assert!(matches!(&actions[..], [Action::Kill(pid, _)] if *pid == self.child), "{actions:?}");
        Some(at - self.now)
    }
}

#[test]
fn a_worker_that_was_waited_for_without_limit_has_a_deadline_once_its_supervisor_is_killed() {
    let mut bench = Bench::stopping(Kind::Worker, Shutdown::Infinity);
    assert_eq!(bench.machine.poll_timeout(), None);
    bench.machine.handle(bench.now, Event::Killed);
    bench.actions();
    assert_eq!(bench.killed_after(), Some(Duration::from_secs(5)));
    bench.machine.handle(bench.now, Event::Exited(bench.child, ExitReason::Killed));
    assert!(bench.machine.is_finished());
}

#[test]
fn a_deadline_that_a_child_has_is_not_put_off_by_the_kill_of_its_supervisor() {
    let mut bench = Bench::stopping(Kind::Worker, Shutdown::Timeout(Duration::from_millis(300)));
    bench.machine.handle(bench.now + Duration::from_millis(200), Event::Killed);
    bench.actions();
    assert_eq!(bench.killed_after(), Some(Duration::from_millis(300)));
}

#[test]
fn a_supervisor_below_is_waited_for_without_limit() {
    let mut bench = Bench::stopping(Kind::Supervisor, Shutdown::Infinity);
    bench.machine.handle(bench.now, Event::Killed);
    bench.actions();
    assert_eq!(bench.machine.poll_timeout(), None);
}
