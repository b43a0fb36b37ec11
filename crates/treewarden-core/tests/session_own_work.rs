//! A CLI that works by itself: no turn is sent into that work but after its time, and the CLI is not parked.

mod session_support;

use session_support::*;
use treewarden_core::session::{
    Action, Config, Event, Fact, Item, Lifecycle, OwnWork, ResultFact, Settlement, State, StopReason,
};

/// A CLI that is idle, parks after 3 s, and says when it works.
fn idle() -> Bench {
    let mut config = Config::default();
    config.idle_timeout = Some(secs(3));
    let mut bench = Bench::up(config, vec![], true);
    bench.feed(frame(Fact::Idle));
    bench.take();
    bench
}

/// The same one, at work by itself.
fn working() -> Bench {
    let mut bench = idle();
    bench.feed(frame(Fact::Running));
    bench
}

fn own_result() -> Event {
    frame(Fact::Result(ResultFact { unsolicited: true, ..ResultFact::default() }))
}

fn park() -> Event {
    Event::Stop(StopReason::Park)
}

#[test]
fn a_turn_waits_until_the_cli_is_idle_again() {
    let mut bench = working();
    assert_eq!(bench.state(), State::Working);
    assert_eq!(bench.on(Event::Enqueue(item(1))), []);
    assert_eq!(bench.on(own_result()), [], "the CLI says itself when it is idle");
    assert_eq!(bench.on(frame(Fact::Idle)), [send(1)]);
}

#[test]
fn a_turn_waits_no_longer_than_own_work_wait_from_when_it_is_the_next() {
    let mut bench = working();
    bench.pass(secs(100));
    bench.feed(Event::Enqueue(item(1)));
    assert_eq!(bench.pass(millis(29_999)), []);
    assert_eq!(bench.pass(millis(1)), [send(1)]);
    assert_eq!(bench.state(), State::Busy(turn(1)));

    let mut bench = working();
    bench.feed(Event::Enqueue(item(1)));
    bench.feed(Event::Enqueue(item(2)));
    bench.pass(secs(20));
    assert_eq!(bench.on(cancel(1)), [settle(1, Settlement::Cancelled)], "at once");
    bench.feed(frame(Fact::Activity));
    bench.feed(Event::Enqueue(item(3)));
    assert_eq!(bench.pass(secs(29)), []);
    assert_eq!(bench.pass(secs(1)), [send(2)]);
}

#[test]
fn an_own_work_wait_of_nothing_sends_at_once() {
    let mut config = Config::default();
    config.own_work_wait = secs(0);
    let mut bench = Bench::up(config, vec![], true);
    bench.feed(frame(Fact::Running));
    assert_eq!(bench.on(Event::Enqueue(item(1))), [send(1)]);
}

#[test]
fn a_cli_that_resumes_with_a_note_of_its_own_ends_that_first() {
    let mut bench = Bench::new(Config::default(), vec![item(1)]);
    bench.feed(Event::Spawned);
    for fact in [Fact::TaskEnded, Fact::Running, Fact::TurnBegan] {
        bench.feed(frame(fact));
    }
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), []);
    assert_eq!(bench.machine.own_work(), Some(OwnWork::TaskEnded));
    assert_eq!(bench.on(own_result()), []);
    assert_eq!(bench.on(frame(Fact::Idle)), [send(1)]);
}

#[test]
fn a_turn_that_is_run_again_is_not_held_back() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1)), item(2)]);
    bench.feed(Event::Spawned);
    bench.feed(frame(Fact::Running));
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), send(2)]);
}

#[test]
fn what_the_cli_works_at_is_known() {
    let mut bench = idle();
    bench.feed(frame(Fact::TaskEnded));
    assert_eq!(bench.state(), State::Ready, "no turn follows a task that was stopped by hand");
    bench.feed(frame(Fact::Running));
    assert_eq!(bench.machine.own_work(), Some(OwnWork::TaskEnded));

    let mut bench = idle();
    bench.feed(frame(Fact::Running));
    assert_eq!(bench.machine.own_work(), Some(OwnWork::Unknown));
    bench.feed(lifecycle(77, Lifecycle::Started));
    assert_eq!(bench.machine.own_work(), Some(OwnWork::WakeUp));
    bench.feed(frame(Fact::Idle));
    assert_eq!(bench.machine.own_work(), None);
}

#[test]
fn a_cli_that_reports_no_state_is_at_work_from_its_init_to_its_result() {
    let mut bench = Bench::up(Config::default(), vec![], true);
    bench.feed(frame(Fact::TurnBegan));
    assert_eq!(bench.state(), State::Working);
    assert_eq!(bench.on(Event::Enqueue(item(1))), []);
    assert_eq!(bench.on(own_result()), [send(1)]);
    assert_eq!(bench.state(), State::Busy(turn(1)), "that result was not the turn's");
}

#[test]
fn a_weak_cli_gives_its_own_result_to_nobody() {
    let mut bench = Bench::up(Config::default(), vec![], false);
    bench.feed(frame(Fact::TurnBegan));
    bench.feed(Event::Enqueue(item(1)));
    assert_eq!(bench.on(result(&[])), [send(1)]);
    assert_eq!(bench.on(result(&[])), [settle(1, Settlement::Result(()))]);
}

