//! A state directory whose database is gone: its sessions begin nothing blank, and go on as they are told to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use treewarden::events::Happening;
use treewarden::session::{FailureKind, QueryErrorKind};
use treewarden::{Host, ProblemKind, Session, SessionId, SessionOptions, TurnId};
use treewarden_end_to_end::{Lab, end, eventually, id_of};
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Change, NewTurn, Settle, StoredTurn, Told, TurnState};
use treewarden_transcript as transcript;

fn host(dir: &Path) -> Host {
    let store = SqliteStore::open(dir, SqliteOptions::default()).expect("the store can be opened");
    Host::options().state_dir(dir).store(Arc::new(store)).open().expect("a host can be opened")
}

async fn start(lab: &Lab, host: &Host, name: &str) -> Session {
    Session::start(SessionOptions::from(lab.spec(name)).host(host)).await.expect("started")
}

/// A state directory that has all that one of these sessions left, but for the database; and their conversations.
async fn without_its_database<const N: usize>(lab: &Lab, names: [&str; N]) -> (PathBuf, [SessionId; N]) {
    let (before, after) = (lab.path().join("before"), lab.path().join("after"));
    let host = host(&before);
    let mut ids: Vec<SessionId> = Vec::new();
    for name in names {
        let session = start(lab, &host, name).await;
        session.query("My name is Alice").await.expect("answered");
        ids.push(id_of(&session).await.parse().expect("an id"));
        end(&session).await;
    }
    std::fs::create_dir_all(after.join("leases")).expect("made");
    for lease in std::fs::read_dir(before.join("leases")).expect("listed") {
        let lease = lease.expect("listed");
        std::fs::copy(lease.path(), after.join("leases").join(lease.file_name())).expect("copied");
    }
    std::fs::copy(before.join("host-id"), after.join("host-id")).expect("copied");
    (after, ids.try_into().expect("one for each"))
}

#[tokio::test]
async fn a_session_whose_record_is_lost_takes_no_turn_until_it_is_cleared() {
    let lab = Lab::new();
    let (dir, [lost]) = without_its_database(&lab, ["alice"]).await;
    let host = host(&dir);
    let session = start(&lab, &host, "alice").await;
    for _ in 0..2 {
        let refused = session.query("What is my name?").await.expect_err("refused");
        assert_eq!(refused.kind(), QueryErrorKind::Failed(FailureKind::ConversationLost), "{refused}");
        let said = refused.to_string();
        assert!(said.contains("was removed") && said.contains(&format!("adopt alice {lost}")), "{said}");
        assert_eq!(refused.turn(), None, "it is not opened");
    }
    // What is asked of it otherwise stores no record, which would end the loss.
    let said = session.stop().await.expect_err("it is stopped, and that cannot be stored").to_string();
    assert!(said.contains("is stopped") && said.contains("is lost"), "{said}");
    let session = start(&lab, &host, "alice").await;
    let status = session.status().await.expect("status");
    assert_eq!((status.session_id, status.lost.is_some()), (Some(lost), true));
    let told = host.store().record("alice".parse().expect("a name")).await.expect("read");
    assert!(matches!(told, Told::Lost { .. }), "{told:?}");
    let problems =
        eventually("it is told", async || Some(host.problems().await).filter(|all| !all.is_empty())).await;
    assert_eq!(problems.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [ProblemKind::Removed]);
    let mut events = host.events().kept();
    let event = eventually("it is an event", async || match &events.next().await?.ok()?.what {
        Happening::StoreProblem { kind, why, .. } => Some((*kind, why.clone())),
        _ => None,
    });
    let (kind, why) = event.await;
    assert!(kind == "removed" && why.contains("the state database was removed"), "{why}");

    session.clear().await.expect("cleared");
    session.query("What is my name?").await.expect("answered");
    let id = id_of(&session).await;
    assert_ne!(id, lost.to_string(), "it is another conversation");
    assert_eq!(
        lab.prompts(&lost.to_string()),
        ["My name is Alice"],
        "nothing was said in the one that is lost"
    );
    assert_eq!(session.status().await.expect("status").lost, None);
    end(&session).await;
}

