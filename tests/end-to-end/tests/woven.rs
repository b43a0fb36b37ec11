//! A prompt that the CLI wove into a turn of its own before it died: it stands once, and gets one answer. One that a hook
//! refused there stands nowhere, and has the hook's answer.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use treewarden::session::SessionState;
use treewarden::{Session, TurnId};
use treewarden_end_to_end::{Lab, end, eventually, id_of, outcome_of, reaches};
use treewarden_proto::SessionId;

/// A host that died while a turn was open, and the file of its conversation.
fn died(lab: Lab) -> (Lab, TurnId, String, PathBuf) {
    let first = tokio::runtime::Runtime::new().expect("a runtime");
    let (turn, id) = first.block_on(async {
        let session = Session::start(lab.options("assistant")).await.expect("started");
        session.query("My name is Alice").await.expect("answered");
        let turn = session.stream("my name? STREAM=2000:20").await.expect("opened");
        let id = id_of(&session).await;
        eventually("it was written", async || (lab.times_in_transcript(&id, "my name?") == 1).then_some(()))
            .await;
        (turn.detach(), id)
    });
    // Nothing is stopped: every task of the host is dropped where it stands.
    first.shutdown_timeout(Duration::from_secs(10));
    treewarden_end_to_end::assert_nothing_left(&id);
    let conversation: SessionId = id.parse().expect("an id");
    let path = treewarden_transcript::find(&lab.path().join("claude"), conversation)
        .expect("looked for")
        .expect("it has been written");
    let lab = lab.reopen();
    let reading = tokio::runtime::Runtime::new().expect("a runtime");
    let open = reading.block_on(lab.host.turn(turn)).expect("the journal is readable").expect("it is there");
    assert_eq!(open.outcome, None, "the turn is open");
    (lab, turn, id, path)
}

/// Makes the file what a CLI leaves that was told of the end of a task, and wove the prompt into its turn about that.
fn weave(path: &PathBuf, turn: TurnId, answer: Option<&str>) {
    let text = std::fs::read_to_string(path).expect("it can be read");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let at = lines.iter().position(|line| line["uuid"] == turn.to_string()).expect("the prompt was written");
    let message = |kind: &str, uuid: &str, parent: &Value, text: &str| {
        json!({ "type": kind, "uuid": uuid, "parentUuid": parent, "isSidechain": false,
            "message": { "role": kind, "content": [{ "type": "text", "text": text }] } })
    };
    let mut kept = lines[..at].to_vec();
    kept.push(message("user", "task", &lines[at]["parentUuid"], "<task-notification>"));
    kept.push(json!({ "type": "attachment", "uuid": "woven", "parentUuid": "task",
        "attachment": { "type": "queued_command", "prompt": "my name?", "source_uuid": turn } }));
    kept.extend(answer.map(|answer| message("assistant", "answer", &json!("woven"), answer)));
    let text: String = kept.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text).expect("it can be written");
}

fn settled(lab: &Lab, turn: TurnId, id: &str) -> (Value, Vec<String>) {
    let second = tokio::runtime::Runtime::new().expect("a runtime");
    second.block_on(async {
        let session = Session::start(lab.options("assistant")).await.expect("started again");
        let outcome = outcome_of(&lab.host, turn).await;
        let prompts = lab.prompts(id);
        end(&session).await;
        (outcome, prompts)
    })
}

#[test]
fn a_woven_prompt_is_not_sent_again_but_gone_on_with() {
    let (lab, turn, id, path) = died(Lab::new());
    weave(&path, turn, None);
    let (outcome, prompts) = settled(&lab, turn, &id);
    assert_eq!(outcome["outcome"], "completed", "{outcome}");
    assert!(prompts.iter().any(|prompt| prompt.contains("Continue from where you left off.")), "{prompts:?}");
    assert!(!prompts.iter().any(|prompt| prompt.contains("my name?")), "{prompts:?}");
}

#[test]
fn a_woven_prompt_that_was_answered_has_that_answer() {
    let (lab, turn, id, path) = died(Lab::new());
    weave(&path, turn, Some("Your name is Alice, woven."));
    let (outcome, prompts) = settled(&lab, turn, &id);
    assert_eq!(
        (&outcome["outcome"], &outcome["text"]),
        (&json!("completed"), &json!("Your name is Alice, woven."))
    );
    assert!(
        !prompts.iter().any(|prompt| prompt.contains("Continue") || prompt.contains("my name?")),
        "{prompts:?}"
    );
}

#[tokio::test]
async fn a_prompt_that_a_hook_refuses_in_the_clis_own_turn_has_that_answer_and_is_missed_nowhere() {
    let lab = Lab::new();
    let session = Session::start(lab.options("a").own_work_wait(Duration::ZERO)).await.expect("started");
    session.query("PROMPT-0 BACKGROUND=1 OWN=200 OWN_TOOL=1000").await.expect("answered");
    reaches(&session, SessionState::Working).await;
    let answer = session.query("PROMPT-1 REFUSED").await.expect("answered");
    assert!(answer.text.contains("blocked by hook") && answer.text.contains("PROMPT-1"), "{answer}");
    let id = id_of(&session).await;
    let said = |word: &str| lab.prompts(&id).iter().any(|prompt| prompt.contains(word));
    assert!(!said("PROMPT-1") && !said("Continue from where you left off."), "{:?}", lab.prompts(&id));
    // A start looks for what was settled, in the journal if the host is another.
    end(&session).await;
    drop(session);
    let lab = lab.reopen();
    let session = Session::start(lab.options("a")).await.expect("started again");
    assert_eq!(id_of(&session).await, id);
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    end(&session).await;
}
