//! What is done while no CLI comes up: failures that pass, shortages, waits for a place, and the time of the turns meanwhile.

mod session_support;

use session_support::*;
use treewarden_core::session::{
    Action, Config, CrashKind, End, Event, ExitClass, Item, OpenTurn, Permanent, PermanentKind, Settlement,
    StartFailure, State,
};

fn not_there() -> Event {
    let how = "failed to spawn /opt/claude: no such file".to_owned();
    let passing = treewarden_core::session::Passing { how, words: String::new(), spawned: false };
    Event::StartFailed(StartFailure::Passing(passing))
}

fn short() -> Event {
    Event::StartFailed(StartFailure::Shortage("Too many open files".to_owned()))
}

/// A turn that may take so many seconds.
fn within(number: u128, seconds: u64) -> Item {
    Item::Turn(OpenTurn { timeout: Some(secs(seconds)), ..open(number) })
}

fn bench(open: Vec<Item>) -> Bench {
    let mut bench = Bench::new(Config::default(), open);
    bench.take();
    bench
}

/// The permanent reason that the session ends with.
fn failed(actions: &[Action]) -> &Permanent {
    match actions.last() {
        Some(Action::End(End::Failed(reason))) => reason,
        _ => panic!("it did not fail: {actions:?}"),
    }
}

