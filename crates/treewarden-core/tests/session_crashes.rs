//! What a crash leaves behind, and how the next incarnation takes it over.

mod session_support;

use session_support::*;
use treewarden_core::session::{
    Action, Config, CrashKind, DrainReason, End, Event, ExitClass, Item, OpenTurn, Opening, Permanent,
    PermanentKind, Settlement, StartFailure, State,
};

fn start_failed(failure: StartFailure) -> Event {
    Event::StartFailed(failure)
}

#[test]
fn a_crash_leaves_an_exactly_once_turn_open() {
    let mut bench = Bench::busy();
    assert_eq!(bench.on(killed()), [crashed(CrashKind::Signal(9))]);
    assert_eq!(bench.state(), State::Ended);
}

#[test]
fn a_crash_fails_an_at_most_once_turn() {
    let mut bench = Bench::up(Config::default(), vec![Item::Turn(at_most_once(1)), item(2)], true);
    assert_eq!(bench.on(killed()), [settle(1, Settlement::Crashed), crashed(CrashKind::Signal(9))]);
}

#[test]
fn a_crash_before_the_first_turn_is_sent_fails_no_turn() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(at_most_once(1))]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(killed()), [], "it passes");
    assert_eq!(bench.pass(millis(500)), [start(false)]);
}

#[test]
fn a_crash_ends_a_turn_that_was_to_end_anyway() {
    let mut bench = Bench::busy();
    bench.feed(Event::Cancel(turn(1), DrainReason::TimedOut));
    assert_eq!(bench.on(killed()), [settle(1, Settlement::TimedOut(None)), crashed(CrashKind::Signal(9))]);
}

#[test]
fn a_clean_exit_under_a_turn_is_a_crash() {
    assert_eq!(Bench::busy().on(exited()), [crashed(CrashKind::Exit(0))]);
}

#[test]
fn a_clean_exit_of_an_idle_cli_parks_the_session() {
    assert_eq!(Bench::ready().on(exited()), [Action::End(End::Parked)]);
}

#[test]
fn a_turn_that_was_under_way_is_run_again_before_any_other() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1)), item(2)]);
    assert_eq!(bench.take(), [start(true)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
    assert_eq!(bench.machine.in_flight().expect("it was sent").attempts, 2);
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), send(2)]);
}

#[test]
fn a_result_that_a_resumed_cli_comes_to_before_it_was_sent_the_turn_is_the_turns() {
    for initialized in [false, true] {
        let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1)), item(2)]);
        bench.feed(Event::Spawned);
        // The store keeps the turn from being sent.
        bench.machine.await_outcomes([turn(9)]);
        if initialized {
            bench.feed(Event::Initialized { lifecycle: true });
        }
        assert!(bench.machine.is_at_hand(turn(1)) && !bench.machine.is_at_hand(turn(2)));
        assert_eq!(bench.on(result(&[2])), [], "a turn that no CLI was given is nobody's result");
        assert_eq!(bench.on(aborted(&[1])), [], "an abort of before decides nothing");
        assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
        assert!(bench.machine.at_hand().is_none());
        if !initialized {
            bench.feed(Event::Initialized { lifecycle: true });
        }
        assert_eq!(bench.on(Event::Settled(turn(9))), [send(2)]);
    }
}

#[test]
fn a_cli_that_does_not_know_a_flag_is_started_without_it_once() {
    let unknown = || {
        let permanent =
            Permanent::new(PermanentKind::BadOption, "error: unknown option '--await-initialize'");
        start_failed(StartFailure::UnknownFlag(permanent))
    };
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1))]);
    bench.feed(start_failed(in_use()));
    assert_eq!(bench.on(unknown()), [start_as(Opening::Resume, true)], "the opening that was forced stays");
    let again = bench.on(unknown());
    assert!(
        matches!(&again[..], [Action::Settle(_, Settlement::LeftOff(_)), Action::End(End::Failed(_))]),
        "{again:?}"
    );
}

