//! What is done when time passes and nothing happens.

mod session_support;

use session_support::*;
use treewarden_core::session::{
    Action, Config, CrashKind, DrainReason, Event, Fact, Item, OpenTurn, Settlement, State,
};

#[test]
fn no_result_within_the_drain_deadline_kills_the_cli_and_settles_the_turn() {
    let mut bench = Bench::busy();
    bench.feed(cancel(1));
    assert_eq!(bench.pass(millis(9_999)), []);
    assert_eq!(bench.pass(millis(1)), [settle(1, Settlement::Interrupted), Action::Kill]);
    assert_eq!(bench.on(result(&[1])), [], "settled is settled");
    assert_eq!(bench.on(killed()), [crashed(CrashKind::NotDrained)]);
}

#[test]
fn a_turn_past_its_deadline_is_interrupted_and_timed_out() {
    let mut bench = Bench::busy();
    let mut until = 300;
    while until > 100 {
        assert_eq!(bench.pass(secs(100)).iter().filter(|a| **a != Action::Interrupt).count(), 0);
        bench.feed(frame(Fact::Activity));
        until -= 100;
    }
    assert_eq!(bench.pass(secs(100)), [Action::Interrupt]);
    assert_eq!(bench.state(), State::Draining(turn(1)));
    assert_eq!(bench.on(aborted(&[1])), [settle(1, Settlement::TimedOut(Some(())))]);
}

#[test]
fn a_turn_without_a_deadline_runs_as_long_as_the_cli_lives() {
    let mut bench =
        Bench::up(Config::default(), vec![Item::Turn(OpenTurn { timeout: None, ..open(1) })], true);
    for _ in 0..100 {
        bench.feed(frame(Fact::Activity));
        assert_eq!(bench.pass(secs(119)), []);
    }
}

#[test]
fn a_deadline_holds_over_all_incarnations() {
    let mut bench = Bench::new(Config::default(), vec![]);
    let deadline = bench.now + secs(5);
    bench.feed(Event::Enqueue(Item::Turn(OpenTurn { deadline: Some(deadline), ..taken(1, 1) })));
    bench.feed(Event::Spawned);
    bench.feed(Event::Initialized { lifecycle: true });
    assert_eq!(bench.machine.in_flight().expect("it was sent").deadline, Some(deadline));
    assert_eq!(bench.pass(secs(5)), [Action::Interrupt]);
}

#[test]
fn the_time_in_the_queue_does_not_count() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    bench.pass(secs(60));
    bench.feed(result(&[1]));
    assert_eq!(bench.machine.in_flight().expect("it was sent").deadline, Some(bench.now + secs(300)));
}

#[test]
fn the_first_reason_to_drain_is_the_one_that_is_told() {
    let mut bench = Bench::busy();
    bench.feed(Event::Cancel(turn(1), DrainReason::TimedOut));
    assert_eq!(bench.on(cancel(1)), []);
    assert_eq!(bench.on(aborted(&[1])), [settle(1, Settlement::TimedOut(Some(())))]);
}

#[test]
fn a_silent_cli_is_asked_for_a_sign_of_life_and_then_killed() {
    let mut bench = Bench::busy();
    assert_eq!(bench.pass(secs(119)), []);
    assert_eq!(bench.pass(secs(1)), [Action::Probe]);
    assert_eq!(bench.pass(millis(9_999)), []);
    assert_eq!(bench.pass(millis(1)), [Action::Kill]);
    assert_eq!(bench.on(killed()), [crashed(CrashKind::Silent)], "the turn stays open");
}

#[test]
fn a_probe_that_is_answered_starts_the_silence_anew() {
    let mut bench = Bench::busy();
    assert_eq!(bench.pass(secs(121)), [Action::Probe]);
    assert_eq!(bench.on(Event::ProbeAnswered), []);
    assert_eq!(bench.pass(secs(119)), []);
    assert_eq!(bench.pass(secs(1)), [Action::Probe]);
}

#[test]
fn a_cli_that_awaits_its_host_is_not_silent() {
    let mut bench =
        Bench::up(Config::default(), vec![Item::Turn(OpenTurn { timeout: None, ..open(1) })], true);
    bench.take();
    bench.feed(frame(Fact::AwaitsHost));
    assert_eq!(bench.pass(secs(100_000)), []);
    bench.feed(frame(Fact::Activity));
    assert_eq!(bench.pass(secs(120)), [Action::Probe], "once it has its answer, its silence counts again");
}

#[test]
fn an_idle_cli_may_be_silent() {
    assert_eq!(Bench::ready().pass(secs(1_000_000)), []);
}

#[test]
fn a_result_that_comes_before_the_kill_takes_effect_is_the_answer() {
    let mut bench = Bench::busy();
    assert_eq!(bench.pass(secs(130)), [Action::Probe, Action::Kill]);
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
    assert_eq!(bench.on(killed()), [crashed(CrashKind::Silent)]);
}

#[test]
fn nothing_but_the_kill_goes_to_a_cli_that_is_being_killed() {
    let mut bench = Bench::busy();
    bench.pass(secs(130));
    assert_eq!(bench.on(frame(Fact::CredentialsRefused)), []);
    assert_eq!(bench.on(frame(Fact::CredentialsRefused)), []);
    assert_eq!(bench.on(cancel(1)), []);
    let settlement = Settlement::CredentialsRefused(None);
    assert_eq!(bench.on(killed()), [settle(1, settlement), crashed(CrashKind::Silent)]);
}
