//! The HTTP side of the mock API: one task for the listener, one for each connection, none besides.
//!
//! It listens on 127.0.0.1 alone, and knows `POST /v1/messages` and what is below it; anything else is a 404. It must never ask
//! anybody else, nor outlive its handle.
//!
//! ```text
//! MockApi (the test) ── drop ──► aborts ──► listen ── JoinSet ──► connection, connection, …
//!    │                                                               │
//!    └──────────────► State: handler, Mutex<Seen> ◄── record ────────┘
//! ```
//!
//! The lock of what was seen is held for a push or a clone, never over a wait or a call of the handler: so the handler may ask the API what it saw. A
//! panic in the handler ends its connection alone, and the lock is used on.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::events::Events;
use super::reply::{Body, Reply};
use super::request::Request;

/// What answers the requests of the conversation.
type Handler = dyn Fn(&Request) -> Reply + Send + Sync;
type BoxBody = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// A running mock API; dropping it ends the server and its connections.
///
/// It needs the runtime on which it was started. A real CLI is pointed at it by its [environment](Self::env).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use treewarden_testkit::mock_api::MockApi;
///
/// let api = MockApi::start().await?;
/// let environment = api.env();
/// assert!(environment.contains(&("ANTHROPIC_BASE_URL".to_owned(), api.base_url())));
/// // After turns of a CLI: what the model was asked, without the CLI's titles and counts.
/// assert_eq!(api.turns(), 0);
/// assert!(api.prompts_in_last_context().is_empty());
/// # Ok(()) }
/// ```
pub struct MockApi {
    /// Where it listens; the port is the one that the system gave.
    address: SocketAddr,
    state: Arc<State>,
    /// The task of the listener, which owns those of the connections.
    server: tokio::task::JoinHandle<()>,
}

/// What all connections share.
struct State {
    handler: Box<Handler>,
    seen: Mutex<Seen>,
}

/// What was asked so far, under one lock.
struct Seen {
    /// All of them, in the order of arrival: their number has no bound but the end of the test, their size is bounded by `keep_bodies` but for the tags.
    requests: Vec<Request>,
    keep_bodies: usize,
    log: Option<File>,
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Records a request, and returns its number.
    ///
    /// The number begins with 1. It drops the content of the request that is now too old to keep it.
    fn record(&mut self, request: &Request) -> u64 {
        if let Some(log) = &mut self.log {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            // A log on a full disk must not change what the CLI under test sees.
            drop(log.write_all(request.log_line(now.as_secs_f64()).as_bytes()));
        }
        self.requests.push(request.clone());
        let old = self.requests.len().checked_sub(self.keep_bodies + 1);
        if let Some(request) = old.and_then(|at| self.requests.get_mut(at)) {
            request.content = None;
        }
        self.requests.len() as u64
    }
}

/// The settings of a [`MockApi`] that is not started yet.
///
/// By default it takes a free port, answers as the words of the prompts say, keeps the bodies of the 16 newest requests, and writes no log.
#[must_use = "a builder does nothing until it is started"]
pub struct MockApiBuilder {
    handler: Box<Handler>,
    port: u16,
    keep_bodies: usize,
    log: Option<PathBuf>,
}

impl MockApi {
    /// Starts a server on a free port, steered by the words of the prompts.
    ///
    /// # Errors
    ///
    /// The error of the bind.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is started before it returns.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Starts from the default settings.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// use treewarden_testkit::mock_api::{MockApi, Reply};
    ///
    /// let asked_to_wait = |request: &treewarden_testkit::mock_api::Request| {
    ///     if request.prompt().contains("wait") { Reply::hang() } else { Reply::text("done") }
    /// };
    /// let api = MockApi::builder().reply(asked_to_wait).keep_bodies(4).start().await?;
    /// # drop(api);
    /// # Ok(()) }
    /// ```
    pub fn builder() -> MockApiBuilder {
        MockApiBuilder { handler: Box::new(Reply::from_words), port: 0, keep_bodies: 16, log: None }
    }