#[tokio::test]
async fn a_lost_conversation_is_taken_over_by_its_id_with_the_turns_that_wait_in_it() {
    let lab = Lab::new();
    let (dir, [lost]) = without_its_database(&lab, ["alice"]).await;
    let host = host(&dir);
    let session = start(&lab, &host, "alice").await;
    // As a journal of an earlier version holds it, that was taken into the new database.
    let waiting = NewTurn {
        turn: TurnId::new(),
        name: "alice".parse().expect("a name"),
        session_id: lost,
        prompt: "\"PROMPT-2\"".into(),
        at_most_once: false,
        opened_at: 1,
    };
    host.store().open(waiting.clone()).await.expect("stored");
    let refused = session.adopt(SessionId::random()).await.expect_err("refused");
    assert_eq!(refused.kind(), QueryErrorKind::NotAdopted);
    assert!(refused.to_string().contains("no transcript of it is in"), "{refused}");
    session.query("What is my name?").await.expect_err("it is lost still");
    session.adopt(lost).await.expect("its transcript is whole");
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(lab.prompts(&lost.to_string()), ["My name is Alice", "PROMPT-2", "What is my name?"]);
    let Some(StoredTurn::Held(row)) = host.store().turn(waiting.turn).await.expect("read") else {
        panic!("it is held")
    };
    assert_eq!(row.state, TurnState::Settled);
    let refused = session.adopt(lost).await.expect_err("it is lost no more");
    assert!(refused.to_string().contains("its record is there"), "{refused}");
    end(&session).await;
}

/// What nobody knows to have been answered may have been in the line that is cut.
#[tokio::test]
async fn a_transcript_that_ends_in_the_middle_of_a_line_is_not_taken_over_unless_all_answers_are_before_it() {
    let lab = Lab::new();
    let (dir, [lost]) = without_its_database(&lab, ["alice"]).await;
    let host = host(&dir);
    let session = start(&lab, &host, "alice").await;
    let path = transcript::find(&lab.path().join("claude"), lost).expect("looked for").expect("it is there");
    let whole = std::fs::read_to_string(&path).expect("read");
    let lines = whole.trim_end().lines().count();
    let cut = whole.trim_end();
    let cut = &cut[..cut.len() - 20];
    for text in [cut.to_owned(), format!("{cut}\n"), format!("{whole}{{\"type\":\"assis")] {
        std::fs::write(&path, &text).expect("written");
        let said = session.adopt(lost).await.expect_err("refused").to_string();
        let line = if text.starts_with(&whole) { lines + 1 } else { lines };
        assert!(said.contains(&format!("line {line} of {}", path.display())), "{said}");
        assert!(said.contains("cut off in the middle"), "{said}");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text, "nothing is written");
    }
    std::fs::write(&path, "").expect("written");
    let said = session.adopt(lost).await.expect_err("refused").to_string();
    assert!(said.contains("has no message"), "{said}");
    // The journal has a turn of it, which stands there with its answer: what was begun behind that was told to nobody.
    let mut entries = whole.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let prompt = entries.find(|entry| entry["type"] == "user").expect("a prompt");
    let settled: TurnId =
        prompt["uuid"].as_str().expect("text").parse().expect("the prompt has the turn's id");
    let new = NewTurn {
        turn: settled,
        name: "alice".parse().expect("a name"),
        session_id: lost,
        prompt: "\"My name is Alice\"".into(),
        at_most_once: false,
        opened_at: 1,
    };
    host.store().open(new).await.expect("stored");
    let taken = host.store().take("alice".parse().expect("a name")).await.expect("taken");
    let outcome = r#"{"outcome":"completed","text":"Hello.","result":{"num_turns":1}}"#.into();
    let settle = vec![Settle { turn: settled, outcome, answered_in: None, at: 2 }];
    host.store().commit(taken.tenure, Change { settle, ..Change::default() }).await.expect("stored");
    std::fs::write(&path, format!("{whole}{{\"type\":\"assis")).expect("written");
    session.adopt(lost).await.expect("all that was answered is there");
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    end(&session).await;
}

#[tokio::test]
async fn all_lost_sessions_are_taken_over_or_begun_anew_by_one_word() {
    let lab = Lab::new();
    let (dir, [alice, bob]) = without_its_database(&lab, ["alice", "bob"]).await;
    let host = host(&dir);
    let session = start(&lab, &host, "alice").await;
    let names = host.adopt_lost().await.expect("asked");
    let told: Vec<_> =
        names.iter().map(|one| (one.name.as_str(), one.session_id, one.refused.is_none())).collect();
    // Nobody has the other name, and the program's own config directory has no transcript of it.
    assert_eq!(told, [("alice", Some(alice), true), ("bob", Some(bob), false)]);
    assert!(names[1].refused.as_ref().is_some_and(|why| why.contains("no transcript")), "{names:?}");
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    let second = start(&lab, &host, "bob").await;
    second.query("PROMPT-1").await.expect_err("it is lost still");
    assert_eq!(host.clear_lost().await.expect("asked"), 1);
    second.query("PROMPT-1").await.expect("answered");
    assert_ne!(id_of(&second).await, bob.to_string());
    assert_eq!(host.lost().await.expect("asked").names, []);
    end(&session).await;
    end(&second).await;
}
