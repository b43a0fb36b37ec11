//! Turns that wait for the model API: for a usage limit, and for a failure to pass.

mod session_support;

use std::time::Instant;

use session_support::*;
use treewarden_core::session::{
    Action, Config, DrainReason, End, Event, Fact, Item, Lifecycle, OpenTurn, ResultFact, Settlement,
    StartFailure, State, StopReason,
};
use treewarden_proto::TurnId;

/// A limit that is lifted after so many seconds.
fn limit(number: u128, seconds: u64) -> Event {
    let turns = vec![turn(number)];
    frame(Fact::Result(ResultFact { turns, limited_for: Some(secs(seconds)), ..ResultFact::default() }))
}

fn failure(named: TurnId) -> Event {
    frame(Fact::Result(ResultFact { turns: vec![named], may_pass: true, ..ResultFact::default() }))
}

/// What the CLI prints behind the result of a turn that the model API failed (2.1.332).
fn given_up(bench: &mut Bench, named: TurnId) {
    bench.feed(frame(Fact::Lifecycle(named, Lifecycle::Dropped)));
    bench.feed(frame(Fact::Idle));
}

/// The message by which the CLI is asked to go on with turn 1 for the `n`th time.
fn go(n: u32) -> TurnId {
    turn(1).nudge(32 + n)
}

fn go_on(n: u32) -> Action {
    Action::GoOn(turn(1), go(n))
}

/// A CLI at turn 1, which waits for limits for two hours.
fn patient_bench() -> Bench {
    let mut bench = Bench::ready();
    let until = bench.now + secs(7200);
    assert_eq!(bench.on(Event::Enqueue(Item::Turn(patient(1, until)))), [send(1)]);
    bench
}

#[test]
fn a_turn_that_meets_the_limit_is_gone_on_with_when_it_is_lifted_and_never_sent_again() {
    let mut bench = patient_bench();
    assert_eq!(bench.on(limit(1, 3600)), []);
    given_up(&mut bench, turn(1));
    assert_eq!(bench.take(), []);
    assert_eq!(bench.state(), State::Suspended(bench.now + secs(3600)));
    assert_eq!(bench.pass(millis(3_599_999)), [], "it is neither probed nor looked for nor out of its time");
    assert_eq!(bench.pass(millis(1)), [go_on(1)]);
    assert_eq!(bench.state(), State::Busy(turn(1)));
    let answer = ResultFact { turns: vec![go(1)], ..ResultFact::default() };
    assert_eq!(bench.on(frame(Fact::Result(answer))), [settle(1, Settlement::Result(()))]);
}

#[test]
fn the_wait_for_a_limit_is_no_part_of_the_turns_time() {
    let mut bench = patient_bench();
    bench.pass(secs(100));
    bench.feed(limit(1, 3600));
    assert_eq!(bench.pass(secs(3600)), [go_on(1)]);
    bench.feed(frame(Fact::Activity));
    assert_eq!(bench.pass(secs(100)), []);
    bench.feed(frame(Fact::Activity));
    assert_eq!(bench.pass(millis(99_999)), []);
    assert_eq!(bench.pass(millis(1)), [Action::Interrupt], "300 s in all");
}

#[test]
fn a_turn_that_waits_for_no_limit_fails_with_it_and_so_do_those_behind_it() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    let until = bench.now + secs(3600);
    bench.feed(Event::Enqueue(Item::Turn(patient(3, until))));
    let done = [settle(1, Settlement::Result(())), settle(2, Settlement::Limited)];
    assert_eq!(bench.on(limit(1, 3600)), done);
    assert_eq!(bench.state(), State::Suspended(until));
    assert_eq!(bench.on(Event::Enqueue(item(4))), [settle(4, Settlement::Limited)]);
    bench.is_on_disk();
    assert_eq!(bench.pass(millis(3_599_699)), []);
    assert_eq!(bench.pass(millis(1)), [send(3)]);
}

#[test]
fn a_limit_that_is_lifted_too_late_fails_at_once_who_would_wait_in_vain() {
    let mut bench = patient_bench();
    bench.feed(Event::Enqueue(Item::Turn(patient(2, bench.now + secs(60)))));
    assert_eq!(bench.on(limit(1, 7201)), [settle(1, Settlement::Result(())), settle(2, Settlement::Limited)]);
}

