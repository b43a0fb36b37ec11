//! Turns: each comes to one outcome, its own, whatever is done to it and to those around it.

use std::time::Duration;

use tokio::task::JoinHandle;
use treewarden::session::{Event, FailureKind, Outcome, QueryError, QueryErrorKind, SessionState, TextEvent};
use treewarden::{Host, Session, SessionId, SessionOptions, TurnId};
use treewarden_end_to_end::{Lab, end, eventually, id_of, outcome_of, reaches};
use treewarden_store::NewTurn;
use treewarden_testkit::faults;

/// A turn that takes longer than any test.
const LONG: &str = "STREAM=2000:50";

fn is_settled(outcome: &Outcome, word: &str) -> bool {
    outcome.word() == word
}

#[tokio::test]
async fn of_three_turns_one_killed_and_one_cancelled_the_others_get_their_own_answers_in_order() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let mut feed = lab.host.events().now();
    let mut first = session.stream("FIRST STREAM=20:50 ONCE=1").await.expect("opened");
    let second = session.stream("SECOND").await.expect("opened");
    let third = session.stream("THIRD").await.expect("opened");
    let order = [second.id(), first.id(), third.id()];
    while !matches!(first.next().await, Some(Event::Frame(frame)) if frame.text_delta().is_some()) {}
    session.cancel(second.id()).await.expect("cancelled");
    faults::kill(session.status().await.expect("status").pid.expect("a CLI lives")).expect("killed");
    let first = first.answer().await.expect("answered");
    assert!(first.text.contains("answer to FIRST"), "{first}");
    assert_eq!(first.interruptions, 1);
    assert!(is_settled(&second.outcome().await.expect("settled"), "cancelled"));
    let third = third.answer().await.expect("answered");
    assert!(third.text.contains("answer to THIRD"), "{third}");
    assert_eq!(third.interruptions, 0);
    let mut settled: Vec<TurnId> = Vec::new();
    while let Some(Ok(event)) = feed.try_next() {
        if let treewarden::events::Happening::TurnSettled { turn, .. } = event.what {
            settled.push(turn);
        }
    }
    assert_eq!(settled, order, "each once, in this order");
    let prompts = lab.prompts(&id_of(&session).await);
    assert_eq!(prompts, ["FIRST STREAM=20:50 ONCE=1", "THIRD"]);
    end(&session).await;
}

#[tokio::test]
async fn the_caller_after_a_dropped_stream_never_sees_a_frame_of_it() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    for _ in 0..5 {
        let mut dropped = session.stream("alpha beta gamma SPEAK=5").await.expect("opened");
        assert!(dropped.text_deltas().next().await.is_some());
        drop(dropped);
        let mut next = session.stream("PROMPT-2 SPEAK=1").await.expect("opened");
        let mut seen = String::new();
        while let Some(event) = next.next().await {
            match event {
                Event::Frame(frame) => seen.push_str(&String::from_utf8_lossy(frame.raw())),
                Event::Outcome(outcome) => {
                    let answer = outcome.answer().expect("answered");
                    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(seen.contains("PROMPT-2"), "{seen}");
        assert!(!seen.contains("alpha") && !seen.contains("gamma"), "{seen}");
    }
    assert_eq!(session.status().await.expect("status").restarts, 0);
    end(&session).await;
}

/// Opens a query in a task of its own and says which turn it is.
async fn query(lab: &Lab, session: &Session, prompt: &'static str) -> (JoinHandle<()>, TurnId) {
    let mut feed = lab.host.events().now();
    let task = tokio::spawn({
        let session = session.clone();
        async move { panic!("it is dropped before its end: {:?}", session.query(prompt).await) }
    });
    loop {
        let event = feed.next().await.expect("the feed goes on").expect("nothing is missed");
        if let treewarden::events::Happening::TurnOpened { turn } = event.what {
            return (task, turn);
        }
    }
}

#[tokio::test]
async fn dropping_a_query_that_waits_cancels_it_and_one_that_runs_is_interrupted() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let (runs, running) = query(&lab, &session, "PROMPT-1 STREAM=2000:50").await;
    reaches(&session, SessionState::Busy).await;
    let (waits, waiting) = query(&lab, &session, "PROMPT-2").await;
    waits.abort();
    assert_eq!(outcome_of(&lab.host, waiting).await["outcome"], "cancelled");
    runs.abort();
    assert_eq!(outcome_of(&lab.host, running).await["outcome"], "interrupted");
    let answer = session.query("PROMPT-3").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-3"), "{answer}");
    assert_eq!(session.status().await.expect("status").restarts, 0);
    assert_eq!(lab.times_in_transcript(&id_of(&session).await, "PROMPT-2"), 0);
    end(&session).await;
}

#[tokio::test]
async fn the_sixty_fifth_turn_is_refused_at_once() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let mut turns = vec![session.stream(LONG).await.expect("opened")];
    for n in 1..64 {
        turns.push(session.stream(format!("PROMPT-{n}")).await.expect("opened"));
    }
    let error = session.stream("one too many").await.expect_err("refused");
    assert_eq!(error.kind(), QueryErrorKind::QueueFull);
    assert!(error.is_retryable() && error.turn().is_none());
    assert_eq!(session.clear().await.expect_err("refused").kind(), QueryErrorKind::QueueFull);
    assert_eq!(session.status().await.expect("status").queued, 64);
    drop(turns);
    eventually("the queue is empty", async || (session.status().await.ok()?.queued == 0).then_some(())).await;
    session.query("PROMPT-65").await.expect("there is room again");
    end(&session).await;
}

