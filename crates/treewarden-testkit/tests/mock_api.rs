//! The mock API answers as its handler or the words of the prompt say, and ends with its value.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use treewarden_testkit::mock_api::{MockApi, Reply, mock_api_path};
use treewarden_testkit::poll_until;

const LIMIT: Duration = Duration::from_secs(120);

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").expect("a URL").parse().expect("an address")
}

fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(address(url)).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout can be set");
    stream
}

fn send(stream: &mut TcpStream, path: &str, body: &str) {
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: secret\r\nx-mark: seen\r\n").expect("sent");
    write!(stream, "connection: close\r\ncontent-length: {length}\r\n\r\n{body}").expect("sent");
}

/// The status and the text of the answer to one request on a connection of its own.
fn post(url: &str, path: &str, body: &Value) -> (u16, String) {
    let mut stream = connect(url);
    send(&mut stream, path, &body.to_string());
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, text)
}

async fn ask(api: &MockApi, body: Value) -> (u16, String) {
    let url = api.base_url();
    let answer = tokio::task::spawn_blocking(move || post(&url, "/v1/messages?beta=true", &body));
    answer.await.expect("answered")
}

fn turn(text: &str) -> Value {
    json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": text }] })
}

#[tokio::test]
async fn a_handler_of_ones_own_answers_with_a_text_or_a_tool() {
    let handler = |request: &treewarden_testkit::mock_api::Request| match request.prompt() {
        "tool" => Reply::bash("ls"),
        _ => Reply::text("from the handler"),
    };
    let api = MockApi::builder().reply(handler).start().await.expect("a port");
    let (status, text) = ask(&api, turn("hello")).await;
    assert_eq!(status, 200);
    assert!(text.contains("event: message_start") && text.contains("from the handler"), "{text}");
    assert!(text.contains("event: message_stop"));
    let (_, tool) = ask(&api, turn("tool")).await;
    assert!(tool.contains(r#""name":"Bash""#) && tool.contains(r#""stop_reason":"tool_use""#), "{tool}");
}

#[tokio::test]
async fn the_words_of_a_prompt_choose_status_delay_deltas_and_tool() {
    let api = MockApi::start().await.expect("a port");
    for (status, kind) in
        [(400, "invalid_request_error"), (401, "authentication_error"), (529, "overloaded_error")]
    {
        let (got, text) = ask(&api, turn(&format!("PROMPT-x STATUS={status}"))).await;
        assert_eq!(got, status);
        assert!(text.contains(kind), "{text}");
    }
    let before = Instant::now();
    let (_, text) = ask(&api, turn("PROMPT-y DELAY=80 STREAM=4:20")).await;
    assert!(before.elapsed() >= Duration::from_millis(160));
    assert!(text.contains("word3 ") && !text.contains("word4 ") && text.contains("answer to PROMPT-y"));
    let (_, text) = ask(&api, turn("PROMPT-z BASH=echo hi;;")).await;
    assert!(text.contains("echo hi"), "{text}");
    let after = json!({ "stream": true, "messages": [
        { "role": "user", "content": "PROMPT-z BASH=echo hi;;" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "Bash", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "hi" }] },
        { "role": "system", "content": "a note" },
    ]});
    assert!(ask(&api, after).await.1.contains("answer to PROMPT-z"));
}

