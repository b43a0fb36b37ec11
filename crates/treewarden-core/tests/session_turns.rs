//! How turns begin, end, and are given the result that is theirs.

mod session_support;

use std::time::Instant;

use session_support::*;
use treewarden_core::session::{
    Action, Config, CrashKind, DrainReason, End, Event, Fact, Found, Item, Lifecycle, Machine, Permanent,
    PermanentKind, ResultFact, Settlement, State, StopReason,
};

#[test]
fn the_cli_is_initialized_before_the_first_turn_is_sent() {
    let mut bench = Bench::new(Config::default(), vec![item(1)]);
    assert_eq!(bench.take(), [start(false)]);
    assert_eq!(bench.on(Event::Spawned), [Action::Initialize]);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
    assert_eq!(bench.state(), State::Busy(turn(1)));
}

#[test]
fn turns_begin_in_the_order_in_which_they_were_opened() {
    let mut bench = Bench::up(Config::default(), vec![item(1), item(2)], true);
    bench.feed(Event::Enqueue(item(3)));
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), send(2)]);
    assert_eq!(bench.on(result(&[2])), [settle(2, Settlement::Result(())), send(3)]);
    assert_eq!(bench.on(result(&[3])), [settle(3, Settlement::Result(()))]);
    assert_eq!(bench.state(), State::Ready);
}

#[test]
fn one_turn_at_a_time_is_in_the_cli() {
    let mut bench = Bench::busy();
    assert_eq!(bench.on(Event::Enqueue(item(2))), []);
    assert_eq!(bench.on(lifecycle(1, Lifecycle::Completed)), [], "completed alone is not the end of a turn");
    assert_eq!(bench.machine.queued(), 1);
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), send(2)]);
}

#[test]
fn a_turn_enqueued_while_the_cli_starts_waits_for_it() {
    let mut bench = Bench::new(Config::default(), vec![]);
    assert_eq!(bench.on(Event::Enqueue(item(1))), []);
    bench.feed(Event::Spawned);
    assert_eq!(bench.on(Event::Enqueue(item(2))), []);
    assert_eq!(bench.on(Event::Initialized { lifecycle: true }), [send(1)]);
}

#[test]
fn a_queued_turn_that_is_cancelled_never_runs() {
    let mut bench = Bench::up(Config::default(), vec![item(1), item(2), item(3)], true);
    assert_eq!(bench.on(cancel(2)), [settle(2, Settlement::Cancelled)]);
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(())), send(3)]);
}

#[test]
fn a_turn_that_could_not_be_sent_fails_and_the_next_one_is_sent() {
    let why = Permanent::new(PermanentKind::Store, "the disk is full");
    let mut bench = Bench::up(Config::default(), vec![Item::Turn(at_most_once(1)), item(2)], true);
    assert_eq!(
        bench.on(Event::Unsent(turn(1), why.clone())),
        [settle(1, Settlement::NotStarted(why.clone())), send(2)]
    );
    assert_eq!(bench.on(Event::Unsent(turn(1), why)), [], "it is settled");
    assert_eq!(bench.on(result(&[2])), [settle(2, Settlement::Result(()))]);
}

#[test]
fn cancelling_a_turn_that_is_settled_or_unknown_does_nothing() {
    let mut bench = Bench::busy();
    bench.feed(result(&[1]));
    assert_eq!(bench.on(cancel(1)), []);
    assert_eq!(bench.on(cancel(9)), []);
    assert_eq!(bench.state(), State::Ready);
}

#[test]
fn a_running_turn_that_is_cancelled_drains_to_its_result() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(cancel(1)), [Action::Interrupt]);
    assert_eq!(bench.state(), State::Draining(turn(1)));
    assert_eq!(bench.on(cancel(1)), [], "one interrupt is enough");
    assert_eq!(bench.on(aborted(&[1])), [settle(1, Settlement::Interrupted), send(2)]);
}

#[test]
fn an_interrupt_ends_the_running_turn_and_no_other() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(Event::InterruptOwnWork), [], "a turn is ended by its own name");
    assert_eq!(bench.on(cancel(1)), [Action::Interrupt]);
    assert_eq!(bench.on(aborted(&[1])), [settle(1, Settlement::Interrupted), send(2)]);
    assert_eq!(bench.on(cancel(1)), [], "it is over, and the next one was not meant");
    assert_eq!(bench.state(), State::Busy(turn(2)));
}

