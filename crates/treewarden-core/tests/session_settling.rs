//! An outcome is on its way to the store, or in hand: what may happen meanwhile, and what must not.

mod session_support;

use session_support::*;
use treewarden_core::session::{
    Action, Config, CrashKind, DrainReason, Event, Fact, Item, Lifecycle, Permanent, PermanentKind,
    Settlement, State, StopReason,
};

/// Turn 1 has its result, which is not stored; turn 2 waits.
fn settling() -> Bench {
    let mut bench = Bench::busy();
    bench.store_nothing();
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
    assert_eq!(bench.state(), State::Settling(turn(1)));
    bench
}

/// Turn 1 is in hand, and turn 2, whose turn it is, waits for the store.
fn held() -> Bench {
    let mut bench = settling();
    assert_eq!(bench.on(Event::Settled(turn(1))), [send(2)]);
    assert_eq!(bench.on(Event::Held(turn(2))), []);
    bench
}

#[test]
fn no_turn_is_sent_before_the_outcome_of_the_one_before_is_stored_or_in_hand() {
    let mut bench = settling();
    assert_eq!(bench.pass(secs(3600)), [], "whoever stores it has the deadline");
    assert_eq!(bench.on(frame(Fact::Idle)), []);
    assert_eq!(bench.on(Event::Settled(turn(7))), [], "another's");
    assert_eq!(bench.on(Event::Settled(turn(1))), [send(2)]);
    assert_eq!(bench.on(Event::Settled(turn(1))), [], "it is told twice");
}

#[test]
fn all_that_were_settled_are_waited_for() {
    let mut bench = settling();
    bench.feed(Event::Enqueue(item(3)));
    assert_eq!(bench.on(cancel(2)), [settle(2, Settlement::Cancelled)]);
    assert_eq!(bench.on(Event::Settled(turn(2))), []);
    assert_eq!(bench.on(Event::Settled(turn(1))), [send(3)]);
}

#[test]
fn a_turn_that_is_settled_is_not_cancelled_or_interrupted_any_more() {
    let mut bench = settling();
    assert_eq!(bench.on(cancel(1)), []);
    assert_eq!(bench.on(Event::InterruptOwnWork), []);
    assert_eq!(bench.on(result(&[1])), [], "its result comes once more");
    assert_eq!(bench.on(lifecycle(1, Lifecycle::Completed)), []);
}

#[test]
fn the_disk_is_not_looked_at_for_a_turn_that_the_store_may_not_know() {
    let mut bench = settling();
    bench.feed(cancel(2));
    assert_eq!(bench.on(Event::Stop(StopReason::Park)), [], "it is not idle");
    assert_eq!(bench.pass(secs(10)), []);
    assert_eq!(bench.on(Event::Settled(turn(2))), []);
    assert_eq!(bench.on(Event::Settled(turn(1))), []);
    assert_eq!(bench.pass(millis(300)), [Action::LookOnDisk]);
}

#[test]
fn other_options_wait_for_the_outcome() {
    let mut bench = settling();
    let configure = Event::Configure { config: Config::default(), renew: true };
    assert_eq!(bench.on(configure), []);
    assert_eq!(bench.on(Event::Settled(turn(1))), [Action::LookOnDisk]);
}

#[test]
fn a_stop_does_not_wait_for_the_store() {
    let mut bench = settling();
    assert_eq!(
        bench.on(Event::Stop(StopReason::Requested)),
        [settle(2, Settlement::Cancelled), Action::Stop],
        "turn 2 never ran"
    );
    assert_eq!(bench.on(Event::Settled(turn(1))), []);
    assert_eq!(bench.on(exited()), [stopped(StopReason::Requested)]);
    assert_eq!(bench.on(Event::Settled(turn(2))), []);

    let mut bench = settling();
    assert_eq!(bench.on(Event::Stop(StopReason::Shutdown)), [Action::Stop]);
    assert_eq!(bench.on(exited()), [stopped(StopReason::Shutdown)]);
}

#[test]
fn a_stop_that_waited_for_a_drain_does_not_wait_for_the_store() {
    let mut bench = Bench::busy();
    bench.store_nothing();
    assert_eq!(bench.on(Event::Stop(StopReason::Requested)), [Action::Interrupt]);
    assert_eq!(bench.on(aborted(&[1])), [settle(1, Settlement::Interrupted), Action::Stop]);
}

