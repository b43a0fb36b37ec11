//! Other options for a session that runs: they hold from the next CLI on, and no turn is disturbed for them.

mod session_support;

use session_support::*;
use treewarden_core::session::{Action, Config, Event, Item, Settlement, State, StopReason};

fn renew() -> Event {
    Event::Configure { config: Config::default(), renew: true }
}

#[test]
fn an_idle_cli_is_ended_at_once_and_the_next_turn_starts_another() {
    let mut bench = Bench::ready();
    assert_eq!(bench.on(renew()), [Action::LookOnDisk]);
    assert_eq!(bench.on(renew()), [], "once");
    assert_eq!(bench.on(Event::Enqueue(item(1))), [], "it does not go to the old one");
    assert_eq!(bench.on(saved()), [Action::Stop]);
    assert_eq!(bench.on(exited()), [start(false)]);
    assert_eq!(bench.on(Event::Spawned), [Action::Initialize]);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
}

#[test]
fn an_idle_cli_without_work_is_parked() {
    let mut bench = Bench::ready();
    bench.feed(renew());
    assert_eq!(bench.on(saved()), [Action::Stop]);
    assert_eq!(bench.on(exited()), [Action::End(treewarden_core::session::End::Parked)]);
}

#[test]
fn a_busy_cli_ends_its_turn_first_and_the_one_after_it_goes_to_the_next_cli() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(renew()), []);
    assert_eq!(bench.state(), State::Busy(turn(1)));
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Stop]);
    assert_eq!(bench.on(exited()), [start(false)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(2)]);
}

#[test]
fn a_cli_that_is_coming_up_is_replaced_before_it_gets_a_turn() {
    for spawned in [false, true] {
        let mut bench = Bench::new(Config::default(), vec![item(1)]);
        if spawned {
            bench.feed(Event::Spawned);
        }
        assert_eq!(bench.on(renew()), []);
        bench.feed(Event::Spawned);
        assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [Action::LookOnDisk]);
        assert_eq!(bench.on(saved()), [Action::Stop]);
        assert_eq!(bench.on(exited()), [start(false)]);
    }
}

#[test]
fn a_turn_that_is_run_again_after_a_crash_comes_before_the_other_cli() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1)), item(2)]);
    bench.feed(renew());
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
    assert_eq!(bench.on(result(&[1])).last(), Some(&Action::LookOnDisk));
    assert_eq!(bench.on(saved()), [Action::Stop]);
}

#[test]
fn a_cli_that_is_being_ended_is_not_replaced_twice() {
    let mut bench = Bench::ready();
    bench.feed(Event::Stop(StopReason::Park));
    bench.feed(saved());
    assert_eq!(bench.on(renew()), []);
    assert_eq!(bench.on(exited()), [Action::End(treewarden_core::session::End::Parked)]);

    // The one for a new conversation has the new options already.
    let mut bench = Bench::ready();
    assert_eq!(bench.on(Event::Enqueue(Item::Clear)), [Action::Stop]);
    assert_eq!(bench.on(renew()), []);
    assert_eq!(
        bench.on(exited()),
        [Action::NewConversation, Action::End(treewarden_core::session::End::Parked)]
    );
}

#[test]
fn a_stop_goes_before_another_cli() {
    for reason in [StopReason::Requested, StopReason::Shutdown] {
        let mut bench = Bench::ready();
        bench.feed(renew());
        assert_eq!(bench.on(Event::Stop(reason)), [Action::Stop]);
        assert_eq!(bench.on(saved()), [], "the look is of no matter any more");
        assert_eq!(bench.on(exited()), [stopped(reason)]);
    }
}

#[test]
fn other_times_hold_at_once_and_leave_the_cli_alone() {
    let mut bench = Bench::ready();
    let mut config = Config::default();
    config.idle_timeout = Some(secs(5));
    assert_eq!(bench.on(Event::Configure { config, renew: false }), []);
    assert_eq!(bench.pass(millis(4_999)), []);
    assert_eq!(bench.pass(millis(1)), [Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Stop]);
}

#[test]
fn a_cli_that_takes_too_much_memory_is_replaced_between_two_turns_and_never_in_one() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(Event::TooLarge), []);
    assert_eq!(bench.state(), State::Busy(turn(1)));
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Recycle, Action::Stop]);
    assert_eq!(bench.on(exited()), [start(false)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(2)], "the next one begins anew");
    assert_eq!(bench.on(result(&[2])), [settle(2, Settlement::Result(()))]);
}

#[test]
fn a_cli_that_is_too_large_from_its_start_on_gets_a_turn_before_it_is_replaced() {
    let mut bench = Bench::new(Config::default(), vec![item(1), item(2)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(Event::TooLarge), []);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Recycle, Action::Stop]);
}

#[test]
fn a_cli_that_takes_too_much_memory_is_kept_while_it_has_the_only_copy() {
    let mut bench = Bench::busy();
    bench.feed(Event::TooLarge);
    bench.feed(result(&[1]));
    for _ in 1..Config::default().transcript_reads {
        assert_eq!(bench.on(missing()), []);
        assert_eq!(bench.pass(millis(300)), [Action::LookOnDisk]);
    }
    assert_eq!(bench.on(missing()), []);
    assert_eq!(bench.state(), State::Ready);
    assert_eq!(bench.on(Event::Enqueue(item(2))), [send(2)], "its turns go on");
}