#[test]
fn an_interrupt_of_an_idle_session_does_nothing() {
    assert_eq!(Bench::ready().on(Event::InterruptOwnWork), []);
    assert_eq!(Bench::ready().on(cancel(1)), []);
}

#[test]
fn a_late_success_while_draining_completes_the_turn() {
    let mut bench = Bench::busy();
    bench.feed(cancel(1));
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
}

#[test]
fn an_abort_that_nobody_asked_for_is_an_interruption() {
    assert_eq!(Bench::busy().on(aborted(&[1])), [settle(1, Settlement::Interrupted)]);
}

#[test]
fn a_prompt_that_the_cli_drops_ends_interrupted() {
    let mut bench = Bench::busy();
    assert_eq!(bench.on(lifecycle(1, Lifecycle::Dropped)), [settle(1, Settlement::Interrupted)]);
    assert_eq!(bench.on(aborted(&[1])), [], "and it ends once");
}

#[test]
fn results_that_name_other_turns_are_ignored() {
    let mut bench = Bench::busy();
    assert_eq!(bench.on(result(&[7])), []);
    assert_eq!(bench.on(result(&[])), [], "nor is one that names nothing taken, when the CLI can name");
    assert_eq!(bench.on(lifecycle(7, Lifecycle::Dropped)), []);
    assert_eq!(bench.state(), State::Busy(turn(1)));
    assert_eq!(bench.on(result(&[7, 1])), [settle(1, Settlement::Result(()))]);
}

#[test]
fn a_result_that_comes_while_nothing_runs_is_ignored() {
    let mut bench = Bench::ready();
    assert_eq!(bench.on(result(&[7])), []);
    assert_eq!(bench.on(Event::Enqueue(item(1))), [send(1)]);
}

#[test]
fn a_completed_turn_of_an_idle_cli_is_settled_from_the_transcript() {
    let mut bench = Bench::busy();
    assert_eq!(bench.on(lifecycle(1, Lifecycle::Completed)), []);
    assert_eq!(bench.pass(secs(5)), [], "completed alone: the result may come yet");
    assert_eq!(bench.on(frame(Fact::Idle)), []);
    assert_eq!(bench.pass(millis(299)), []);
    assert_eq!(bench.pass(millis(1)), [Action::ReadTranscript(turn(1))]);
    assert_eq!(
        bench.on(Event::TranscriptRead(turn(1), Found::Answer(()))),
        [settle(1, Settlement::Transcript(()))]
    );
}

#[test]
fn a_cli_that_goes_on_with_a_completed_turn_is_waited_for() {
    let mut bench = Bench::busy();
    bench.feed(lifecycle(1, Lifecycle::Completed));
    bench.feed(frame(Fact::Idle));
    bench.feed(frame(Fact::Running));
    assert_eq!(bench.pass(secs(60)), []);
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
}

#[test]
fn a_result_during_the_read_of_the_transcript_wins() {
    let mut bench = Bench::busy();
    bench.feed(lifecycle(1, Lifecycle::Completed));
    bench.feed(frame(Fact::Idle));
    bench.pass(millis(300));
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
    assert_eq!(bench.on(Event::TranscriptRead(turn(1), Found::Answer(()))), []);
}

#[test]
fn an_interruption_in_the_transcript_ends_the_turn_interrupted() {
    let mut bench = Bench::busy();
    bench.feed(lifecycle(1, Lifecycle::Completed));
    bench.feed(frame(Fact::Idle));
    bench.pass(millis(300));
    let found = Event::TranscriptRead(turn(1), Found::Interruption);
    assert_eq!(bench.on(found), [settle(1, Settlement::Interrupted)]);
}

/// The turn is reported complete, and the transcript holds no answer, however often it is asked.
fn find_no_answer(bench: &mut Bench) -> Vec<Action> {
    bench.feed(frame(Fact::Idle));
    for _ in 0..3 {
        assert_eq!(bench.pass(millis(300)), [Action::ReadTranscript(turn(1))]);
        assert_eq!(bench.on(Event::TranscriptRead(turn(1), Found::Nothing)), []);
    }
    assert_eq!(bench.pass(millis(300)), [Action::ReadTranscript(turn(1))]);
    bench.on(Event::TranscriptRead(turn(1), Found::Nothing))
}

