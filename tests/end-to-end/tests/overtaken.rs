//! Another writer goes on with a conversation while a turn of this host's is open: the turn gets no other turn's answer,
//! and nothing of the other's is run again.

use std::time::Duration;

use serde_json::Value;
use treewarden::session::{FailureKind, QueryErrorKind};
use treewarden::{Host, Session, SessionOptions, SessionSpec, TurnId};
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{Lab, assert_nothing_left, context, end, eventually, outcome_of};
use treewarden_proto::SessionId;
use treewarden_testkit::mock_api::{Reply, Request};

/// Who goes on with the conversation.
#[derive(Debug, Clone, Copy)]
enum Writer {
    /// A session of another state directory.
    OtherHost,
    /// A session of another name in the same one.
    OtherName,
}

/// What the model of a lab is told to do in a turn.
#[derive(Debug, Clone, Copy)]
struct Words {
    /// So that the turn is open for long.
    long: &'static str,
    /// So that a tool writes a line to `runs`.
    counted: &'static str,
}

const FAKE: Words = Words { long: "DELAY=60000", counted: "TOOL=10 COUNT=runs" };
const REAL: Words = Words { long: "DELAY=60000", counted: "BASH=echo x >> runs;;" };

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn named(spec: &SessionSpec, name: &str) -> SessionSpec {
    spec.clone().name(name.parse().expect("a valid name"))
}

async fn start(host: &Host, spec: SessionSpec) -> Session {
    Session::start(SessionOptions::from(spec).host(host)).await.expect("started")
}

fn entries(lab: &Lab, id: SessionId, config: &str) -> Vec<Value> {
    let path = treewarden_transcript::find(&lab.path().join(config), id).expect("looked for");
    let text = path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Bob's host dies in turn 2, another writer asks turn 3, and bob's comes back to its open turn.
fn is_overtaken(lab: Lab, base: &SessionSpec, config: &str, words: Words, second: &str, writer: Writer) {
    let rest = runtime();
    let other = Host::options().state_dir(lab.path().join("other")).open().expect("a second host");
    let id = rest.block_on(async {
        let alice = start(&other, named(base, "alice")).await;
        alice.query("PROMPT-1").await.expect("answered");
        let id = alice.id().await.expect("a session").expect("a CLI was started");
        end(&alice).await;
        id
    });
    let bob = named(base, "bob").resume(id);
    let first = runtime();
    let turn: TurnId = first.block_on(async {
        let session = start(&lab.host, bob.clone()).await;
        let turn = session.stream(second).await.expect("opened");
        let awaited = if second.contains("sleep") { r#""type":"tool_use""# } else { second };
        let stands =
            || entries(&lab, id, config).iter().any(|entry| entry["message"].to_string().contains(awaited));
        eventually("the turn is under way", async || stands().then_some(())).await;
        turn.detach()
    });
    // Nothing is stopped: every task of the host is dropped where it stands.
    first.shutdown_timeout(Duration::from_secs(10));
    assert_nothing_left(&id.to_string());
    let lab = lab.reopen();
    rest.block_on(async {
        let host = match writer {
            Writer::OtherHost => other,
            Writer::OtherName => lab.host.clone(),
        };
        let alice = start(&host, named(base, "eve").resume(id)).await;
        alice.query(format!("PROMPT-3 {}", words.counted)).await.expect("answered");
        end(&alice).await;
        let before = entries(&lab, id, config);

        let session = start(&lab.host, bob).await;
        let outcome = outcome_of(&lab.host, turn).await;
        assert_eq!(
            (&outcome["outcome"], &outcome["failure"]),
            (&"failed".into(), &"overtaken".into()),
            "{outcome}"
        );
        assert!(outcome["message"].as_str().is_some_and(|said| said.contains("another writer")), "{outcome}");
        let after = entries(&lab, id, config);
        let messages =
            |entries: &[Value]| entries.iter().filter(|entry| entry["message"].is_object()).count();
        assert_eq!(messages(&before), messages(&after), "nothing was asked");

        let answer = session.query("PROMPT-4").await.expect("the conversation goes on");
        assert!(answer.text.contains("PROMPT-4"), "{answer}");
        let asked = context(&lab.path().join(config), &id.to_string());
        let asked: Vec<&str> = asked
            .iter()
            .filter_map(|said| said.split(' ').next())
            .filter(|word| word.starts_with("PROMPT"))
            .collect();
        assert_eq!(asked, ["PROMPT-1", "PROMPT-2", "PROMPT-3", "PROMPT-4"]);
        end(&session).await;
    });
    let runs = std::fs::read_to_string(lab.path().join("work/runs")).expect("the tool ran");
    assert_eq!(runs.lines().count(), 1, "the other writer's tool ran once");
}

fn on_the_fake_cli(writer: Writer) {
    let lab = Lab::new();
    let base = lab.spec("base");
    is_overtaken(lab, &base, "claude", FAKE, &format!("PROMPT-2 {}", FAKE.long), writer);
}

#[test]
fn a_turn_behind_which_another_host_went_on_gets_no_other_turns_answer() {
    on_the_fake_cli(Writer::OtherHost);
}

#[test]
fn a_turn_behind_which_a_session_of_another_name_went_on_gets_no_other_turns_answer() {
    on_the_fake_cli(Writer::OtherName);
}

fn on_the_real_cli(second: &str) {
    let rest = runtime();
    // A CLI that is told to end takes its tool for failed, and may get an answer to that yet.
    let reply = |request: &Request| match request.after_tool && request.prompt().contains("PROMPT-2") {
        true => Reply::hang(),
        false => Reply::from_words(request),
    };
    let Some(real) = rest.block_on(RealLab::replying(reply)) else { return };
    let base = real.spec("base");
    let RealLab { lab, api, .. } = real;
    is_overtaken(lab, &base, ".claude", REAL, second, Writer::OtherHost);
    drop(api);
}

#[test]
fn a_turn_of_the_real_cli_that_another_host_overtook_before_its_answer_is_not_answered() {
    on_the_real_cli(&format!("PROMPT-2 {}", REAL.long));
}

#[test]
fn a_turn_of_the_real_cli_that_another_host_overtook_in_its_tool_is_not_answered() {
    on_the_real_cli("PROMPT-2 BASH=sleep 60;;");
}

#[tokio::test]
async fn an_mcp_file_that_is_missing_is_said_and_costs_no_restart() {
    let Some(real) = RealLab::new().await else { return };
    let file = real.work().join("no-such-mcp.json").display().to_string();
    let session = start(&real.lab.host, real.spec("assistant").mcp_config(file.clone())).await;
    let error = session.query("PROMPT-1").await.expect_err("refused");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::NotStarted), "{error}");
    assert!(error.to_string().contains(&file), "the file is named: {error}");
    assert_eq!(session.status().await.expect("status").restarts, 0);
}
