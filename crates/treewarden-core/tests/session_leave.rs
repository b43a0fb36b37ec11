//! Before a CLI is ended for convenience, its last turn is looked for on disk.

mod session_support;

use session_support::*;
use treewarden_core::session::{Action, Config, Event, Settlement, State, StopReason};

/// A CLI that is idle and parks after 60 s.
fn idle() -> Bench {
    let mut config = Config::default();
    config.idle_timeout = Some(secs(60));
    let mut bench = Bench::up(config, vec![], true);
    bench.take();
    bench
}

fn renew() -> Event {
    let mut config = Config::default();
    config.idle_timeout = Some(secs(60));
    Event::Configure { config, renew: true }
}

/// The disk is looked at, as often as it takes, and the turn is not there.
fn not_there(bench: &mut Bench) -> Vec<Action> {
    for _ in 1..Config::default().transcript_reads {
        assert_eq!(bench.on(missing()), []);
        assert_eq!(bench.pass(millis(300)), [Action::LookOnDisk]);
    }
    bench.on(missing())
}

#[test]
fn a_session_is_parked_once_its_last_turn_is_on_disk() {
    let mut bench = idle();
    assert_eq!(bench.pass(secs(60)), [Action::LookOnDisk]);
    assert_eq!(bench.on(missing()), [], "a CLI prints its result before it writes");
    assert_eq!(bench.pass(millis(300)), [Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Stop]);
}

#[test]
fn a_session_whose_last_turn_is_nowhere_is_kept() {
    let mut bench = idle();
    bench.pass(secs(60));
    assert_eq!(not_there(&mut bench), []);
    assert_eq!((bench.state(), bench.machine.unsaved()), (State::Ready, Some("turn 1 is nowhere")));
    assert!(!bench.machine.is_at_rest(), "its place is not to be had");
    assert_eq!(bench.on(Event::Enqueue(item(2))), [send(2)], "it works on");
}

#[test]
fn what_was_missing_is_looked_for_again_after_a_time_and_after_the_next_turn() {
    let mut bench = idle();
    bench.pass(secs(60));
    not_there(&mut bench);
    assert_eq!(bench.pass(millis(29_999)), []);
    assert_eq!(bench.pass(millis(1)), [Action::LookOnDisk]);
    not_there(&mut bench);
    bench.feed(Event::Enqueue(item(1)));
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), []);
    assert_eq!((bench.machine.unsaved(), bench.machine.is_at_rest()), (None, true));
    assert_eq!(bench.pass(secs(60)), [Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Stop]);
}

#[test]
fn a_place_that_is_wanted_again_is_looked_for_again() {
    let mut bench = Bench::ready();
    assert_eq!(bench.on(Event::Stop(StopReason::Park)), [Action::LookOnDisk]);
    assert_eq!(bench.on(Event::Stop(StopReason::Park)), [], "once at a time");
    not_there(&mut bench);
    assert_eq!(bench.on(Event::Stop(StopReason::Park)), [Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Stop]);
}

#[test]
fn a_turn_that_comes_while_the_disk_is_looked_at_keeps_the_cli() {
    let mut bench = idle();
    bench.pass(secs(60));
    assert_eq!(bench.on(Event::Enqueue(item(1))), [send(1)]);
    assert_eq!(bench.on(saved()), []);
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
    assert_eq!(bench.state(), State::Ready);
}

#[test]
fn a_look_that_began_before_a_turn_was_settled_does_not_count_for_it() {
    let mut bench = idle();
    bench.pass(secs(60));
    bench.feed(Event::Enqueue(item(1)));
    bench.feed(result(&[1]));
    assert_eq!(bench.on(Event::Stop(StopReason::Park)), []);
    assert_eq!(bench.on(saved()), [Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Stop]);
}

#[test]
fn a_disk_that_does_not_answer_counts_as_one_without_the_turn() {
    let mut bench = idle();
    bench.feed(renew());
    assert_eq!(bench.on(Event::Enqueue(item(1))), []);
    assert_eq!(bench.pass(secs(10)), [send(1)]);
    assert!(bench.machine.unsaved().is_some());
    assert_eq!(bench.on(saved()), [], "too late to count");
}

#[test]
fn other_options_wait_until_the_last_turn_is_on_disk_and_turns_go_on_meanwhile() {
    let mut bench = idle();
    bench.feed(renew());
    bench.feed(Event::Enqueue(item(1)));
    assert_eq!(not_there(&mut bench), [send(1)], "to the CLI that is there");
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), Action::LookOnDisk]);
    assert_eq!(not_there(&mut bench), [send(2)]);
    assert_eq!(bench.on(result(&[2])), [settle(2, Settlement::Result(())), Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Stop]);

    // Without a turn it is looked for after a time.
    let mut bench = idle();
    bench.feed(renew());
    not_there(&mut bench);
    assert_eq!(bench.pass(secs(30)), [Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Stop]);
}

#[test]
fn the_disk_is_looked_at_after_each_turn_and_for_the_newest_alone_of_many() {
    let mut bench = Bench::busy();
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
    assert_eq!(bench.pass(millis(200)), []);
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(result(&[2])), [settle(2, Settlement::Result(()))]);
    assert_eq!(bench.pass(millis(100)), [Action::LookOnDisk]);
    // A turn is not kept waiting by it, and one look is under way at a time.
    assert_eq!(bench.on(Event::Enqueue(item(3))), [send(3)]);
    assert_eq!(bench.on(result(&[3])), [settle(3, Settlement::Result(()))]);
    assert_eq!(bench.on(saved()), [Action::LookOnDisk], "it may not have seen the newest");
    assert_eq!(not_there(&mut bench), []);
    assert!(bench.machine.unsaved().is_some(), "nobody had to ask");
}

#[test]
fn a_turn_is_looked_for_as_often_as_any_though_the_one_before_it_was_not_there() {
    let mut bench = idle();
    bench.pass(secs(60));
    bench.feed(missing());
    for _ in 2..Config::default().transcript_reads {
        bench.pass(millis(300));
        bench.feed(missing());
    }
    bench.feed(Event::Enqueue(item(1)));
    bench.feed(result(&[1]));
    assert_eq!(bench.pass(millis(300)), [Action::LookOnDisk]);
    assert_eq!(not_there(&mut bench), []);
    assert!(bench.machine.unsaved().is_some());
}

#[test]
fn a_stop_and_a_crash_are_not_kept_from_a_cli_that_has_not_saved() {
    for reason in [StopReason::Requested, StopReason::Shutdown] {
        let mut bench = idle();
        bench.pass(secs(60));
        not_there(&mut bench);
        assert_eq!(bench.on(Event::Stop(reason)), [Action::Stop]);
    }
    let mut bench = idle();
    bench.pass(secs(60));
    assert!(matches!(bench.on(killed())[..], [Action::End(_)]));
}