#[test]
fn a_cli_that_left_no_answer_is_asked_to_go_on_and_answers_the_turn() {
    let mut bench = Bench::busy();
    bench.feed(lifecycle(1, Lifecycle::Completed));
    let nudge = turn(1).nudge(1);
    assert_eq!(find_no_answer(&mut bench), [Action::Nudge(turn(1), nudge)]);
    bench.feed(frame(Fact::Running));
    bench.feed(frame(Fact::Lifecycle(nudge, Lifecycle::Started)));
    let answer = ResultFact { turns: vec![nudge], ..ResultFact::default() };
    assert_eq!(bench.on(frame(Fact::Result(answer))), [settle(1, Settlement::Result(()))]);
}

#[test]
fn an_answer_that_is_nowhere_ends_the_cli_and_keeps_the_turn() {
    let mut bench = Bench::busy();
    bench.feed(lifecycle(1, Lifecycle::Completed));
    let nudge = turn(1).nudge(1);
    assert_eq!(find_no_answer(&mut bench), [Action::Nudge(turn(1), nudge)]);
    bench.feed(frame(Fact::Lifecycle(nudge, Lifecycle::Completed)));
    assert_eq!(find_no_answer(&mut bench), [Action::Kill]);
    assert_eq!(bench.on(killed()), [crashed(CrashKind::AnswerMissing)]);
}

#[test]
fn a_turn_that_another_writer_overtook_fails_at_once_and_the_next_one_runs() {
    let mut bench = Bench::busy();
    bench.feed(Event::Enqueue(item(2)));
    let found = Event::TranscriptRead(turn(1), Found::Overtaken);
    assert_eq!(bench.on(found), [settle(1, Settlement::Overtaken), Action::Send(turn(2))]);
}

#[test]
fn a_cli_whose_turn_was_overtaken_is_not_asked_to_go_on_and_its_answer_is_waited_for() {
    let mut bench = Bench::busy();
    bench.feed(lifecycle(1, Lifecycle::Completed));
    bench.feed(frame(Fact::Idle));
    for _ in 0..3 {
        assert_eq!(bench.pass(millis(300)), [Action::ReadTranscript(turn(1))]);
        assert_eq!(bench.on(Event::TranscriptRead(turn(1), Found::Overtaken)), []);
    }
    assert_eq!(bench.pass(millis(300)), [Action::ReadTranscript(turn(1))]);
    let found = Event::TranscriptRead(turn(1), Found::Overtaken);
    assert_eq!(bench.on(found), [settle(1, Settlement::Overtaken)]);
}

#[test]
fn a_clear_keeps_its_place_in_the_queue() {
    let mut bench = Bench::up(Config::default(), vec![item(1), Item::Clear, item(2)], true);
    assert_eq!(bench.on(cancel(1)), [Action::Interrupt]);
    assert_eq!(bench.on(aborted(&[1])), [settle(1, Settlement::Interrupted), Action::Stop]);
    assert_eq!(bench.state(), State::Stopping);
    assert_eq!(bench.machine.queued(), 1, "turn 2 is left to the next incarnation");
    assert_eq!(bench.on(exited()), [Action::NewConversation, Action::End(End::Parked)]);
}

#[test]
fn a_clear_of_an_idle_session_ends_its_cli_at_once() {
    let mut bench = Bench::ready();
    assert_eq!(bench.on(Event::Enqueue(Item::Clear)), [Action::Stop]);
    assert_eq!(bench.on(exited()), [Action::NewConversation, Action::End(End::Parked)]);
}

