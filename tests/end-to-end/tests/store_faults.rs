//! A store that is slow, locked, forgetful or taken over: no turn is lost, none runs twice, and nobody waits for another's.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use treewarden::Tree;
use treewarden::events::Happening;
use treewarden::session::{FailureKind, Outcome, QueryErrorKind, SessionState};
use treewarden::{Host, Session, SessionOptions, TurnId};
use treewarden_end_to_end::faulty::Faulty;
use treewarden_end_to_end::{Lab, end, eventually, id_of, nothing_left, outcome_of};
use treewarden_service::{Access, Answer, Gone, Item, Refusal, Service, Sink};
use treewarden_store::{Backend, StoredTurn, Told, TurnState};

/// A host over a store whose faults the test says, and that store.
fn faulty(lab: &Lab) -> (Host, Arc<Faulty>) {
    let store = Faulty::new(Arc::clone(lab.host.store()));
    let host = Host::options().state_dir(lab.host.state_dir()).store(Arc::<Faulty>::clone(&store)).open();
    (host.expect("a host can be opened"), store)
}

async fn start(lab: &Lab, host: &Host, name: &str) -> Session {
    let session = Session::start(SessionOptions::from(lab.spec(name)).host(host)).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    session
}

#[tokio::test]
async fn a_store_that_answers_one_session_late_delays_no_other() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let (slow, quick) = (start(&lab, &host, "slow").await, start(&lab, &host, "quick").await);
    let mut events = host.events().now();
    store.stick(Some("slow".parse().expect("a name")));
    let before = store.commits();
    let late = slow.stream("PROMPT-2").await.expect("opened");
    eventually("its outcome is on its way", async || (store.commits() > before).then_some(())).await;
    for turn in 2..5 {
        let answer = quick.query(format!("PROMPT-{turn}")).await.expect("answered");
        assert!(answer.stored, "nothing is the matter with it");
    }
    assert_ne!(slow.status().await.expect("status").turn, None, "it is busy until its outcome is delivered");
    store.stick(None);
    late.answer().await.expect("answered");
    let mut order = Vec::new();
    while order.len() < 4 {
        let event = events.next().await.expect("the host lives").expect("none is missed");
        if let Happening::TurnSettled { .. } = event.what {
            order.push(event.name.as_ref().expect("it is a session's").to_string());
        }
    }
    // Two seconds behind its end the outcome is delivered as not stored: on a slow machine before the others.
    assert_eq!(order.iter().filter(|name| *name == "slow").count(), 1, "{order:?}");
    end(&slow).await;
    end(&quick).await;
}

#[tokio::test]
async fn a_store_that_opens_one_sessions_turn_late_delays_no_other() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let (slow, quick) = (start(&lab, &host, "slow").await, start(&lab, &host, "quick").await);
    store.stick_openings(Some("slow".parse().expect("a name")));
    let before = store.openings();
    let asking = slow.clone();
    let late = tokio::spawn(async move { asking.query("PROMPT-2").await });
    eventually("its opening is on its way", async || (store.openings() > before).then_some(())).await;
    for turn in 2..5 {
        quick.query(format!("PROMPT-{turn}")).await.expect("answered while the other is not opened");
    }
    assert_eq!(lab.prompts(&id_of(&slow).await), ["PROMPT-1"], "what is not stored is not sent");
    store.stick_openings(None);
    // On a slow machine it was refused by now, as nobody waits for a store for ever.
    if let Err(error) = late.await.expect("no panic") {
        assert_eq!(error.kind(), QueryErrorKind::Store, "{error}");
    }
    slow.query("PROMPT-3").await.expect("it goes on");
    end(&slow).await;
    end(&quick).await;
}