#[tokio::test]
async fn many_tasks_at_once_get_each_their_own_answers() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let tasks: Vec<_> = (0..10)
        .map(|task| {
            let session = session.clone();
            tokio::spawn(async move {
                for n in 0..5 {
                    let answer = session.query(format!("PROMPT-{task}-{n}-")).await.expect("answered");
                    assert_eq!(answer.text, format!("answer to PROMPT-{task}-{n}-"));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("each task has its answers");
    }
    assert_eq!(session.status().await.expect("status").turns, 50);
    end(&session).await;
}

#[tokio::test]
async fn an_interrupted_turn_says_so_and_the_next_one_runs() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let by_session = session.stream(LONG).await.expect("opened");
    reaches(&session, SessionState::Busy).await;
    assert!(session.interrupt().await.expect("interrupted"));
    assert!(is_settled(&by_session.outcome().await.expect("settled"), "interrupted"));
    let by_turn = session.stream(LONG).await.expect("opened");
    reaches(&session, SessionState::Busy).await;
    by_turn.interrupt();
    let error = by_turn.answer().await.expect_err("interrupted");
    assert_eq!(error.kind(), QueryErrorKind::Interrupted);
    let answer = session.query("PROMPT-3").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-3"), "{answer}");
    let status = session.status().await.expect("status");
    assert_eq!((status.restarts, status.generation), (0, 1));
    end(&session).await;
}

#[tokio::test]
async fn an_interrupt_takes_back_a_turn_that_waits_for_its_cli() {
    let lab = Lab::new();
    let host = Host::options().state_dir(lab.path().join("crowded")).max_live(1).open().expect("a host");
    let on = |name| SessionOptions::from(lab.spec(name)).host(&host);
    let busy = Session::start(on("busy")).await.expect("started");
    let runs = busy.stream(LONG).await.expect("opened");
    reaches(&busy, SessionState::Busy).await;
    let other = Session::start(on("other")).await.expect("started");
    let waits = other.stream("PROMPT-1").await.expect("opened");
    let next = other.stream("PROMPT-2").await.expect("opened");
    reaches(&other, SessionState::Starting).await;
    assert!(other.interrupt().await.expect("the session is there"), "a turn was ended");
    assert!(is_settled(&waits.outcome().await.expect("settled"), "cancelled"), "no CLI was sent it");
    runs.interrupt();
    assert!(
        next.answer().await.expect("answered").text.contains("answer to PROMPT-2"),
        "the one behind it runs"
    );
    end(&busy).await;
    end(&other).await;
}

#[tokio::test]
async fn a_turn_out_of_time_fails_and_the_next_one_runs() {
    let lab = Lab::new();
    let spec = lab.spec("assistant").timeout(Duration::from_millis(1500));
    let options = SessionOptions::from(spec).host(&lab.host);
    let session = Session::start(options).await.expect("started");
    let error = session.query(LONG).await.expect_err("out of time");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::TimedOut));
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    assert_eq!(session.status().await.expect("status").restarts, 0);
    end(&session).await;
}