#[test]
fn a_failure_that_passes_costs_a_pause_and_no_turn() {
    let mut bench = bench(vec![item(1)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(ends_early()), []);
    assert_eq!(bench.state(), State::Starting);
    assert!(bench.machine.start_trouble().expect("it is shown").contains("exit 1: no network"));
    assert_eq!(bench.pass(millis(499)), []);
    assert_eq!(bench.pass(millis(1)), [start(false)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
    assert_eq!(bench.machine.start_trouble(), None, "it is over");
}

#[test]
fn pauses_grow_and_five_clis_that_end_in_a_row_are_enough() {
    let mut bench = bench(vec![item(1), item(2)]);
    for pause in [500, 1_000, 2_000, 4_000] {
        bench.feed(Event::Spawned);
        assert_eq!(bench.on(ends_early()), []);
        assert_eq!(bench.pass(millis(pause - 1)), []);
        assert_eq!(bench.pass(millis(1)), [start(false)]);
    }
    bench.feed(Event::Spawned);
    let actions = bench.on(ends_early());
    let reason = failed(&actions);
    assert_eq!(reason.kind, PermanentKind::NeverUp);
    assert_eq!(reason.message, "no CLI came up in 5 starts within 7.5s; the last one: exit 1: no network");
    let not_started = |number| settle(number, Settlement::NotStarted(reason.clone()));
    assert_eq!(actions[..2], [not_started(1), not_started(2)]);
}

#[test]
fn a_path_that_is_away_is_waited_for_until_the_patience_is_over() {
    let mut bench = bench(vec![item(1)]);
    let mut starts = 0;
    let began = bench.now;
    let actions = loop {
        let actions = bench.on(not_there());
        if !actions.is_empty() {
            break actions;
        }
        let until = bench.machine.poll_timeout().expect("it is tried again");
        assert_eq!(bench.pass(until - bench.now), [start(false)]);
        starts += 1;
    };
    assert_eq!((bench.now - began, starts), (secs(30), 9));
    assert!(failed(&actions).message.contains("/opt/claude: no such file"));
}

#[test]
fn a_cli_that_came_up_begins_the_count_anew() {
    let mut bench = bench(vec![item(1)]);
    for _ in 0..4 {
        bench.feed(ends_early());
        bench.pass(secs(5));
    }
    bench.feed(Event::Spawned);
    bench.feed(Event::Initialized { lifecycle: true });
    bench.take();
    assert_eq!(bench.on(killed()), [crashed(CrashKind::Signal(9))], "a crash is its supervisor's");
}

#[test]
fn a_turn_that_was_sent_is_left_off_and_never_not_started() {
    let mut bench = bench(vec![Item::Turn(taken(1, 1)), item(2)]);
    let mut actions = Vec::new();
    while actions.is_empty() {
        actions = bench.on(ends_early());
        bench.pass(secs(5));
    }
    let reason = failed(&actions);
    let wanted =
        [settle(1, Settlement::LeftOff(reason.clone())), settle(2, Settlement::NotStarted(reason.clone()))];
    assert_eq!(actions[..2], wanted);
}

#[test]
fn a_cli_that_does_not_come_up_in_time_is_killed_and_another_is_tried() {
    let mut bench = bench(vec![item(1)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.pass(secs(59)), []);
    assert_eq!(bench.pass(secs(1)), [Action::Kill]);
    assert_eq!(bench.machine.killed_for(), Some(CrashKind::StartTimeout));
    let gone = StartFailure::passing(&ExitClass::Crash(CrashKind::StartTimeout), "waits for a server\n");
    assert_eq!(bench.on(Event::StartFailed(gone)), []);
    let trouble = bench.machine.start_trouble().expect("it is shown");
    assert!(trouble.contains("no answer to initialize in 60s: waits for a server"), "{trouble}");
    assert_eq!(bench.pass(millis(500)), [start(false)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.pass(secs(60)), [Action::Kill]);
    let actions = bench.on(killed());
    assert!(failed(&actions).message.contains("no answer to initialize in 60s"), "{actions:?}");
}

#[test]
fn the_time_of_a_turn_runs_while_its_cli_hangs() {
    let mut bench = bench(vec![within(1, 5), within(2, 5)]);
    bench.feed(Event::Spawned);
    bench.machine.hear("waits for a server\n");
    let late =
        |time: &str| Settlement::NotInTime(format!("no answer to initialize in {time}: waits for a server"));
    assert_eq!(bench.pass(millis(4_999)), []);
    assert_eq!(bench.pass(millis(1)), [settle(1, late("5s")), Action::Kill], "the next one has another");
    assert_eq!(bench.pass(millis(4_999)), [], "and its own time, from when it is the next");
    assert_eq!(bench.pass(millis(1)), [settle(2, late("5s"))]);
    assert_eq!(bench.on(killed()), [Action::End(End::Parked)], "nobody waits for another");
}

#[test]
fn a_cli_that_took_the_time_of_a_turn_gives_way_to_another_for_the_next_one() {
    let mut bench = bench(vec![within(1, 5), within(2, 5)]);
    bench.feed(Event::Spawned);
    assert!(matches!(&bench.pass(secs(5))[..], [Action::Settle(..), Action::Kill]));
    assert_eq!(bench.machine.killed_for(), Some(CrashKind::StartTimeout));
    assert_eq!(bench.on(killed()), []);
    assert!(bench.machine.start_trouble().expect("it is shown").contains("no answer to initialize in 5s"));
    assert_eq!(bench.pass(millis(0)), [start(false)], "the pause was the other's time");
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(2)]);
}

#[test]
fn a_cli_that_nobody_waits_for_any_more_comes_up_until_the_next_turn_asks_for_one() {
    let alone = || {
        let mut bench = bench(vec![within(1, 5)]);
        bench.feed(Event::Spawned);
        assert!(matches!(&bench.pass(secs(5))[..], [Action::Settle(..)]), "a slow one may be up in a moment");
        bench
    };
    let mut slow = alone();
    slow.feed(Event::Initialized { lifecycle: true });
    assert_eq!(slow.on(Event::Enqueue(item(2))), [send(2)]);
    let mut hung = alone();
    assert_eq!(hung.pass(secs(10)), []);
    assert_eq!(hung.on(Event::Enqueue(item(2))), [Action::Kill]);
    assert_eq!(hung.on(killed()), []);
    assert_eq!(hung.pass(millis(0)), [start(false)]);
    let mut left = alone();
    assert_eq!(left.pass(secs(55)), [Action::Kill], "at the end of its own time");
    assert_eq!(left.on(killed()), [Action::End(End::Parked)]);
}

#[test]
fn where_starts_are_slower_than_turns_may_take_the_second_cli_has_its_whole_time() {
    let mut bench = bench((1..=8).map(|number| within(number, 2)).collect());
    bench.feed(Event::Spawned);
    assert!(matches!(&bench.pass(secs(2))[..], [Action::Settle(..), Action::Kill]));
    bench.feed(killed());
    assert_eq!(bench.pass(millis(0)), [start(false)]);
    bench.feed(Event::Spawned);
    let meanwhile = bench.pass(secs(10));
    assert!(meanwhile.iter().all(|action| matches!(action, Action::Settle(..))), "{meanwhile:?}");
    assert!(matches!(bench.on(Event::Initialized { lifecycle: true })[..], [Action::Send(_)]));
}

#[test]
fn starts_that_hang_are_given_up_as_others_are() {
    // The first gives way to the next turn, and the second has its whole time: 30 s are over then.
    let mut bench = bench((1..=3).map(|number| within(number, 40)).collect());
    bench.feed(Event::Spawned);
    assert!(matches!(&bench.pass(secs(40))[..], [Action::Settle(_, Settlement::NotInTime(_)), Action::Kill]));
    bench.feed(killed());
    assert_eq!(bench.pass(millis(0)), [start(false)]);
    bench.feed(Event::Spawned);
    let second = bench.pass(secs(60));
    assert!(matches!(&second[..], [Action::Settle(_, Settlement::NotInTime(_)), Action::Kill]), "{second:?}");
    let ended = bench.on(killed());
    assert!(failed(&ended).message.contains("no answer to initialize in 60s"), "{ended:?}");
}

#[test]
fn the_time_of_a_turn_runs_between_starts_and_says_what_failed() {
    let timeout = Some(millis(1_500));
    let mut bench = bench(vec![Item::Turn(OpenTurn { timeout, ..open(1) })]);
    bench.feed(ends_early());
    bench.pass(millis(500));
    bench.feed(ends_early());
    let late = Settlement::NotInTime("exit 1: no network".to_owned());
    let ended = bench.pass(millis(1_000));
    // The next start comes at the same moment, and is not made for nobody.
    assert_eq!(ended, [settle(1, late), Action::End(End::Parked)]);
}

#[test]
fn a_turn_that_was_sent_and_runs_out_of_its_time_meanwhile_takes_its_cli_along() {
    let mut bench = bench(vec![]);
    let deadline = bench.now + secs(5);
    bench.feed(Event::Enqueue(Item::Turn(OpenTurn { deadline: Some(deadline), ..taken(1, 1) })));
    bench.feed(Event::Enqueue(item(2)));
    let ended = bench.pass(secs(5));
    assert!(matches!(&ended[..], [Action::Settle(_, Settlement::NotInTime(_)), Action::Kill]), "{ended:?}");
    assert_eq!(bench.on(exited()), [start(false)], "the next turn has another");
}

#[test]
fn a_wait_for_a_place_is_not_the_turns_time_and_has_its_own_end() {
    let mut bench = bench(vec![within(1, 5)]);
    bench.pass(secs(1));
    bench.feed(Event::AwaitsPlace(true));
    assert!(bench.machine.start_trouble().expect("it is shown").contains("max_live"));
    assert_eq!(bench.pass(secs(300)), []);
    bench.feed(Event::Enqueue(within(2, 5)));
    assert_eq!(bench.pass(millis(299_999)), []);
    let ended = bench.pass(millis(1));
    assert!(
        matches!(&ended[..], [Action::Settle(_, Settlement::NotStarted(why))] if why.kind == PermanentKind::NoPlace),
        "{ended:?}"
    );
    assert_eq!(bench.pass(millis(299_999)), [], "counted from the asking of each");
    let ended = bench.pass(millis(1));
    assert!(matches!(&ended[..], [Action::Settle(..), Action::Kill]), "and nobody waits: {ended:?}");
    assert_eq!(bench.on(exited()), [Action::End(End::Parked)]);
}

#[test]
fn the_time_goes_on_where_it_stood_when_there_is_a_place() {
    let mut bench = bench(vec![within(1, 5)]);
    bench.pass(secs(2));
    bench.feed(Event::AwaitsPlace(true));
    bench.pass(secs(100));
    bench.feed(Event::AwaitsPlace(false));
    assert_eq!(bench.pass(millis(2_999)), []);
    assert!(matches!(&bench.pass(millis(1))[..], [Action::Settle(_, Settlement::NotInTime(_))]));
}

#[test]
fn a_shortage_is_waited_for_as_a_place_and_counts_against_nobody() {
    let mut bench = bench(vec![within(1, 5)]);
    let mut waited = secs(0);
    while waited < secs(500) {
        assert_eq!(bench.on(short()), []);
        assert!(bench.machine.start_trouble().expect("it is shown").contains("Too many open files"));
        let until = bench.machine.poll_timeout().expect("it is tried again");
        waited += until - bench.now;
        assert_eq!(bench.pass(until - bench.now), [start(false)]);
        bench.feed(Event::AwaitsPlace(false));
    }
    bench.feed(Event::Spawned);
    assert_eq!(bench.pass(secs(4)), [], "the wait was not the turn's");
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
}

#[test]
fn a_shortage_without_end_ends_with_its_words() {
    let mut bench = bench(vec![item(1)]);
    let mut ended = Vec::new();
    for _ in 0..1_000 {
        ended = bench.on(short());
        if !matches!(bench.state(), State::Starting) {
            break;
        }
        let until = bench.machine.poll_timeout().expect("it has an end");
        ended = bench.pass(until - bench.now);
        if ended != [start(false)] {
            break;
        }
    }
    assert!(
        matches!(&ended[..], [Action::Settle(_, Settlement::NotStarted(why)), Action::End(End::Parked)]
            if why.kind == PermanentKind::NoPlace && why.message.contains("Too many open files")),
        "{ended:?}"
    );
}

#[test]
fn a_shortage_that_each_cli_meets_behind_its_spawn_ends_as_well() {
    let mut bench = bench(vec![Item::Turn(taken(1, 1))]);
    let began = bench.now;
    let ended = loop {
        bench.feed(Event::Spawned);
        let words = "Error: ENOSPC: no space left on device, write";
        bench.feed(Event::StartFailed(StartFailure::passing(&ExitClass::Crash(CrashKind::Exit(1)), words)));
        let until = bench.machine.poll_timeout().expect("it has an end");
        let actions = bench.pass(until - bench.now);
        if actions != [start(true)] {
            break actions;
        }
    };
    assert_eq!(bench.now - began, secs(600), "counted from the asking, over all CLIs");
    assert!(
        matches!(&ended[..], [Action::Settle(_, Settlement::LeftOff(why)), Action::End(End::Parked)]
            if why.kind == PermanentKind::NoPlace && why.message.contains("ENOSPC")),
        "{ended:?}"
    );
}

#[test]
fn a_cancel_acts_at_once_between_two_starts() {
    let mut bench = bench(vec![Item::Turn(taken(1, 1)), item(2)]);
    bench.feed(ends_early());
    assert_eq!(bench.on(cancel(1)), [settle(1, Settlement::Interrupted)]);
    assert_eq!(bench.pass(millis(500)), [start(false)], "the next turn is not to run what was cancelled");
    bench.feed(ends_early());
    assert_eq!(bench.on(cancel(2)), [settle(2, Settlement::Cancelled), Action::End(End::Parked)]);
}

#[test]
fn a_clear_behind_a_turn_that_failed_meanwhile_needs_no_cli() {
    let mut bench = bench(vec![within(1, 1), Item::Clear]);
    bench.feed(ends_early());
    let late = Settlement::NotInTime("exit 1: no network".to_owned());
    bench.pass(millis(500));
    bench.feed(ends_early());
    let ended = bench.pass(secs(1));
    assert_eq!(ended, [settle(1, late), Action::NewConversation, Action::End(End::Parked)]);
}

#[test]
fn other_options_are_tried_at_once() {
    let mut bench = bench(vec![item(1)]);
    bench.feed(not_there());
    bench.feed(Event::Configure { config: Config::default(), renew: true });
    assert_eq!(bench.pass(millis(0)), [start(false)]);
}