#[test]
fn a_turn_that_was_never_sent_is_not_a_reason_to_run_anything_again() {
    assert_eq!(Bench::new(Config::default(), vec![item(1)]).take(), [start(false)]);
}

#[test]
fn a_clear_needs_no_cli() {
    let mut bench = Bench::new(Config::default(), vec![Item::Clear]);
    assert_eq!(bench.take(), [Action::NewConversation, Action::End(End::Parked)]);
}

#[test]
fn a_turn_that_had_all_its_attempts_fails() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 20)), item(2)]);
    assert_eq!(bench.take(), [settle(1, Settlement::Crashed), start(false)]);
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 19))]);
    assert_eq!(bench.take(), [start(true)]);
}

#[test]
fn an_at_most_once_turn_that_was_sent_is_not_sent_again() {
    let sent = OpenTurn { attempts: 1, ..at_most_once(1) };
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(sent)]);
    assert_eq!(bench.take(), [settle(1, Settlement::Crashed), start(false)]);
}

#[test]
fn cancelling_the_turn_that_is_being_rerun_restarts_without_the_rerun() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1)), item(2)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(cancel(1)), [settle(1, Settlement::Interrupted), Action::Kill]);
    assert_eq!(
        bench.on(Event::Initialized { lifecycle: true }),
        [],
        "nothing is sent to a CLI that is killed"
    );
    assert_eq!(bench.on(killed()), [start(false)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(2)]);
}

#[test]
fn interrupting_the_turn_that_is_being_rerun_ends_it() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1))]);
    assert_eq!(bench.on(cancel(1)), [settle(1, Settlement::Interrupted), Action::Kill]);
    assert_eq!(bench.on(ends_early()), [Action::End(End::Parked)], "and nothing else waits");
}

#[test]
fn a_rerun_turn_that_runs_out_of_its_time_before_it_is_sent_is_timed_out() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1))]);
    let late = Event::Cancel(turn(1), DrainReason::TimedOut);
    assert_eq!(bench.on(late), [settle(1, Settlement::TimedOut(None)), Action::Kill]);
}

#[test]
fn a_turn_enqueued_during_that_restart_is_the_next_to_run() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1))]);
    bench.feed(Event::Spawned);
    bench.feed(cancel(1));
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(killed()), [start(false)]);
}

#[test]
fn an_id_that_is_in_use_is_resumed_once() {
    let mut bench = Bench::new(Config::default(), vec![item(1)]);
    let again = bench.on(start_failed(in_use()));
    assert_eq!(again, [start_as(Opening::Resume, false)]);
    // A file with hardly anything in it, as a CLI leaves that is killed when it has just begun a conversation.
    let renamed = bench.on(start_failed(no_conversation()));
    assert_eq!(renamed, [Action::Rename, start(false)], "nothing is lost with the id");
    bench.feed(start_failed(in_use()));
    let actions = bench.on(start_failed(no_conversation()));
    assert!(
        matches!(&actions[..], [
            Action::Settle(_, Settlement::NotStarted(reason)),
            Action::End(End::Failed(end)),
        ] if reason == end && end.message == "No conversation found"),
        "{actions:?}"
    );
}

#[test]
fn a_conversation_that_is_not_there_is_opened_fresh_once() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1))]);
    let again = bench.on(start_failed(no_conversation()));
    assert_eq!(again, [start_as(Opening::Fresh, true)]);
    let actions = bench.on(start_failed(in_use()));
    assert!(
        matches!(&actions[..], [_, Action::End(End::Failed(end))] if end.kind == PermanentKind::IdInUse),
        "{actions:?}"
    );
}

#[test]
fn a_restart_after_a_cancel_may_change_the_opening_anew() {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1)), item(2)]);
    bench.feed(start_failed(no_conversation()));
    bench.feed(Event::Spawned);
    bench.feed(cancel(1));
    assert_eq!(bench.on(killed()), [start(false)]);
    let again = bench.on(start_failed(no_conversation()));
    assert_eq!(again, [start_as(Opening::Fresh, false)], "the killed CLI left nothing on disk");
}