#[test]
fn a_turn_that_is_not_sent_for_a_limit_of_another_session_is_the_next_again() {
    let mut bench = patient_bench();
    let limited = Event::Limited(turn(1), secs(600));
    assert_eq!(bench.on(limited.clone()), []);
    assert_eq!(bench.state(), State::Suspended(bench.now + secs(600)));
    assert!(bench.machine.in_flight().is_none());
    assert_eq!(bench.pass(secs(600)), [send(1)]);
    assert_eq!(bench.machine.in_flight().expect("sent").attempts, 1, "it was not sent before");
    assert_eq!(bench.on(limited), [], "the hold was renewed meanwhile");
    assert_eq!(bench.pass(secs(600)), [send(1)]);
    bench.feed(frame(Fact::Activity));
    assert_eq!(bench.pass(secs(119)), []);
    bench.feed(frame(Fact::Activity));
    assert_eq!(bench.pass(secs(119)), []);
    bench.feed(frame(Fact::Activity));
    assert_eq!(bench.pass(millis(61_999)), []);
    assert_eq!(bench.pass(millis(1)), [Action::Interrupt]);
    let mut bench = Bench::busy();
    assert_eq!(bench.on(Event::Limited(turn(1), secs(600))), [settle(1, Settlement::Limited)]);
}

#[test]
fn a_turn_that_is_to_go_on_waits_for_a_limit_that_is_met_again_as_long_as_it_may() {
    let mut bench = patient_bench();
    bench.feed(limit(1, 3600));
    assert_eq!(bench.pass(secs(3600)), [go_on(1)]);
    assert_eq!(bench.on(Event::Limited(turn(1), secs(3600))), []);
    assert_eq!(bench.pass(secs(3600)), [go_on(1)], "nothing was asked before");
    assert_eq!(bench.on(Event::Limited(turn(1), secs(1))), [settle(1, Settlement::Limited)]);
}

#[test]
fn no_cli_is_started_into_a_limit_and_what_waits_for_one_waits() {
    let now = Instant::now();
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(patient(1, now + secs(8000))), item(2)]);
    assert_eq!(bench.take(), [start(false)]);
    let limited = || Event::StartFailed(StartFailure::Limited(secs(3600)));
    assert_eq!(bench.on(limited()), [settle(2, Settlement::Limited)]);
    assert_eq!(bench.state(), State::Suspended(bench.now + secs(3600)));
    assert_eq!(bench.on(Event::Enqueue(item(3))), [settle(3, Settlement::Limited)]);
    assert_eq!(bench.pass(secs(3600)), [start(false)]);
    assert_eq!(bench.state(), State::Starting);
    assert_eq!(bench.on(limited()), [], "the limit was met again");
    assert_eq!(bench.pass(secs(3600)), [start(false)]);
    assert_eq!(bench.on(Event::Spawned), [Action::Initialize]);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
}

#[test]
fn a_session_whose_turns_do_not_wait_for_a_limit_needs_no_cli() {
    let mut bench = Bench::new(Config::default(), vec![item(1)]);
    let actions = bench.on(Event::StartFailed(StartFailure::Limited(secs(3600))));
    assert_eq!(actions, [settle(1, Settlement::Limited), Action::End(End::Parked)]);
}

#[test]
fn what_waits_for_a_limit_before_a_start_can_be_cancelled_and_stopped() {
    let waiting = |attempts| {
        let now = Instant::now();
        let first = OpenTurn { attempts, ..patient(1, now + secs(7200)) };
        let mut bench = Bench::new(Config::default(), vec![Item::Turn(first)]);
        bench.feed(Event::StartFailed(StartFailure::Limited(secs(3600))));
        bench.take();
        bench
    };
    let mut bench = waiting(0);
    let parked = Action::End(End::Parked);
    assert_eq!(
        bench.on(cancel(1)),
        [settle(1, Settlement::Cancelled), parked.clone()],
        "nobody waits any more"
    );
    let mut bench = waiting(1);
    assert_eq!(bench.on(cancel(1)), [settle(1, Settlement::Interrupted), parked]);
    let mut bench = waiting(0);
    assert_eq!(
        bench.on(Event::Stop(StopReason::Requested)),
        [settle(1, Settlement::Cancelled), Action::Kill]
    );
    assert_eq!(bench.on(exited()), [stopped(StopReason::Requested)]);
}