#[tokio::test]
async fn an_outcome_that_the_store_does_not_take_is_delivered_so_and_stored_before_the_next_turn_is_sent() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let session = start(&lab, &host, "assistant").await;
    let id = id_of(&session).await;
    let mut events = host.events().now();
    store.lock(true);
    let second = session.stream("PROMPT-2").await.expect("it is opened");
    let turn = second.id();
    let delivered = second.delivered().await.expect("the session is there");
    let Outcome::Completed(answer) = &delivered.outcome else { panic!("{delivered:?}") };
    assert!(!delivered.stored && !answer.stored, "{delivered:?}");
    let told = eventually("it is told", async || match events.next().await?.ok()?.what {
        Happening::TurnSettled { turn: settled, stored, .. } if settled == turn => Some(stored),
        _ => None,
    });
    assert!(!told.await, "and told so");
    let report = host.turn(turn).await.expect("readable").expect("it is known");
    assert!(!report.stored && report.outcome.is_some(), "{report:?}");
    let unstored = session.status().await.expect("status").unstored.expect("it is shown");
    assert!(unstored.contains("database is locked"), "{unstored}");

    let third = session.stream("PROMPT-3").await.expect("it is opened");
    let waits = async || {
        let status = session.status().await.expect("status");
        (status.state == SessionState::Ready && status.queued == 1).then_some(())
    };
    eventually("it waits, and the CLI has nothing to do", waits).await;
    assert_eq!(lab.prompts(&id), ["PROMPT-1", "PROMPT-2"], "it is not sent");
    store.lock(false);
    let delivered = third.delivered().await.expect("the session is there");
    assert!(delivered.stored && matches!(delivered.outcome, Outcome::Completed(_)), "{delivered:?}");
    assert_eq!(lab.prompts(&id), ["PROMPT-1", "PROMPT-2", "PROMPT-3"], "each once");
    assert_eq!(outcome_of(&lab.host, turn).await["outcome"], "completed", "the store has it now");
    assert!(host.turn(turn).await.expect("readable").expect("known").stored);
    assert_eq!(session.status().await.expect("status").unstored, None);
    end(&session).await;
}

#[tokio::test]
async fn a_turn_that_waits_for_the_store_its_whole_time_is_refused_in_the_stores_words_and_never_sent() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let spec = lab.spec("assistant").timeout(Duration::from_secs(20));
    let session = Session::start(SessionOptions::from(spec).host(&host)).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let id = id_of(&session).await;
    store.lock(true);
    let second = session.stream("PROMPT-2").await.expect("opened").delivered().await.expect("there");
    assert!(!second.stored, "{second:?}");
    let third = session.stream("PROMPT-3").await.expect("opened");
    let error = third.answer().await.expect_err("it could not be sent");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::NotStarted), "{error}");
    assert!(error.to_string().contains("database is locked"), "{error}");
    store.lock(false);
    session.query("PROMPT-4").await.expect("the session goes on");
    assert_eq!(lab.prompts(&id), ["PROMPT-1", "PROMPT-2", "PROMPT-4"]);
    end(&session).await;
}

#[tokio::test]
async fn a_start_that_must_be_recorded_waits_for_a_locked_store_as_long_as_its_turn_may() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let session = start(&lab, &host, "assistant").await;
    let id = id_of(&session).await;
    end(&session).await;
    drop(session);
    // By another path: that has to be recorded before a CLI is spawned.
    let elsewhere = lab.path().join("elsewhere");
    std::os::unix::fs::symlink(lab.path().join("work"), &elsewhere).expect("made");
    let spec = lab.spec("assistant").cwd(&elsewhere).timeout(Duration::from_secs(600));
    let session = Session::start(SessionOptions::from(spec).host(&host)).await.expect("started");
    store.lock(true);
    let before = store.commits();
    let turn = session.stream("PROMPT-2").await.expect("opened");
    // With the pauses between them so many tries take longer than anything waits that is no turn's.
    eventually("it is tried on", async || (store.commits() >= before + 10).then_some(())).await;
    store.lock(false);
    let delivered = turn.delivered().await.expect("the session is there");
    assert!(matches!(delivered.outcome, Outcome::Completed(_)), "{delivered:?}");
    assert_eq!(lab.prompts(&id), ["PROMPT-1", "PROMPT-2"], "the conversation goes on");
    end(&session).await;
}

