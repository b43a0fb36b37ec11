//! A prompt that the real CLI wove into a turn of its own, and a CLI that dies while it is being answered.

use std::time::Duration;

use treewarden::session::SessionState;
use treewarden::{Session, SessionOptions, SessionSpec};
use treewarden_end_to_end::{Lab, eventually, id_of, reaches, real_cli};
use treewarden_proto::spec::{InheritEnv, PermissionMode};
use treewarden_testkit::faults;
use treewarden_testkit::mock_api::{MockApi, Reply, Request};

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
    if is_about_the_task && !woven && !request.after_tool {
        return Reply::bash("sleep 1.5");
    }
    if woven && !users.iter().any(|text| text.contains("PROMPT-2")) {
        return Reply::text("answer to PROMPT-1").delay(Duration::from_millis(1500));
    }
    Reply::from_words(request)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_woven_prompt_whose_cli_dies_stands_once_and_is_answered_once() {
    let Some(cli) = real_cli() else { return };
    let lab = Lab::new();
    let api = MockApi::builder().reply(reply).start().await.expect("the mock API starts");
    let mut spec = SessionSpec::new()
        .name("real".parse().expect("a valid name"))
        .cli_path(cli)
        .cwd(lab.path().join("work"))
        .permission_mode(PermissionMode::BypassPermissions)
        .inherit_env(InheritEnv::Only(["PATH".to_owned()].into()))
        .timeout(Duration::from_secs(60))
        .env("HOME", lab.path().display().to_string());
    for (name, value) in api.env() {
        spec = spec.env(name, value);
    }
    let options = SessionOptions::from(spec).host(&lab.host).own_work_wait(Duration::ZERO);
    let session = Session::start(options).await.expect("started");
    session.query("PROMPT-0").await.expect("answered");
    reaches(&session, SessionState::Working).await;
    let turn = session.stream("PROMPT-1").await.expect("opened");
    let id = turn.id().to_string();
    let conversation = id_of(&session);
    eventually("the prompt is woven in", || {
        let projects = std::fs::read_dir(lab.path().join(".claude/projects")).ok()?;
        let mut files =
            projects.flatten().map(|project| project.path().join(format!("{conversation}.jsonl")));
        let text = files.find_map(|file| std::fs::read_to_string(file).ok())?;
        text.contains(&format!("\"source_uuid\":\"{id}\"")).then_some(())
    })
    .await;
    faults::kill(session.status().expect("status").pid.expect("a CLI")).expect("killed");
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{}", answer.text);
    session.query("PROMPT-2").await.expect("answered");
    assert_eq!(api.prompts_in_last_context(), ["PROMPT-0", "PROMPT-1", "PROMPT-2"]);
    session.stop().await.expect("stopped");
}