#[test]
fn a_suspended_session_does_not_park_before_its_limit_is_lifted() {
    let config = {
        let mut config = Config::default();
        config.idle_timeout = Some(secs(60));
        config
    };
    let mut bench = Bench::up(config, vec![item(1)], true);
    let limited = ResultFact { turns: vec![turn(1)], limited_for: Some(secs(3600)), ..ResultFact::default() };
    bench.feed(frame(Fact::Result(limited)));
    bench.is_on_disk();
    bench.now += millis(99_700);
    let now = bench.now;
    let mut actions = Vec::new();
    bench.machine.handle_timeout(now, &mut actions);
    assert_eq!(actions, [], "a call before its time changes nothing");
    assert_eq!(bench.pass(secs(3500)), []);
    assert_eq!(bench.pass(secs(60)), [Action::LookOnDisk]);
}

#[test]
fn credentials_refused_once_are_given_another_chance() {
    let mut bench = Bench::busy();
    assert_eq!(bench.on(frame(Fact::CredentialsRefused)), []);
    assert_eq!(bench.on(result(&[1])), [settle(1, Settlement::Result(()))]);
    bench.feed(Event::Enqueue(item(2)));
    assert_eq!(bench.on(frame(Fact::CredentialsRefused)), [], "the count is per turn");
}

#[test]
fn credentials_refused_twice_end_the_turn() {
    let mut bench = Bench::busy();
    bench.feed(frame(Fact::CredentialsRefused));
    assert_eq!(bench.on(frame(Fact::CredentialsRefused)), [Action::Interrupt]);
    assert_eq!(bench.on(aborted(&[1])), [settle(1, Settlement::CredentialsRefused(Some(())))]);
}

#[test]
fn an_idle_session_parks_after_its_idle_time() {
    let mut config = Config::default();
    config.idle_timeout = Some(secs(900));
    let mut bench = Bench::up(config, vec![item(1)], true);
    bench.pass(secs(100));
    bench.feed(result(&[1]));
    // A look at the disk is no reason to stay longer.
    bench.is_on_disk();
    assert_eq!(bench.pass(millis(899_699)), []);
    assert_eq!(bench.pass(millis(1)), [Action::LookOnDisk]);
    assert_eq!(bench.on(saved()), [Action::Stop]);
    assert_eq!(bench.on(Event::Enqueue(item(2))), [], "too late for this incarnation");
    assert_eq!(bench.on(exited()), [Action::End(End::Parked)]);
}

#[test]
fn only_an_idle_session_parks() {
    let mut starting = Bench::new(Config::default(), vec![]);
    assert_eq!(starting.on(Event::Stop(StopReason::Park)), []);
    let mut busy = Bench::busy();
    assert_eq!(busy.on(Event::Stop(StopReason::Park)), []);
    assert_eq!(busy.state(), State::Busy(turn(1)));
    let mut ready = Bench::ready();
    assert_eq!(ready.on(Event::Stop(StopReason::Park)), [Action::LookOnDisk]);
    assert_eq!(ready.on(saved()), [Action::Stop]);
    assert_eq!(ready.on(exited()), [Action::End(End::Parked)]);
}

#[test]
fn a_settlement_carries_the_result_that_it_was_reached_by_and_no_other() {
    let now = Instant::now();
    let mut actions = Vec::new();
    let mut machine = Machine::<&str>::new(now, Config::default(), vec![item(1)], &mut actions);
    let result = |evidence, number, aborted| {
        let fact = ResultFact { evidence, turns: vec![turn(number)], aborted, ..ResultFact::default() };
        Event::Frame(Fact::Result(fact))
    };
    machine.handle(now, Event::Spawned, &mut actions);
    machine.handle(now, Event::Initialized { lifecycle: true }, &mut actions);
    machine.handle(now, result("another's", 7, false), &mut actions);
    machine.handle(now, Event::Cancel(turn(1), DrainReason::TimedOut), &mut actions);
    machine.handle(now, Event::Enqueue(item(2)), &mut actions);
    actions.clear();
    machine.handle(now, result("the first's", 1, true), &mut actions);
    machine.handle(now, Event::Settled(turn(1)), &mut actions);
    machine.handle(now, result("the second's", 2, false), &mut actions);
    let settled = actions.into_iter().filter(|action| matches!(action, Action::Settle(..)));
    assert_eq!(
        settled.collect::<Vec<_>>(),
        [
            Action::Settle(turn(1), Settlement::TimedOut(Some("the first's"))),
            Action::Settle(turn(2), Settlement::Result("the second's")),
        ]
    );
}
