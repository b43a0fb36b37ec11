//! Runs every example as a program of its own, on the fake CLI, and looks at what it says and how it ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

/// So long an example may take; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test knows its own program");
    let programs = test.parent().and_then(Path::parent).expect("a test stands in `deps`");
    let program: PathBuf = programs.join("examples").join(name);
    assert!(program.is_file(), "{} is not built: run `cargo build --examples`", program.display());
    let mut command = Command::new(program);
    command.env_remove("TREEWARDEN_CLI").env_remove("RUST_LOG").kill_on_drop(true);
    command
}

/// Runs an example to its end, and returns what it printed.
async fn run(name: &str) -> String {
    let output = tokio::time::timeout(PATIENCE, example(name).stdin(Stdio::null()).output());
    let output = output.await.unwrap_or_else(|_| panic!("{name} is not ready in time")).expect("it runs");
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{text}\n{error}", output.status);
    text.into_owned()
}

/// Checks that these stand in the text, in this order.
fn assert_in_order(text: &str, wanted: &[&str]) {
    let mut rest = text;
    for part in wanted {
        let at = rest.find(part).unwrap_or_else(|| panic!("no {part:?} at its place in:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

#[tokio::test]
async fn a_session_is_started_and_asked() {
    let text = run("01_start_and_query").await;
    let wanted = ["with 0 CLIs", "Nice to meet you, Alice.", "Your name is Alice.", "alive: false"];
    assert_in_order(&text, &wanted);
}

#[tokio::test]
async fn answers_are_streamed() {
    let text = run("02_multi_turn_streaming").await;
    let wanted = ["Every value has one owner.", "pieces)", "Ownership.", "0 tools", "the turn was"];
    assert_in_order(&text, &wanted);
}

#[tokio::test]
async fn a_second_process_carries_the_conversation_on() {
    let text = run("03_resume_across_restarts").await;
    assert_in_order(&text, &["the name is new", "the name has a conversation", "Your name is Alice."]);
}

#[tokio::test]
async fn sessions_are_found_by_name() {
    let text = run("04_named_sessions").await;
    let wanted = [
        "assistant: Nice to meet you, Alice.",
        "team/reviewer: One thing",
        "assistant: Your name is Alice.",
        "no session is named \"nobody\"",
        "a live session holds the name",
        "alive: false",
    ];
    assert_in_order(&text, &wanted);
}

#[tokio::test]
async fn an_actor_wraps_a_session() {
    let text = run("05_wrapped_in_an_actor").await;
    assert_in_order(&text, &["Your name is Alice.", "asked 2 times", "its session: true"]);
}

#[tokio::test]
async fn a_plain_ractor_supervisor_carries_a_session_over_a_crash() {
    let text = run("06_own_supervisor").await;
    // The supervisor and the caller are told at the same time.
    assert_in_order(&text, &["boss: ", "signal 9", "completed", "Your name is Alice."]);
    assert_in_order(&text, &["carried on, 1 CLI lost", "completed"]);
}

#[tokio::test]
async fn a_tree_is_declared_in_a_file() {
    let text = run("07_supervised_tree_from_a_file").await;
    let wanted = [
        "tree\n  assistant\n  code_reviewer\n  pipeline\n    planner\n    writer\n",
        "child_terminated assistant",
        "progress assistant",
        "Your name is Alice.",
        "assistant 1, planner 0",
    ];
    assert_in_order(&text, &wanted);
}

#[tokio::test]
async fn a_tree_is_changed_while_it_runs() {
    let text = run("11_change_a_running_tree").await;
    let wanted = [
        "- planner: is stopped",
        "model: unset → \"opus\"",
        "+ team/writer: is started",
        "1 child is unchanged",
        "Your name is Alice.",
        "CLI is the same: true",
        "planner is there: false",
        "in good order: true",
    ];
    assert_in_order(&text, &wanted);
}

#[tokio::test]
async fn the_feed_tells_what_happens() {
    let text = run("08_events_feed").await;
    assert_eq!(text.matches("a turn is opened").count(), 2, "{text}");
    let wanted = ["Starting", "Busy", "a turn is completed", "Ready", "its CLI ended: clean", "Stopped"];
    assert_in_order(&text, &wanted);
}

#[tokio::test]
async fn a_turn_survives_the_kill_of_its_cli() {
    let text = run("09_survive_a_kill").await;
    let wanted = [
        "$ kill -9",
        "another one carries the turn on",
        "but never to both at once.",
        "completed",
        "Your name is Alice.",
        "CLIs: 2, restarts: 1, turns: 3",
    ];
    assert_in_order(&text, &wanted);
}

#[tokio::test]
async fn plain_workers_are_supervised() {
    let text = run("supervised_workers").await;
    assert_in_order(
        &text,
        &["started single", "child_terminated of single", "single is on its run 2", "stopped"],
    );
}

#[tokio::test]
async fn a_chat_service_remembers_its_users_and_gives_up_the_one_whose_clis_all_die() {
    tokio::time::timeout(PATIENCE, chat()).await.expect("the chat is over in time");
}

async fn chat() {
    let mut command = example("10_chat_service");
    let mut service = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut said = BufReader::new(service.stdout.take().expect("a pipe")).lines();
    let first = said.next_line().await.expect("read").expect("a line");
    let address = first.strip_prefix("listening on ").expect("the address").to_owned();

    let alice = visit(&address, &["alice", "My name is Alice."]).await;
    assert_eq!(alice, ["your name?", "hello, alice", "Nice to meet you, Alice."]);
    let (again, bob) = tokio::join!(
        visit(&address, &["alice", "What is my name?"]),
        visit(&address, &["bob", "What is my name?"]),
    );
    assert_eq!(again[2], "Your name is Alice.");
    assert_eq!(bob[2], "I do not know your name.");
    let bad = visit(&address, &["no such name!"]).await;
    assert!(bad[1].starts_with("sorry: "), "{bad:?}");

    // Each CLI that mallory gets dies: alice is answered meanwhile and afterwards.
    let ask = ["alice", "What is my name?"];
    let (mallory, meanwhile) = tokio::join!(
        visit(&address, &["mallory", "I crash every CLI.", "In one word?"]),
        visit(&address, &ask),
    );
    for told in &mallory[2..] {
        assert!(told.starts_with("sorry: ") && told.contains("gave it up"), "{mallory:?}");
    }
    let afterwards = visit(&address, &ask).await;
    assert_eq!((meanwhile[2].as_str(), &meanwhile[2]), ("Your name is Alice.", &afterwards[2]));
    let again = visit(&address, &["mallory", "Say it in one word."]).await;
    assert_eq!(again[2], "Ownership.", "the next visit tries it again");

    drop(service.stdin.take());
    let last = said.next_line().await.expect("read").expect("a line");
    assert_eq!(last, "served 3 users");
    assert!(service.wait().await.expect("it ends").success());
}

/// Says these lines, each after a line of the service, and returns what that said.
async fn visit(address: &str, lines: &[&str]) -> Vec<String> {
    let (read, mut write) = TcpStream::connect(address).await.expect("it listens").into_split();
    let mut read = BufReader::new(read).lines();
    let mut heard = vec![read.next_line().await.expect("read").expect("a line")];
    for line in lines {
        write.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
        heard.extend(read.next_line().await.expect("read"));
    }
    heard
}
