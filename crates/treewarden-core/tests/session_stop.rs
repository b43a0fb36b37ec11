//! A stop is obeyed in every state.

mod session_support;

use session_support::*;
use treewarden_core::session::{
    Action, Config, CrashKind, Event, Fact, Found, Item, Lifecycle, ResultFact, Settlement, State, StopReason,
};

fn stop(reason: StopReason) -> Event {
    Event::Stop(reason)
}

const REQUESTED: StopReason = StopReason::Requested;
const SHUTDOWN: StopReason = StopReason::Shutdown;

#[test]
fn a_starting_session_that_is_stopped_never_sends() {
    for spawned in [false, true] {
        let mut bench = Bench::new(Config::default(), vec![item(1)]);
        if spawned {
            bench.feed(Event::Spawned);
        }
        assert_eq!(bench.on(stop(REQUESTED)), [settle(1, Settlement::Cancelled), Action::Kill]);
        assert_eq!(bench.on(Event::Spawned), []);
        assert_eq!(bench.on(Event::Initialized { lifecycle: true }), []);
        assert_eq!(bench.on(killed()), [stopped(REQUESTED)]);
    }
}

#[test]
fn a_starting_session_that_is_shut_down_keeps_its_turns() {
    let mut bench = Bench::new(Config::default(), vec![item(1)]);
    assert_eq!(bench.on(stop(SHUTDOWN)), [Action::Kill]);
    assert_eq!(bench.on(Event::StartFailed(in_use())), [stopped(SHUTDOWN)], "no second try");
}

#[test]
fn a_session_between_two_starts_stops_at_once() {
    for (reason, settled) in [(REQUESTED, true), (SHUTDOWN, false)] {
        let mut bench = Bench::new(Config::default(), vec![item(1)]);
        bench.feed(ends_early());
        let cancelled = settled.then(|| settle(1, Settlement::Cancelled));
        let wanted: Vec<_> = cancelled.into_iter().chain([stopped(reason)]).collect();
        assert_eq!(bench.on(stop(reason)), wanted);
    }
}

#[test]
fn a_ready_session_walks_down_the_stop_ladder() {
    for reason in [REQUESTED, SHUTDOWN] {
        let mut bench = Bench::ready();
        assert_eq!(bench.on(stop(reason)), [Action::Stop]);
        assert_eq!(bench.on(stop(reason)), [], "once");
        assert_eq!(bench.on(exited()), [stopped(reason)]);
    }
}

#[test]
fn a_busy_session_that_is_stopped_drains_its_turn_first() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(stop(REQUESTED)), [settle(2, Settlement::Cancelled), Action::Interrupt]);
    assert_eq!(bench.on(aborted(&[1])), [settle(1, Settlement::Interrupted), Action::Stop]);
    assert_eq!(bench.on(exited()), [stopped(REQUESTED)]);
}

#[test]
fn a_busy_session_that_is_shut_down_leaves_its_turn_as_it_stands() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(stop(SHUTDOWN)), [Action::Terminate]);
    assert_eq!(bench.on(aborted(&[1])), [], "the end of a turn that the signal ended is not its outcome");
    assert_eq!(bench.on(exited()), [stopped(SHUTDOWN)]);
}

#[test]
fn a_shutdown_ends_a_turn_that_must_not_run_twice() {
    let mut bench = Bench::up(Config::default(), vec![Item::Turn(at_most_once(1))], true);
    assert_eq!(bench.on(stop(SHUTDOWN)), [settle(1, Settlement::Crashed), Action::Terminate]);
}

#[test]
fn a_draining_session_that_is_shut_down_settles_its_turn() {
    let mut bench = Bench::busy();
    bench.feed(cancel(1));
    assert_eq!(bench.on(stop(SHUTDOWN)), [settle(1, Settlement::Interrupted), Action::Terminate]);
    assert_eq!(bench.on(exited()), [stopped(SHUTDOWN)]);
}

#[test]
fn a_draining_session_that_is_stopped_drains_on() {
    let mut bench = Bench::busy();
    bench.feed(cancel(1));
    assert_eq!(bench.on(stop(REQUESTED)), []);
    assert_eq!(bench.on(aborted(&[1])), [settle(1, Settlement::Interrupted), Action::Stop]);
}

#[test]
fn a_stop_that_drains_gives_way_to_a_shutdown() {
    let mut bench = Bench::busy();
    bench.feed(stop(REQUESTED));
    assert_eq!(bench.on(stop(SHUTDOWN)), [settle(1, Settlement::Interrupted), Action::Terminate]);
    assert_eq!(bench.on(exited()), [stopped(SHUTDOWN)]);
}

#[test]
fn a_suspended_session_stops_at_once() {
    let mut bench = Bench::busy();
    let limited = ResultFact { turns: vec![turn(1)], limited_for: Some(secs(3600)), ..ResultFact::default() };
    bench.feed(frame(Fact::Result(limited)));
    bench.feed(Event::Enqueue(Item::Turn(patient(2, bench.now + secs(7200)))));
    assert!(matches!(bench.state(), State::Suspended(_)));
    assert_eq!(bench.on(stop(REQUESTED)), [settle(2, Settlement::Cancelled), Action::Stop]);
    assert_eq!(bench.pass(secs(4000)), []);
    assert_eq!(bench.on(exited()), [stopped(REQUESTED)]);
}

#[test]
fn a_stop_does_not_wait_for_the_usage_limit_that_its_last_turn_hit() {
    let mut bench = Bench::busy();
    bench.feed(stop(REQUESTED));
    let limited = ResultFact { turns: vec![turn(1)], limited_for: Some(secs(3600)), ..ResultFact::default() };
    let result = frame(Fact::Result(limited));
    assert_eq!(bench.on(result), [settle(1, Settlement::Result(())), Action::Stop]);
}