#[test]
fn a_permanent_failure_to_start_settles_every_turn() {
    let reason = Permanent::new(PermanentKind::CliNotFound, "no CLI at \"/opt/claude\"");
    let open = vec![Item::Turn(taken(1, 1)), Item::Clear, item(2)];
    let mut bench = Bench::new(Config::default(), open);
    assert_eq!(
        bench.on(start_failed(StartFailure::Permanent(reason.clone()))),
        [
            settle(1, Settlement::LeftOff(reason.clone())),
            settle(2, Settlement::NotStarted(reason.clone())),
            Action::End(End::Failed(reason.clone()))
        ],
        "a turn that was sent is never told as not started"
    );
}

#[test]
fn a_refusal_that_shows_in_the_exit_settles_every_turn_too() {
    let reason = Permanent::new(PermanentKind::BadOption, "unknown option");
    let mut bench = Bench::new(Config::default(), vec![item(1)]);
    bench.feed(Event::Spawned);
    let exited = bench.on(Event::Exited(ExitClass::Permanent(reason.clone())));
    assert_eq!(exited, [settle(1, Settlement::NotStarted(reason.clone())), Action::End(End::Failed(reason))]);
}

/// A session whose turn 1, which the CLI would run again, is cancelled: another CLI is to come for turn 2.
fn reopening() -> Bench {
    let mut bench = Bench::new(Config::default(), vec![Item::Turn(taken(1, 1)), item(2)]);
    bench.feed(Event::Spawned);
    bench.feed(cancel(1));
    bench
}

#[test]
fn nothing_is_started_beside_a_cli_that_could_not_be_ended() {
    let left = Permanent::new(PermanentKind::NotGone, "a process is left");
    let failed = Action::End(End::Failed(left.clone()));
    let class = || ExitClass::Permanent(left.clone());
    let not_started = settle(2, Settlement::NotStarted(left.clone()));
    assert_eq!(reopening().on(Event::Exited(class())), [not_started.clone(), failed.clone()]);
    let found_left = start_failed(StartFailure::Permanent(left.clone()));
    assert_eq!(reopening().on(found_left), [not_started, failed.clone()]);
    let mut bench = Bench::ready();
    bench.feed(Event::Enqueue(Item::Clear));
    assert_eq!(bench.state(), State::Stopping);
    assert_eq!(bench.on(Event::Exited(class())), [Action::NewConversation, failed]);
}

#[test]
fn a_refusal_of_a_cli_that_is_killed_for_its_silence_is_no_crash() {
    let refused = Permanent::new(PermanentKind::StartupRefused, "the CLI refused to start");
    let mut bench = Bench::new(Config::default(), vec![item(1)]);
    bench.feed(Event::Spawned);
    assert_eq!(bench.pass(Config::default().start_timeout), [Action::Kill]);
    let exited = bench.on(Event::Exited(ExitClass::Permanent(refused.clone())));
    assert_eq!(
        exited,
        [settle(1, Settlement::NotStarted(refused.clone())), Action::End(End::Failed(refused))]
    );
}

#[test]
fn what_a_cli_refused_says_nothing_about_its_successor() {
    let refused = Permanent::new(PermanentKind::BadOption, "unknown option");
    assert_eq!(reopening().on(Event::Exited(ExitClass::Permanent(refused))), [start(false)]);
}

#[test]
fn a_cli_that_ran_out_of_memory_says_so() {
    let ended = Action::End(End::Crashed(ExitClass::OutOfMemory(None)));
    assert_eq!(Bench::busy().on(Event::Exited(ExitClass::OutOfMemory(None))), [ended]);
}

#[test]
fn an_incarnation_that_is_over_does_nothing() {
    let mut bench = Bench::busy();
    bench.feed(killed());
    for event in [Event::Enqueue(item(2)), result(&[1]), killed(), cancel(1), Event::Spawned] {
        assert_eq!(bench.on(event), []);
    }
    assert_eq!(bench.pass(secs(1_000_000)), []);
}