#[test]
fn a_task_that_ends_in_a_turn_has_its_own_turn_before_the_next_of_ours() {
    let mut bench = Bench::busy();
    bench.feed(frame(Fact::Running));
    bench.feed(frame(Fact::TaskEnded));
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
    assert_eq!(bench.on(own_result()), []);
    assert_eq!(bench.on(frame(Fact::Idle)), [send(2)]);
}

#[test]
fn a_prompt_that_a_hook_refused_amid_own_work_is_settled_and_the_next_waits_for_the_end_of_that() {
    for reports in [true, false] {
        let mut config = Config::default();
        config.own_work_wait = secs(0);
        let mut bench = Bench::up(config, vec![], true);
        bench.feed(frame(if reports { Fact::Running } else { Fact::TurnBegan }));
        assert_eq!(bench.on(Event::Enqueue(item(1))), [send(1)]);
        bench.feed(Event::Configure { config: Config::default(), renew: false });
        bench.feed(lifecycle(1, Lifecycle::Completed));
        assert_eq!(bench.on(frame(Fact::Refused(turn(7), ()))), [], "of another turn");
        assert_eq!(bench.on(frame(Fact::Refused(turn(1), ()))), [settle(1, Settlement::Refused(()))]);
        assert_eq!(bench.state(), State::Working, "its own turn goes on");
        assert_eq!(bench.on(Event::Enqueue(item(2))), []);
        let ends = if reports { frame(Fact::Idle) } else { own_result() };
        assert_eq!(bench.on(ends), [send(2)]);
    }
}

#[test]
fn an_interrupted_turn_whose_prompt_a_hook_refused_is_an_interrupted_one() {
    let mut bench = Bench::busy();
    bench.feed(cancel(1));
    bench.feed(lifecycle(1, Lifecycle::Completed));
    assert_eq!(bench.on(frame(Fact::Refused(turn(1), ()))), [settle(1, Settlement::Interrupted)]);
}

#[test]
fn an_interrupt_without_a_turn_of_ours_ends_the_own_one() {
    let mut bench = working();
    bench.feed(Event::Enqueue(item(1)));
    assert_eq!(bench.on(Event::InterruptOwnWork), [Action::Interrupt]);
    assert_eq!(bench.on(frame(Fact::Idle)), [send(1)]);
    assert_eq!(idle().on(Event::InterruptOwnWork), []);
}

#[test]
fn a_stop_does_not_wait_for_own_work() {
    for reason in [StopReason::Requested, StopReason::Shutdown] {
        assert_eq!(working().on(Event::Stop(reason)), [Action::Stop]);
    }
}

#[test]
fn a_cli_at_work_is_not_parked_and_is_idle_from_the_end_of_it() {
    let mut bench = working();
    assert_eq!(bench.on(park()), []);
    assert!(!bench.machine.is_at_rest());
    assert_eq!(bench.pass(secs(100)), []);
    bench.feed(frame(Fact::Idle));
    assert!(bench.machine.is_at_rest());
    assert_eq!(bench.pass(millis(2_999)), []);
    assert_eq!(bench.pass(millis(1)), [Action::LookOnDisk]);
}

#[test]
fn work_that_begins_while_the_disk_is_looked_at_keeps_the_cli() {
    for fact in [Fact::Running, Fact::BackgroundTasks(1)] {
        let mut bench = idle();
        assert_eq!(bench.on(park()), [Action::LookOnDisk]);
        bench.feed(frame(fact));
        assert_eq!(bench.on(saved()), []);
    }
}

#[test]
fn a_cli_with_background_tasks_is_not_parked() {
    let mut bench = idle();
    bench.feed(frame(Fact::BackgroundTasks(2)));
    assert_eq!((bench.machine.background_tasks(), bench.state()), (2, State::Ready));
    assert_eq!(bench.on(park()), []);
    assert_eq!(bench.pass(secs(600)), []);
    assert_eq!(bench.on(Event::Enqueue(item(1))), [send(1)], "turns go on");
    bench.feed(result(&[1]));
    bench.feed(frame(Fact::BackgroundTasks(0)));
    bench.is_on_disk();
    assert_eq!(bench.pass(millis(2_699)), []);
    assert_eq!(bench.pass(millis(1)), [Action::LookOnDisk]);
}

#[test]
fn own_work_and_background_tasks_count_for_background_wait() {
    for fact in [Fact::Running, Fact::BackgroundTasks(1)] {
        let mut bench = idle();
        bench.feed(frame(fact.clone()));
        bench.pass(secs(3000));
        bench.feed(frame(fact));
        assert_eq!(bench.pass(secs(3602)), []);
        assert_eq!(bench.pass(secs(1)), [Action::LookOnDisk]);
    }
}

#[test]
fn other_options_wait_for_own_work_and_background_tasks() {
    for (begin, end) in [(Fact::Running, Fact::Idle), (Fact::BackgroundTasks(1), Fact::BackgroundTasks(0))] {
        let mut bench = idle();
        bench.feed(frame(begin));
        assert_eq!(bench.on(Event::Configure { config: Config::default(), renew: true }), []);
        assert_eq!(bench.on(frame(end)), [Action::LookOnDisk]);
        assert_eq!(bench.on(saved()), [Action::Stop]);
    }
}