#[tokio::test]
async fn counts_and_requests_without_a_stream_are_answered_and_are_no_turns() {
    let api = MockApi::start().await.expect("a port");
    let url = api.base_url();
    let body = json!({ "messages": [{ "role": "user", "content": "PROMPT-x" }] });
    let answers = tokio::task::spawn_blocking(move || {
        let count = post(&url, "/v1/messages/count_tokens", &body);
        (count, post(&url, "/v1/messages", &body), post(&url, "/v2/other", &body))
    });
    let (count, whole, other) = answers.await.expect("answered");
    assert!(count.1.contains(r#"{"input_tokens":10}"#));
    let whole: Value = whole.1.lines().last().and_then(|l| serde_json::from_str(l).ok()).expect("JSON");
    assert_eq!(whole["content"][0]["text"], "ok");
    assert_eq!(other.0, 404);
    assert_eq!((api.requests().len(), api.turns()), (2, 0));
}

#[tokio::test]
async fn what_the_cli_asks_for_itself_is_no_context_of_the_conversation() {
    let api = MockApi::start().await.expect("a port");
    ask(&api, turn("PROMPT-a")).await;
    for own in [
        "<session>\nPROMPT-a\n</session>",
        "<system-reminder>This is a side question from the user. PROMPT-side",
        "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\n",
    ] {
        ask(&api, turn(own)).await;
    }
    assert_eq!(api.contexts(), [["PROMPT-a"]]);
    assert_eq!(api.prompts_in_last_context(), ["PROMPT-a"]);
}

#[tokio::test]
async fn only_the_newest_requests_keep_their_content_and_no_secret() {
    let api = MockApi::builder().keep_bodies(2).start().await.expect("a port");
    for n in 0..4 {
        ask(&api, turn(&format!("PROMPT-{n}"))).await;
    }
    let requests = api.requests();
    let kept: Vec<_> = requests.iter().map(|r| r.content.is_some()).collect();
    assert_eq!(kept, [false, false, true, true]);
    assert_eq!(api.contexts(), [["PROMPT-0"], ["PROMPT-1"], ["PROMPT-2"], ["PROMPT-3"]]);
    let content = requests[3].content.as_ref().expect("kept");
    assert!(content.headers.iter().any(|(name, _)| name == "x-mark"));
    assert!(!format!("{content:?}").contains("secret"));
}

/// Starts an answer that never ends, and returns once it is under way.
async fn begun(api: &MockApi, prompt: &str, first_byte: bool) -> TcpStream {
    let (url, body) = (api.base_url(), turn(prompt).to_string());
    let begin = move || {
        let mut stream = connect(&url);
        send(&mut stream, "/v1/messages", &body);
        if first_byte {
            stream.read_exact(&mut [0]).expect("the answer begins");
        }
        stream
    };
    let stream = tokio::task::spawn_blocking(begin).await.expect("begun");
    treewarden_testkit::eventually(LIMIT, || async { (api.turns() > 0).then_some(()) })
        .await
        .expect("it came");
    stream
}

#[tokio::test]
async fn dropping_the_api_ends_answers_under_way_and_frees_the_port() {
    for (prompt, first_byte) in [("PROMPT-x HANG", false), ("DELAY=600000", false), ("STREAM=9999:500", true)]
    {
        let api = MockApi::start().await.expect("a port");
        let url = api.base_url();
        let mut stream = begun(&api, prompt, first_byte).await;
        drop(api);
        let ended = tokio::task::spawn_blocking(move || {
            let mut rest = Vec::new();
            // The end is an EOF or a reset, but not the client's own timeout.
            let end = stream.read_to_end(&mut rest).map_err(|error| error.kind());
            let gone = poll_until(LIMIT, || TcpStream::connect(address(&url)).is_err().then_some(()));
            (end, gone)
        });
        let (end, gone) = ended.await.expect("ended");
        assert!(
            !matches!(end, Err(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)),
            "{prompt}"
        );
        assert!(gone.is_some(), "the port is free after {prompt}");
    }
}

#[test]
fn the_program_prints_its_url_and_logs_tags_but_no_texts() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log.jsonl");
    let program = mock_api_path().expect("it is built");
    let mut child = Command::new(&program)
        .args(["--port", "0", "--log"])
        .arg(&log)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut url = String::new();
    let stdout = child.stdout.take().expect("stdout is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut url).expect("a line");
    let (status, _) = post(url.trim(), "/v1/messages", &turn("PROMPT-a and words"));
    child.kill().expect("it can be killed");
    child.wait().expect("it is reaped");
    assert_eq!(status, 200);
    let text = std::fs::read_to_string(&log).expect("a log");
    let line: Value = serde_json::from_str(text.trim()).expect("one line of JSON");
    assert_eq!(line["users"], json!([["PROMPT-a"]]));
    assert!(line["t"].as_f64().is_some_and(|t| t > 1e9) && line["stream"] == true);
    assert!(!text.contains("words"));
    let wrong = Command::new(&program).arg("--nonsense").output().expect("it runs");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("--nonsense"));
    assert!(!wrong.status.success());
}