#[test]
fn a_turn_that_is_paused_is_interrupted_at_once() {
    let mut bench = patient_bench();
    bench.feed(limit(1, 3600));
    assert_eq!(bench.on(cancel(1)), [settle(1, Settlement::Interrupted)]);
    let mut bench = patient_bench();
    bench.feed(limit(1, 3600));
    let timed_out = Event::Cancel(turn(1), DrainReason::TimedOut);
    assert_eq!(bench.on(timed_out), [settle(1, Settlement::TimedOut(None))]);
    let mut bench = patient_bench();
    bench.feed(limit(1, 3600));
    let stop = Event::Stop(StopReason::Requested);
    assert_eq!(bench.on(stop), [settle(1, Settlement::Interrupted), Action::Stop]);
}

#[test]
fn a_turn_that_is_paused_stays_open_over_a_shutdown_and_a_crash() {
    let mut bench = patient_bench();
    bench.feed(limit(1, 3600));
    assert_eq!(bench.on(Event::Stop(StopReason::Shutdown)), [Action::Terminate]);
    assert_eq!(bench.on(exited()), [stopped(StopReason::Shutdown)]);
    let mut bench = patient_bench();
    bench.feed(limit(1, 3600));
    assert_eq!(bench.on(killed()), [crashed(treewarden_core::session::CrashKind::Signal(9))]);
}

#[test]
fn a_machine_that_slept_has_the_limit_lifted_earlier_by_its_own_clock() {
    let mut bench = patient_bench();
    bench.feed(limit(1, 3600));
    bench.pass(secs(60));
    bench.feed(Event::Slept(secs(3000)));
    assert_eq!(bench.state(), State::Suspended(bench.now + secs(540)));
    assert_eq!(bench.pass(secs(540)), [go_on(1)]);
    // Its patience passed as well: 7,200 s from the asking, of which 3,600 are over; the clock counted 600.
    assert_eq!(bench.on(Event::Limited(turn(1), secs(3601))), [settle(1, Settlement::Limited)]);
}

#[test]
fn a_failure_that_may_pass_is_gone_on_after_with_longer_and_longer_pauses() {
    let mut bench = Bench::busy();
    assert_eq!(bench.on(failure(turn(1))), []);
    given_up(&mut bench, turn(1));
    assert_eq!(bench.take(), []);
    assert_eq!(bench.state(), State::Busy(turn(1)), "to whoever looks, the session is at the turn");
    assert_eq!(bench.pass(millis(1_999)), []);
    assert_eq!(bench.pass(millis(501)), [go_on(1)]);
    assert_eq!(bench.on(failure(go(1))), []);
    given_up(&mut bench, go(1));
    assert_eq!(bench.pass(millis(3_999)), []);
    assert_eq!(bench.pass(millis(1_001)), [go_on(2)]);
    assert_eq!(bench.on(failure(go(2))), [settle(1, Settlement::Result(()))], "twice is enough");
}

#[test]
fn a_failure_is_told_at_once_where_the_turns_time_would_be_over_before_it_is_gone_on_with() {
    let mut bench = Bench::busy();
    for _ in 0..3 {
        bench.pass(secs(99));
        bench.feed(frame(Fact::Activity));
    }
    bench.pass(secs(2));
    assert_eq!(bench.on(failure(turn(1))), [settle(1, Settlement::Result(()))]);
}

#[test]
fn a_failure_of_a_turn_that_is_to_end_or_of_a_cli_that_names_no_prompts_is_told_at_once() {
    let mut bench = Bench::busy();
    bench.feed(cancel(1));
    assert_eq!(bench.on(failure(turn(1))), [settle(1, Settlement::Result(()))]);
    let mut bench = Bench::up(Config::default(), vec![item(1)], false);
    bench.take();
    let by_position = frame(Fact::Result(ResultFact { may_pass: true, ..ResultFact::default() }));
    assert_eq!(bench.on(by_position), [settle(1, Settlement::Result(()))]);
    let mut config = Config::default();
    config.api_retries = 0;
    let mut bench = Bench::up(config, vec![item(1)], true);
    bench.take();
    assert_eq!(bench.on(failure(turn(1))), [settle(1, Settlement::Result(()))]);
}

#[test]
fn what_a_resumed_cli_was_failed_at_before_it_was_sent_the_turn_is_no_outcome() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1))]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(failure(turn(1))), []);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
}

#[test]
fn the_next_machine_does_not_take_the_wait_for_a_limit_for_the_turns_own_time() {
    let mut bench = patient_bench();
    bench.feed(limit(1, 3600));
    assert_eq!(bench.pass(secs(1800)), []);
    bench.feed(killed());
    let (turn, deadline) = bench.machine.deadlines(bench.now).next().expect("its time has begun");
    assert_eq!((turn, deadline > bench.now), (self::turn(1), true), "it has all the time that it had");
}