#[test]
fn stop_wins_over_the_drain_timeout() {
    let mut bench = Bench::busy();
    bench.feed(stop(REQUESTED));
    assert_eq!(bench.pass(secs(10)), [settle(1, Settlement::Interrupted), Action::Kill]);
    assert_eq!(bench.on(killed()), [stopped(REQUESTED)]);
}

#[test]
fn stop_wins_over_a_crash() {
    let mut bench = Bench::busy();
    bench.feed(stop(REQUESTED));
    assert_eq!(bench.on(killed()), [settle(1, Settlement::Interrupted), stopped(REQUESTED)]);
}

#[test]
fn a_stop_settles_its_turn_though_silence_ends_the_cli() {
    let mut bench = Bench::busy();
    assert_eq!(bench.pass(secs(120)), [Action::Probe]);
    bench.pass(secs(5));
    assert_eq!(bench.on(stop(REQUESTED)), [Action::Interrupt]);
    assert_eq!(bench.pass(secs(5)), [Action::Kill], "the probe is due before the drain is");
    assert_eq!(bench.on(killed()), [settle(1, Settlement::Interrupted), stopped(REQUESTED)]);
}

#[test]
fn a_stop_settles_its_turn_though_its_answer_is_nowhere() {
    let mut config = Config::default();
    config.transcript_reads = 1;
    let mut bench = Bench::up(config, vec![item(1)], true);
    bench.feed(stop(REQUESTED));
    bench.feed(lifecycle(1, Lifecycle::Completed));
    bench.feed(frame(Fact::Idle));
    bench.pass(millis(300));
    let found = bench.on(Event::TranscriptRead(turn(1), Found::Nothing));
    assert_eq!(found, [settle(1, Settlement::Interrupted), Action::Stop]);
    assert_eq!(bench.on(killed()), [stopped(REQUESTED)]);
}

#[test]
fn a_stop_of_a_cli_that_is_being_killed_ends_its_turn_too() {
    let mut bench = Bench::busy();
    assert_eq!(bench.pass(secs(130)), [Action::Probe, Action::Kill]);
    assert_eq!(bench.on(stop(REQUESTED)), [settle(1, Settlement::Interrupted)]);
    assert_eq!(bench.on(killed()), [stopped(REQUESTED)]);
}

#[test]
fn a_shutdown_of_a_cli_that_is_being_killed_keeps_its_turn() {
    let mut bench = Bench::busy();
    bench.pass(secs(130));
    assert_eq!(bench.on(stop(SHUTDOWN)), []);
    assert_eq!(bench.on(killed()), [stopped(SHUTDOWN)]);
}

#[test]
fn a_stop_after_a_shutdown_ends_the_turns_that_were_kept() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    bench.feed(stop(SHUTDOWN));
    assert_eq!(
        bench.on(stop(REQUESTED)),
        [settle(1, Settlement::Interrupted), settle(2, Settlement::Cancelled),]
    );
}

#[test]
fn a_turn_kept_by_a_shutdown_can_be_cancelled() {
    let mut bench = Bench::busy();
    bench.feed(stop(SHUTDOWN));
    assert_eq!(bench.on(cancel(1)), [settle(1, Settlement::Interrupted)]);
    assert_eq!(bench.on(exited()), [stopped(SHUTDOWN)]);
}

#[test]
fn a_turn_enqueued_after_a_stop_is_cancelled_and_after_a_shutdown_is_kept() {
    let mut draining = Bench::busy();
    draining.feed(stop(REQUESTED));
    assert_eq!(draining.on(Event::Enqueue(item(2))), [settle(2, Settlement::Cancelled)]);
    let mut stopping = Bench::ready();
    stopping.feed(stop(REQUESTED));
    assert_eq!(stopping.on(Event::Enqueue(item(1))), [settle(1, Settlement::Cancelled)]);
    let mut shut_down = Bench::ready();
    shut_down.feed(stop(SHUTDOWN));
    assert_eq!(shut_down.on(Event::Enqueue(item(1))), []);
}

#[test]
fn a_stop_overtakes_a_park_a_clear_and_a_restart() {
    let mut parking = Bench::ready();
    parking.feed(stop(StopReason::Park));
    parking.feed(saved());
    assert_eq!(parking.on(stop(REQUESTED)), []);
    assert_eq!(parking.on(exited()), [stopped(REQUESTED)]);

    let mut clearing = Bench::ready();
    clearing.feed(Event::Enqueue(Item::Clear));
    assert_eq!(clearing.on(stop(SHUTDOWN)), []);
    assert_eq!(clearing.on(exited()), [stopped(SHUTDOWN)], "the clear is still owed");

    let mut reopening = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1)), item(2)]);
    reopening.feed(cancel(1));
    assert_eq!(reopening.on(stop(REQUESTED)), [settle(2, Settlement::Cancelled)]);
    assert_eq!(reopening.on(killed()), [stopped(REQUESTED)]);
}

#[test]
fn a_park_does_not_undo_a_stop() {
    let mut bench = Bench::ready();
    bench.feed(stop(REQUESTED));
    assert_eq!(bench.on(stop(StopReason::Park)), []);
    assert_eq!(bench.on(exited()), [stopped(REQUESTED)]);
}

#[test]
fn a_crash_that_is_under_way_is_told_when_nobody_asked_for_a_stop() {
    let mut bench = Bench::busy();
    bench.pass(secs(130));
    assert_eq!(bench.on(stop(StopReason::Park)), []);
    assert_eq!(bench.on(killed()), [crashed(CrashKind::Silent)]);
}
