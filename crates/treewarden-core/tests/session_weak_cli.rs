//! A CLI that names no prompts on its results (2.1.197, say): what is given by position, and what is not.

mod session_support;

use session_support::*;
use treewarden_core::session::{
    Action, Config, CrashKind, DrainReason, Event, Fact, Found, Item, ResultFact, Settlement,
};

fn weak(open: Vec<Item>) -> Bench {
    let mut bench = Bench::up(Config::default(), open, false);
    bench.take();
    bench
}

#[test]
fn a_weak_cli_is_said_to_be_one() {
    assert!(!weak(vec![]).machine.attributes_by_id());
    assert!(Bench::ready().machine.attributes_by_id());
}

#[test]
fn a_nameless_result_of_a_first_attempt_is_its_answer() {
    let mut bench = weak(vec![item(1), item(2)]);
    assert_eq!(bench.on(result(&[])), [settle(1, Settlement::Result(())), send(2)]);
    assert_eq!(bench.on(result(&[])), [settle(2, Settlement::Result(()))]);
}

#[test]
fn a_nameless_abort_of_a_drained_first_attempt_ends_it() {
    let mut bench = weak(vec![item(1)]);
    bench.feed(Event::Cancel(turn(1), DrainReason::TimedOut));
    assert_eq!(bench.on(aborted(&[])), [settle(1, Settlement::TimedOut(Some(())))]);
}

#[test]
fn a_result_that_something_else_caused_is_nobodys_answer() {
    let mut bench = weak(vec![item(1)]);
    let stray = ResultFact { unsolicited: true, ..ResultFact::default() };
    assert_eq!(bench.on(frame(Fact::Result(stray))), []);
    assert_eq!(bench.on(result(&[])), [settle(1, Settlement::Result(()))]);
}

#[test]
fn a_nameless_result_after_a_crash_is_checked_against_the_transcript() {
    let mut bench = weak(vec![Item::Turn(taken(1, 1)), item(2)]);
    assert_eq!(bench.on(result(&[])), [Action::ReadTranscript(turn(1))]);
    assert_eq!(bench.on(Event::TranscriptRead(turn(1), Found::Nothing)), [], "it was an older turn's");
    assert_eq!(bench.on(result(&[])), [Action::ReadTranscript(turn(1))]);
    let found = Event::TranscriptRead(turn(1), Found::Answer(()));
    assert_eq!(bench.on(found), [settle(1, Settlement::Transcript(())), send(2)]);
}

#[test]
fn an_answer_that_reaches_the_transcript_after_the_result_is_found() {
    let mut bench = weak(vec![Item::Turn(taken(1, 1))]);
    bench.feed(result(&[]));
    bench.feed(Event::TranscriptRead(turn(1), Found::Nothing));
    assert_eq!(bench.pass(secs(1)), [Action::ReadTranscript(turn(1))], "without another frame");
    let found = Event::TranscriptRead(turn(1), Found::Answer(()));
    assert_eq!(bench.on(found), [settle(1, Settlement::Transcript(()))]);
}

#[test]
fn a_turn_that_a_weak_cli_swallows_is_found_in_the_transcript() {
    let mut bench = weak(vec![Item::Turn(taken(1, 1))]);
    assert_eq!(bench.pass(secs(1)), [Action::ReadTranscript(turn(1))], "though the CLI never says a word");
    let found = Event::TranscriptRead(turn(1), Found::Answer(()));
    assert_eq!(bench.on(found), [settle(1, Settlement::Transcript(()))]);
}

#[test]
fn a_late_result_of_a_turn_settled_from_the_transcript_is_not_given_to_the_next() {
    let mut bench = weak(vec![Item::Turn(taken(1, 1)), item(2)]);
    bench.feed(frame(Fact::Activity));
    assert_eq!(bench.pass(millis(300)), [Action::ReadTranscript(turn(1))]);
    let found = Event::TranscriptRead(turn(1), Found::Answer(()));
    assert_eq!(bench.on(found), [settle(1, Settlement::Transcript(())), send(2)]);
    let late = bench.on(result(&[]));
    assert_eq!(late, [Action::ReadTranscript(turn(2))], "whose result it is, nobody can say");
    assert_eq!(bench.on(Event::TranscriptRead(turn(2), Found::Nothing)), []);
    assert_eq!(bench.on(result(&[])), [Action::ReadTranscript(turn(2))]);
    let found = Event::TranscriptRead(turn(2), Found::Answer(()));
    assert_eq!(bench.on(found), [settle(2, Settlement::Transcript(()))]);
}

#[test]
fn a_weak_cli_that_stays_silent_is_killed_all_the_same() {
    let mut bench = weak(vec![item(1)]);
    assert_eq!(bench.pass(secs(130)), [Action::Probe, Action::Kill]);
    assert_eq!(bench.on(killed()), [crashed(CrashKind::Silent)]);
}