#[test]
fn a_cli_that_dies_meanwhile_takes_no_outcome_with_it() {
    let mut bench = settling();
    assert_eq!(bench.on(killed()), [crashed(CrashKind::Signal(9))]);
    assert_eq!(bench.on(Event::Settled(turn(1))), []);
}

#[test]
fn the_next_machine_waits_for_what_the_last_one_settled() {
    let mut bench = Bench::new(Config::default(), vec![item(2)]);
    bench.machine.await_outcomes([turn(1)]);
    bench.feed(Event::Spawned);
    bench.take();
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), []);
    assert_eq!(bench.on(Event::Settled(turn(1))), [send(2)]);
}

#[test]
fn a_turn_that_is_carried_on_is_settled_though_an_outcome_is_on_its_way() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1))]);
    bench.store_nothing();
    bench.machine.await_outcomes([turn(7)]);
    bench.feed(Event::Spawned);
    bench.feed(Event::Initialized { lifecycle: true });
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
    assert_eq!(bench.on(Event::Settled(turn(7))), []);
    assert_eq!(bench.on(Event::Settled(turn(1))), []);
    assert_eq!(bench.state(), State::Ready);
}

#[test]
fn a_held_turn_is_nothing_that_its_cli_is_silent_about() {
    let mut bench = held();
    assert_eq!(bench.state(), State::Settling(turn(2)), "it is the turn that the session is busy with");
    assert_eq!(bench.pass(secs(299)).iter().filter(|action| **action != Action::LookOnDisk).count(), 0);
    assert_eq!(bench.on(Event::Released(turn(2))), [send(2)]);
    assert_eq!(bench.pass(secs(1)), [Action::Interrupt], "its deadline counts from when it was the next");
}

#[test]
fn a_turn_that_the_store_kept_waiting_for_its_whole_time_is_refused_and_was_never_sent() {
    let mut bench = held();
    bench.feed(Event::Enqueue(item(3)));
    let actions = bench.pass(secs(300));
    assert!(
        actions.contains(&settle(2, Settlement::HeldUp)) && !actions.contains(&Action::Interrupt),
        "{actions:?}"
    );
    assert_eq!(bench.on(Event::Released(turn(2))), [], "too late");
    assert_eq!(bench.on(Event::Settled(turn(2))), [send(3)]);
}

#[test]
fn a_held_turn_that_is_cancelled_never_ran() {
    let mut bench = held();
    assert_eq!(bench.on(cancel(2)), [settle(2, Settlement::Cancelled)]);
    let mut bench = held();
    assert_eq!(
        bench.on(Event::Stop(StopReason::Requested)),
        [settle(2, Settlement::Cancelled), Action::Stop]
    );
}

#[test]
fn a_held_turn_waits_for_the_next_cli_as_if_it_had_not_begun() {
    let mut bench = Bench::ready();
    bench.feed(Event::Enqueue(Item::Turn(at_most_once(1))));
    bench.feed(Event::Held(turn(1)));
    bench.take();
    assert_eq!(bench.on(killed()), [crashed(CrashKind::Signal(9))], "it may run once at most, and did not");

    let mut bench = held();
    assert_eq!(
        bench.on(Event::Stop(StopReason::Shutdown)),
        [Action::Stop],
        "there is nothing to leave as it stands"
    );
}

#[test]
fn a_held_turn_whose_time_has_come_waits_for_what_the_cli_does_by_itself() {
    let mut bench = held();
    bench.feed(frame(Fact::Running));
    assert_eq!(bench.on(Event::Released(turn(2))), []);
    assert_eq!(bench.on(frame(Fact::Idle)), [send(2)]);
}

#[test]
fn a_nameless_result_is_not_the_answer_to_a_held_turn() {
    let mut bench = Bench::up(Config::default(), vec![item(1)], false);
    bench.feed(Event::Held(turn(1)));
    assert_eq!(bench.on(result(&[])), []);
    assert_eq!(bench.on(Event::Released(turn(1))), [send(1)]);
    assert_eq!(bench.on(result(&[])), [settle(1, Settlement::Result(()))]);
}

#[test]
fn a_turn_that_is_cancelled_before_it_could_be_sent_is_not_said_to_have_failed() {
    let mut bench = Bench::busy();
    bench.feed(Event::Cancel(turn(1), DrainReason::Interrupted));
    let why = Permanent::new(PermanentKind::Store, "the store is gone");
    assert_eq!(bench.on(Event::Unsent(turn(1), why)), [settle(1, Settlement::Interrupted)]);
}