/// A session of which the store refuses the outcome of the second turn for good.
async fn refused(lab: &Lab, host: &Host, store: &Faulty) -> (Session, TurnId) {
    let session = start(lab, host, "assistant").await;
    let mut events = host.events().now();
    store.refuse(Some("answer to PROMPT-2"));
    let second = session.stream("PROMPT-2").await.expect("it is opened");
    let turn = second.id();
    let delivered = second.delivered().await.expect("the session is there");
    assert!(!delivered.stored && matches!(delivered.outcome, Outcome::Completed(_)), "{delivered:?}");
    let told = eventually("it is told", async || match &events.next().await?.ok()?.what {
        Happening::StoreProblem { kind: "outcome", key, why } => Some((key.clone(), why.clone())),
        _ => None,
    });
    let (key, why) = told.await;
    assert_eq!(key, turn.to_string());
    for said in ["too big", "restart"] {
        assert!(why.contains(said), "{why}");
        let unstored = session.status().await.expect("status").unstored.expect("it is shown");
        assert!(unstored.contains(said), "{unstored}");
    }
    let third = session.query("PROMPT-3").await.expect_err("it would wait for ever");
    assert_eq!(third.kind(), QueryErrorKind::Failed(FailureKind::NotStarted), "{third}");
    assert!(third.to_string().contains("too big") && third.to_string().contains("restart"), "{third}");
    (session, turn)
}

#[tokio::test]
async fn an_outcome_that_the_store_refuses_for_good_is_let_go_by_a_restart_and_blocks_the_session_no_more() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let (session, turn) = refused(&lab, &host, &store).await;
    let id = id_of(&session).await;
    session.restart().await.expect("restarted");
    let fourth = session.query("PROMPT-4").await.expect("the session goes on");
    assert!(fourth.stored, "{fourth:?}");
    assert_eq!(lab.prompts(&id), ["PROMPT-1", "PROMPT-2", "PROMPT-4"], "in its conversation, and each once");
    let noted = outcome_of(&lab.host, turn).await;
    assert_eq!(noted["outcome"], "failed", "{noted}");
    let message = noted["message"].as_str().expect("it has words");
    assert!(message.contains("completed") && message.contains("too big"), "{message}");
    assert_eq!(session.status().await.expect("status").unstored, None);
    end(&session).await;
}

#[tokio::test]
async fn an_outcome_of_which_not_even_a_note_is_taken_is_let_go_and_its_turn_asked_again_by_the_next_host() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let (session, turn) = refused(&lab, &host, &store).await;
    let id = id_of(&session).await;
    let mut events = host.events().now();
    store.refuse(Some("outcome"));
    session.restart().await.expect("restarted");
    let told = eventually("it is told", async || match &events.next().await?.ok()?.what {
        Happening::StoreProblem { kind: "outcome", key, why } if *key == turn.to_string() => {
            Some(why.clone())
        }
        _ => None,
    });
    assert!(told.await.contains("let go"));
    store.refuse(None);
    session.query("PROMPT-4").await.expect("the session goes on");
    let open = lab.host.turn(turn).await.expect("readable").expect("it is there");
    assert_eq!(open.outcome, None, "it was not stored");
    assert_eq!(lab.prompts(&id), ["PROMPT-1", "PROMPT-2", "PROMPT-4"], "each once");
    end(&session).await;
}

#[tokio::test]
async fn a_store_behind_faults_is_closed_with_them() {
    let lab = Lab::new();
    let (_host, store) = faulty(&lab);
    store.close().await;
    let error = lab.host.store().records().await.expect_err("it takes no more questions");
    assert!(error.to_string().contains("closed"), "{error}");
}