    /// The URL that `ANTHROPIC_BASE_URL` takes.
    ///
    /// Such as `http://127.0.0.1:40123`, without a slash at its end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The environment that points a real CLI at this server, and keeps it off the network.
    ///
    /// The key is a dummy, and the API takes any. It holds no `HOME` or `PATH`: `RealCli::environment` adds those. Whoever starts the CLI with these alone has
    /// to clear its own environment first, or a key of the machine is sent as well.
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("ANTHROPIC_BASE_URL", self.base_url().as_str()),
            ("ANTHROPIC_API_KEY", "dummy"),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("DISABLE_ERROR_REPORTING", "1"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("IS_SANDBOX", "1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// Every request so far, in order of arrival.
    ///
    /// A copy of the list; what the requests hold is shared. One that still waits for its answer is among them.
    pub fn requests(&self) -> Vec<Request> {
        self.state.seen().requests.clone()
    }

    /// How many requests of the conversation, not of the CLI's own business, there were so far.
    ///
    /// A turn with n tool calls makes n + 1 of them, and one that the CLI tries again makes one for each attempt.
    pub fn turns(&self) -> usize {
        self.state.seen().requests.iter().filter(|r| !r.background).count()
    }

    /// The `PROMPT-…` words of the context of each request of the conversation, in order of arrival.
    ///
    /// Each word stands there as often as in the context. A turn with tools makes several requests.
    pub fn contexts(&self) -> Vec<Vec<String>> {
        self.state.seen().requests.iter().filter(|r| !r.background).map(Request::all_tags).collect()
    }

    /// The `PROMPT-…` words of the newest context of the conversation, each as often as it stands there.
    ///
    /// It is the whole conversation as the model last saw it. A prompt that is missing was lost; one that stands there twice was sent twice. Empty before the
    /// first turn.
    pub fn prompts_in_last_context(&self) -> Vec<String> {
        let seen = self.state.seen();
        seen.requests.iter().rev().find(|r| !r.background).map(Request::all_tags).unwrap_or_default()
    }
}

impl MockApiBuilder {
    /// Answers the requests of the conversation by this function; background requests get `ok`.
    ///
    /// It is called on the task of the connection, for several requests at once where several CLIs ask; it must not block. Without it
    /// [`Reply::from_words`] answers.
    pub fn reply(mut self, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        self.handler = Box::new(handler);
        self
    }

    /// Listens on this port instead of a free one.
    ///
    /// A port that somebody has is an error of the start. It is for a server that a person looks at: tests that run at once take free ones.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Keeps the headers, texts and bodies of so many newest requests (16 unless told).
    ///
    /// Everything else about a request, its tags included, is kept for all of them.
    pub fn keep_bodies(mut self, count: usize) -> Self {
        self.keep_bodies = count;
        self
    }

    /// Appends a line of JSON for each request to this file: its tags, and no other words of it.
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// Starts the server on 127.0.0.1.
    ///
    /// # Errors
    ///
    /// The error of the bind, or of opening the log.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is started before it returns.
    pub async fn start(self) -> io::Result<MockApi> {
        let log = self.log.map(|path| File::options().create(true).append(true).open(path)).transpose()?;
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await?;
        let address = listener.local_addr()?;
        let seen = Seen { requests: Vec::new(), keep_bodies: self.keep_bodies, log };
        let state = Arc::new(State { handler: self.handler, seen: Mutex::new(seen) });
        let server = tokio::spawn(listen(listener, Arc::clone(&state)));
        Ok(MockApi { address, state, server })
    }
}

impl Drop for MockApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for MockApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockApi").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for MockApiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockApiBuilder").field("port", &self.port).finish_non_exhaustive()
    }
}

/// Takes connections until it is aborted, or the system gives none any more.
async fn listen(listener: TcpListener, state: Arc<State>) {
    // The set ends its connections when this task is aborted.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&state)));
        // Those that have ended are taken out, or the set would grow with every connection of a soak.
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection, request after request, until the client goes.
async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(request, &state).await) }
    });
    // A client that goes away is not this server's error.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Answers one request: records it, asks the handler, waits out the delay. It is dropped where it waits when the client goes.
async fn answer(http: hyper::Request<Incoming>, state: &State) -> Response<BoxBody> {
    let (head, body) = http.into_parts();
    let path = head.uri.path().to_owned();
    if head.method != Method::POST || !path.starts_with("/v1/messages") {
        return plain(404, &json!({}));
    }
    // A test that fails prints requests, and the key of a CLI that was started with a real one must not be
    // among that.
    let secret = |name: &str| name == "authorization" || name == "x-api-key" || name == "cookie";
    let headers = head.headers.iter().filter(|(name, _)| !secret(name.as_str()));
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let Ok(body) = body.collect().await else { return plain(400, &json!({})) };
    let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    let request = Request::new(&path, headers, body);
    // Before any delay: a test that waits for the request sees it while the answer is still held back. The
    // lock ends here, since the handler may ask what was seen.
    let serial = state.seen().record(&request);
    if path.ends_with("count_tokens") {
        return plain(200, &json!({ "input_tokens": 10 }));
    }
    let reply = if request.background { Reply::text("ok") } else { (state.handler)(&request) };
    tokio::time::sleep(reply.delay).await;
    match reply.body {
        // Until the client goes or the server is dropped: the task of the connection ends with either.
        Body::Hang => std::future::pending().await,
        Body::Error(status) => plain(status, &error_body(status)),
        _ if request.stream => {
            let events = Events::new(reply.events(&request.model, serial));
            respond(200, "text/event-stream", events.boxed())
        }
        _ => plain(200, &whole(&reply, &request.model, serial)),
    }
}

/// The error of this status as the API writes it; a status that has no name of its own is an `api_error`.
fn error_body(status: u16) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": "scripted" } })
}

/// The answer as one message, for a request that asked for no stream.
fn whole(reply: &Reply, model: &str, serial: u64) -> Value {
    let (block, stop) = match &reply.body {
        Body::Tool { name, input } => {
            let id = format!("toolu_{serial}");
            (json!({ "type": "tool_use", "id": id, "name": name, "input": input }), "tool_use")
        }
        Body::Text(text) => (json!({ "type": "text", "text": text }), "end_turn"),
        Body::Error(_) | Body::Hang => (json!({ "type": "text", "text": "" }), "end_turn"),
    };
    json!({ "id": format!("msg_{serial}"), "type": "message", "role": "assistant", "model": model,
        "content": [block], "stop_reason": stop, "stop_sequence": null,
        "usage": { "input_tokens": 10, "output_tokens": 5 } })
}

fn plain(status: u16, body: &Value) -> Response<BoxBody> {
    respond(status, "application/json", Full::new(Bytes::from(body.to_string())).boxed())
}

fn respond(status: u16, kind: &str, body: BoxBody) -> Response<BoxBody> {
    let status = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Ok(kind) = hyper::header::HeaderValue::from_str(kind) {
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    }
    response
}
