//! A prompt that the real CLI wove into a turn of its own, and a CLI that dies while it is being answered; and one that a
//! hook refuses there.

use std::time::Duration;

use treewarden::Session;
use treewarden::session::SessionState;
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{eventually, id_of, reaches};
use treewarden_testkit::faults;
use treewarden_testkit::mock_api::{Reply, Request};

/// `PROMPT-0` begins a background task; the turn about its end calls a tool, behind which a prompt is woven in.
fn reply(request: &Request) -> Reply {
    let users = request.content.as_ref().map_or(&[][..], |content| &content.users);
    let last = users.last().map_or("", String::as_str);
    let is_about_the_task = users.iter().any(|text| text.contains("<task-notification>"));
    let woven = users.iter().any(|text| text.contains("PROMPT-1"));
    if last.contains("PROMPT-0") && !request.after_tool {
        let input = serde_json::json!({
            "command": "echo done", "description": "a task", "run_in_background": true,
        });
        return Reply::tool("Bash", input);
    }
    if last.contains("<task-notification>") && !woven && !request.after_tool {
        return Reply::bash("sleep 1.5");
    }
    if woven && !users.iter().any(|text| text.contains("PROMPT-2")) {
        return Reply::text("answer to PROMPT-1").delay(Duration::from_millis(1500));
    }
    if is_about_the_task && request.after_tool {
        return Reply::text("noted").delay(Duration::from_millis(1500));
    }
    Reply::from_words(request)
}

/// A session whose CLI works for itself at a turn about a task.
async fn working(real: &RealLab) -> Session {
    let options = real.options("real").own_work_wait(Duration::ZERO);
    let session = Session::start(options).await.expect("started");
    session.query("PROMPT-0").await.expect("answered");
    reaches(&session, SessionState::Working).await;
    session
}

async fn kill(session: &Session) {
    faults::kill(session.status().await.expect("status").pid.expect("a CLI")).expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_woven_prompt_whose_cli_dies_stands_once_and_is_answered_once() {
    let Some(real) = RealLab::replying(reply).await else { return };
    let session = working(&real).await;
    let turn = session.stream("PROMPT-1").await.expect("opened");
    let (id, conversation) = (turn.id().to_string(), id_of(&session).await);
    eventually("the prompt is woven in", async || {
        real.transcript(&conversation).contains(&format!("\"source_uuid\":\"{id}\"")).then_some(())
    })
    .await;
    kill(&session).await;
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{}", answer.text);
    session.query("PROMPT-2").await.expect("answered");
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-0", "PROMPT-1", "PROMPT-2"]);
    session.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_a_hook_refuses_when_it_is_to_be_woven_in_has_that_answer_and_is_missed_nowhere() {
    let Some(real) = RealLab::replying(reply).await else { return };
    real.refuse_some();
    let session = working(&real).await;
    let turn = session.stream("PROMPT-1 refuse-this").await.expect("opened");
    let (id, conversation) = (turn.id().to_string(), id_of(&session).await);
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("blocked by hook") && answer.text.contains("PROMPT-1"), "{answer}");
    let dropped = |line: &str| {
        line.contains("\"dropped_by_hook\"") && line.contains(&format!("\"commandUuid\":\"{id}\""))
    };
    eventually("it was to be woven in, and was dropped", async || {
        real.transcript(&conversation).lines().any(dropped).then_some(())
    })
    .await;
    kill(&session).await;
    // A start looks for what was settled.
    session.query("PROMPT-2").await.expect("answered");
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-0", "PROMPT-2"]);
    session.stop().await.expect("stopped");
}