#[tokio::test]
async fn what_a_store_has_stored_and_not_said_so_is_stored_once() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let session = start(&lab, &host, "assistant").await;
    let id = id_of(&session).await;
    store.lose(3, 1);
    let delivered = session.stream("PROMPT-2").await.expect("it is opened, once").delivered().await;
    let delivered = delivered.expect("the session is there");
    assert!(matches!(delivered.outcome, Outcome::Completed(_)), "{delivered:?}");
    session.query("PROMPT-3").await.expect("answered");
    let turns = host.store().turns("assistant".parse().expect("a name"), 9).await.expect("readable");
    let turns: Vec<_> = turns.iter().map(|row| (row.prompt.as_str(), row.state)).collect();
    let settled = TurnState::Settled;
    assert_eq!(
        turns,
        [(Some("PROMPT-3"), settled), (Some("PROMPT-2"), settled), (Some("PROMPT-1"), settled)]
    );
    assert_eq!(lab.prompts(&id), ["PROMPT-1", "PROMPT-2", "PROMPT-3"]);
    end(&session).await;
}

#[tokio::test]
async fn a_change_is_made_on_what_another_host_wrote() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let session = start(&lab, &host, "assistant").await;
    let before = id_of(&session).await;
    store.steal();
    session.clear().await.expect("cleared, and stored");
    let Told::Record(record) =
        lab.host.store().record("assistant".parse().expect("a name")).await.expect("readable")
    else {
        panic!("it has a record")
    };
    assert_eq!(record.model.as_deref(), Some("the other's"), "it is not lost");
    assert_ne!(record.session_id.to_string(), before, "and neither is the clear");
    session.query("PROMPT-2").await.expect("answered");
    end(&session).await;
}

#[tokio::test]
async fn a_stop_waits_for_what_is_in_hand_and_says_what_is_not_stored() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let session = start(&lab, &host, "assistant").await;
    let id = id_of(&session).await;
    store.lock(true);
    let turn = session.stream("PROMPT-2").await.expect("opened");
    let id_of_turn = turn.id();
    assert!(!turn.delivered().await.expect("there").stored);
    let error = session.stop().await.expect_err("it is stopped, and not stored");
    assert_eq!(error.kind(), QueryErrorKind::Store, "{error}");
    assert!(error.to_string().contains("database is locked"), "{error}");
    nothing_left(&id).await;
    store.lock(false);
    // The host stores it all the same.
    assert_eq!(outcome_of(&lab.host, id_of_turn).await["outcome"], "completed");
    let is_open = matches!(
        lab.host.store().turn(id_of_turn).await,
        Ok(Some(StoredTurn::Held(row))) if row.state != TurnState::Settled
    );
    assert!(!is_open);
}

/// A caller who is told the end of what it asked.
#[derive(Default)]
struct Caller(Option<Result<Value, Refusal>>);

impl Sink for Caller {
    async fn item(&mut self, _item: Item) -> Result<(), Gone> {
        Ok(())
    }

    async fn end(&mut self, end: Result<Answer, Refusal>) -> Result<(), Gone> {
        self.0 = Some(end.map(|answer| serde_json::to_value(answer).expect("JSON")));
        Ok(())
    }

    async fn gone(&mut self) -> Gone {
        std::future::pending().await
    }

    fn is_gone(&self) -> bool {
        false
    }
}

async fn ask(service: &Service, request: Value) -> Value {
    let mut caller = Caller::default();
    let request = serde_json::from_value(request).expect("it is a request");
    let right = treewarden_service::Caller::with(Access::Change);
    service.answer(request, right, &mut caller).await.expect("the caller stays");
    caller.0.expect("every request has an end").expect("it is not refused")
}