#[tokio::test]
async fn a_turn_that_does_not_end_when_interrupted_costs_its_cli_and_no_other_turn() {
    let lab = Lab::new();
    let options = lab.options("assistant").drain_timeout(Duration::from_millis(300));
    let session = Session::start(options).await.expect("started");
    let hangs = session.stream("PROMPT-1 HANG").await.expect("opened");
    let next = session.stream("PROMPT-2").await.expect("opened");
    eventually("the prompt is read", async || {
        let id = session.status().await.ok()?.session_id?.to_string();
        (lab.times_in_transcript(&id, "PROMPT-1") == 1).then_some(())
    })
    .await;
    hangs.interrupt();
    assert!(is_settled(&hangs.outcome().await.expect("settled"), "interrupted"));
    let answer = next.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    assert_eq!(session.status().await.expect("status").restarts, 1);
    end(&session).await;
}

#[tokio::test]
async fn a_detached_turn_runs_on_and_its_outcome_is_found_by_its_id() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let turn = session.stream("PROMPT-1 STREAM=5:20").await.expect("opened").detach();
    let outcome = outcome_of(&lab.host, turn).await;
    assert_eq!(
        (&outcome["outcome"], &outcome["text"]),
        (&"completed".into(), &"answer to PROMPT-1 STREAM=5:20".into())
    );
    assert!(lab.host.turn(TurnId::new()).await.expect("the journal is readable").is_none());
    end(&session).await;
}

#[tokio::test]
async fn whoever_joins_a_turn_gets_its_outcome_and_ends_nothing_by_leaving() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let turn = session.stream("PROMPT-1 STREAM=10:20").await.expect("opened");
    let id = turn.id();
    drop(session.attach(id).await.expect("a session").expect("the turn is open"));
    let joined = session.attach(id).await.expect("a session").expect("the turn is open");
    let (own, other) = (turn.answer().await.expect("answered"), joined.answer().await.expect("answered"));
    assert_eq!(own.text, other.text);
    assert!(session.attach(id).await.expect("a session").is_none(), "it is settled");
    end(&session).await;
}

/// Asks for a new conversation while one turn runs, and waits until that waits behind it.
async fn clear_behind_a_turn(session: &Session) -> JoinHandle<Result<(), QueryError>> {
    let clear = tokio::spawn({
        let session = session.clone();
        async move { session.clear().await }
    });
    eventually("the clear waits", async || (session.status().await.ok()?.queued == 2).then_some(())).await;
    clear
}

#[tokio::test]
async fn clear_begins_a_new_conversation_in_its_place_between_the_turns() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("My name is Alice").await.expect("answered");
    let old = id_of(&session).await;
    let before = session.stream("before: my name? STREAM=5:20").await.expect("opened");
    let clear = clear_behind_a_turn(&session).await;
    let after = session.stream("after: my name?").await.expect("opened");
    let before = before.answer().await.expect("answered");
    assert!(before.text.contains("Alice"), "{before}");
    assert_eq!(before.session_id.to_string(), old);
    clear.await.expect("no panic").expect("cleared");
    let after = after.answer().await.expect("answered");
    assert!(after.text.contains("do not know"), "{after}");
    assert_ne!(after.session_id.to_string(), old);
    let new = id_of(&session).await;
    assert_eq!(after.session_id.to_string(), new);
    assert_eq!(session.status().await.expect("status").restarts, 0);
    treewarden_end_to_end::assert_nothing_left(&old);
    end(&session).await;
}

#[tokio::test]
async fn a_turn_that_waited_behind_a_clear_is_no_part_of_the_conversation_before_it() {
    let lab = Lab::new();
    let (session, old) = alice(&lab).await;
    let before = session.stream("PROMPT-1 STREAM=5:20").await.expect("opened");
    let clear = clear_behind_a_turn(&session).await;
    let after = session.stream("PROMPT-2").await.expect("opened");
    before.answer().await.expect("answered");
    clear.await.expect("no panic").expect("cleared");
    let (turn, after) = (after.id(), after.answer().await.expect("answered"));
    let completed = lab.host.store().completed(after.session_id).await.expect("the journal is readable");
    assert_eq!(completed.first().map(|last| last.turn), Some(turn));
    end(&session).await;
    let again = Session::start(SessionOptions::from(lab.spec("again").resume(old)).host(&lab.host)).await;
    let again = again.expect("started");
    let answer = again.query("What is my name?").await.expect("nothing of it is lost");
    assert!(answer.text.contains("Alice"), "{answer}");
    end(&again).await;
}

#[tokio::test]
async fn clear_of_a_session_without_a_cli_is_done_at_once() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.clear().await.expect("cleared");
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("do not know"), "{answer}");
    end(&session).await;
}

async fn alice(lab: &Lab) -> (Session, SessionId) {
    let session = Session::start(lab.options("original")).await.expect("started");
    session.query("My name is Alice").await.expect("answered");
    let id = session.id().await.expect("a session").expect("a CLI was started");
    (session, id)
}