#[tokio::test]
async fn whoever_asks_a_service_gets_the_outcome_that_the_store_does_not_take() {
    let lab = Lab::new();
    let store = Faulty::new(Arc::clone(lab.host.store()));
    let file = lab.path().join("treewarden.toml");
    let text = format!(
        "[[child]]\nname = \"a\"\ncli_path = {:?}\ncwd = {:?}\nenv = {{ CLAUDE_CONFIG_DIR = {:?} }}\n",
        treewarden_end_to_end::fake_cli_path(),
        lab.path().join("work"),
        lab.path().join("claude"),
    );
    std::fs::write(&file, text).expect("written");
    let tree = Tree::from_file(&file).expect("valid").state_dir(lab.host.state_dir());
    let tree = tree.store(Arc::<Faulty>::clone(&store)).start().await.expect("started");
    let service = Service::new(tree);
    let prompt =
        |text: &str, stream: &str| json!({ "op": "ask", "name": "a", "prompt": text, "stream": stream });
    let first = ask(&service, prompt("PROMPT-1", "none")).await;
    assert_eq!((&first["outcome"], &first["stored"]), (&"completed".into(), &true.into()), "{first}");
    store.lock(true);
    let second = ask(&service, prompt("PROMPT-2", "text")).await;
    let said = |answer: &Value| ["outcome", "text", "stored"].map(|key| answer[key].clone());
    let expected: [Value; 3] = ["completed".into(), "answer to PROMPT-2".into(), false.into()];
    assert_eq!(said(&second), expected, "whatever the journal says");
    for wait in [false, true] {
        let turn = ask(&service, json!({ "op": "turn", "turn": second["turn"], "wait": wait })).await;
        assert_eq!(said(&turn), expected, "it is found by its id");
    }
    store.lock(false);
    let stored = async || {
        let turn = ask(&service, json!({ "op": "turn", "turn": second["turn"] })).await;
        (turn["stored"] == true).then_some(turn)
    };
    assert_eq!(eventually("it is stored", stored).await["text"], "answer to PROMPT-2");
    service.tree().stop().await;
}

#[tokio::test]
async fn a_name_whose_record_is_lost_says_so_and_begins_no_blank_conversation_before_it_is_cleared() {
    let lab = Lab::new();
    let (host, store) = faulty(&lab);
    let session = start(&lab, &host, "assistant").await;
    let id = id_of(&session).await;
    end(&session).await;
    drop(session);
    store.lose_records();
    let options = SessionOptions::from(lab.spec("assistant")).host(&host);
    let session = Session::start(options).await.expect("the name is there");
    for _ in 0..2 {
        let error = session.query("PROMPT-2").await.expect_err("it would be asked of a blank conversation");
        assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::ConversationLost), "{error}");
        assert!(error.to_string().contains("the database was removed"), "{error}");
    }
    assert_eq!(id_of(&session).await, id, "whose it was is known");
    session.clear().await.expect("cleared, and stored");
    session.query("PROMPT-3").await.expect("a new conversation");
    let new = id_of(&session).await;
    assert_ne!(new, id);
    assert_eq!(lab.prompts(&new), ["PROMPT-3"]);
    end(&session).await;
}

/// A host that dies with an outcome in hand leaves its turn open: it is asked again, and gets the answer that stands in the
/// conversation.
#[test]
fn a_turn_whose_outcome_died_with_its_host_is_asked_again_and_stands_once_in_the_conversation() {
    let lab = Lab::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let first = runtime();
    let (id, turn) = first.block_on(async {
        let (host, store) = faulty(&lab);
        let session = start(&lab, &host, "assistant").await;
        store.lock(true);
        let turn = session.stream("PROMPT-2").await.expect("opened");
        let id_of_turn = turn.id();
        assert!(!turn.delivered().await.expect("there").stored);
        (id_of(&session).await, id_of_turn)
    });
    // Whatever the host would still have done is not done.
    first.shutdown_background();
    runtime().block_on(async {
        nothing_left(&id).await;
        let (host, _store) = faulty(&lab);
        let open = lab.host.turn(turn).await.expect("readable").expect("it is there");
        assert_eq!(open.outcome, None, "it was not stored");
        let session = Session::start(SessionOptions::from(lab.spec("assistant")).host(&host)).await;
        let session = session.expect("started");
        let outcome = outcome_of(&host, turn).await;
        assert_eq!(
            (&outcome["outcome"], &outcome["text"]),
            (&"completed".into(), &"answer to PROMPT-2".into())
        );
        assert_eq!(lab.prompts(&id), ["PROMPT-1", "PROMPT-2"], "once");
        end(&session).await;
    });
}