#[tokio::test]
async fn a_conversation_is_resumed_by_its_id_under_another_name() {
    let lab = Lab::new();
    let (original, id) = alice(&lab).await;
    end(&original).await;
    let spec = lab.spec("other").resume(id);
    let options = SessionOptions::from(spec).host(&lab.host);
    let session = Session::start(options).await.expect("started");
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(answer.session_id, id);
    end(&session).await;
}

#[tokio::test]
async fn a_fork_copies_the_conversation_and_leaves_the_original_alone() {
    let lab = Lab::new();
    let (original, id) = alice(&lab).await;
    let spec = lab.spec("fork").resume(id).fork_session(true);
    let options = SessionOptions::from(spec).host(&lab.host);
    let session = Session::start(options).await.expect("started");
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_ne!(answer.session_id, id);
    session.query("FORKED").await.expect("answered");
    assert_eq!(lab.times_in_transcript(&id.to_string(), "FORKED"), 0);
    // A crash resumes the fork, and does not copy again.
    faults::kill(session.status().await.expect("status").pid.expect("a CLI lives")).expect("killed");
    eventually("the crash is seen", async || (session.status().await.ok()?.restarts == 1).then_some(()))
        .await;
    let again = session.query("What is my name?").await.expect("answered");
    assert_eq!(again.session_id, answer.session_id);
    assert_eq!(lab.times_in_transcript(&answer.session_id.to_string(), "FORKED"), 1);
    session.clear().await.expect("cleared");
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("do not know"), "a cleared fork is blank: {answer}");
    original.query("PROMPT-1").await.expect("the original goes on");
    end(&original).await;
    end(&session).await;
}

#[tokio::test]
async fn a_fork_of_an_unknown_conversation_is_refused_and_never_a_blank_one() {
    let lab = Lab::new();
    let spec = lab.spec("fork").resume(SessionId::random()).fork_session(true);
    let options = SessionOptions::from(spec).host(&lab.host);
    let session = Session::start(options).await.expect("started");
    let error = session.query("PROMPT-1").await.expect_err("there is nothing to copy");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::ConversationLost), "{error}");
    assert_eq!(session.status().await.expect("status").restarts, 0);
    end(&session).await;
}

#[tokio::test]
async fn a_stored_prompt_that_cannot_be_read_fails_its_turn_and_no_other_is_sent_for_it() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let id = id_of(&session).await;
    end(&session).await;
    let store = lab.host.store();
    let of = |prompt: serde_json::Value| NewTurn {
        turn: TurnId::new(),
        name: "assistant".parse().expect("a name"),
        session_id: id.parse().expect("an id"),
        prompt: prompt.to_string().into(),
        at_most_once: false,
        opened_at: 0,
    };
    let (unreadable, good) = (of(serde_json::json!({ "later": "form" })), of("PROMPT-2".into()));
    store.open(unreadable.clone()).await.expect("it can be stored");
    store.open(good.clone()).await.expect("it can be stored");
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let outcome = outcome_of(&lab.host, unreadable.turn).await;
    assert_eq!(
        (&outcome["outcome"], &outcome["failure"]),
        (&"failed".into(), &"not_started".into()),
        "{outcome}"
    );
    assert!(outcome.to_string().contains("cannot be read"), "{outcome}");
    assert_eq!(outcome_of(&lab.host, good.turn).await["outcome"], "completed");
    assert_eq!(lab.prompts(&id), ["PROMPT-1", "PROMPT-2"]);
    end(&session).await;
}

#[tokio::test]
async fn tool_calls_are_told_once_between_the_text_whether_that_comes_in_parts_or_whole() {
    let lab = Lab::new();
    for options in [lab.options("whole"), lab.streaming("parts")] {
        let session = Session::start(options).await.expect("started");
        let mut turn = session.stream("PROMPT-1 TOOL=1").await.expect("opened");
        let (mut before, mut tools, mut after) = (String::new(), Vec::new(), String::new());
        while let Some(event) = turn.text_events().next().await {
            match event {
                TextEvent::Text(text) if tools.is_empty() => before.push_str(&text),
                TextEvent::Text(text) => after.push_str(&text),
                TextEvent::ToolUse(tool) => tools.push(tool.name.unwrap_or_default()),
                _ => {}
            }
        }
        assert_eq!(tools, ["Bash"]);
        assert_eq!((before.as_str(), after.matches("answer to PROMPT-1").count()), ("", 1), "{after}");
        session.stop().await.expect("stopped");
    }
}
