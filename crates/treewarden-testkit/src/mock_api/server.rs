//! The HTTP side of the mock API: one task for the listener, one for each connection.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::reply::{Body, Reply};
use super::request::Request;

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;
type BoxBody = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// A running mock API; dropping it ends the server and its connections.
pub struct MockApi {
    address: SocketAddr,
    state: Arc<State>,
    server: tokio::task::JoinHandle<()>,
}

struct State {
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
}

/// The settings of a [`MockApi`] that is not started yet.
#[must_use = "a builder does nothing until it is started"]
pub struct MockApiBuilder {
    handler: Box<Handler>,
    port: u16,
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
    pub fn builder() -> MockApiBuilder {
        MockApiBuilder { handler: Box::new(Reply::from_words), port: 0 }
    }

    /// The URL that `ANTHROPIC_BASE_URL` takes.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The environment that points a real CLI at this server, and keeps it off the network.
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
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The `PROMPT-…` words of the newest context of the conversation, each as often as it stands there.
    pub fn prompts_in_last_context(&self) -> Vec<String> {
        let requests = self.state.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().rev().find(|r| !r.background).map(Request::tags).unwrap_or_default()
    }
}

impl MockApiBuilder {
    /// Answers the requests of the conversation by this function; background requests get `ok`.
    pub fn reply(mut self, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        self.handler = Box::new(handler);
        self
    }

    /// Listens on this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the server on 127.0.0.1.
    ///
    /// # Errors
    ///
    /// The error of the bind.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is started before it returns.
    pub async fn start(self) -> io::Result<MockApi> {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { handler: self.handler, requests: Mutex::new(Vec::new()) });
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

async fn listen(listener: TcpListener, state: Arc<State>) {
    // The set ends its connections when this task is aborted.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(request, &state).await) }
    });
    // A client that goes away is not this server's error.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(http: hyper::Request<Incoming>, state: &State) -> Response<BoxBody> {
    let (head, body) = http.into_parts();
    let path = head.uri.path().to_owned();
    if head.method != Method::POST || !path.starts_with("/v1/messages") {
        return plain(404, &json!({}));
    }
    let secret = |name: &str| name == "authorization" || name == "x-api-key" || name == "cookie";
    let headers = head.headers.iter().filter(|(name, _)| !secret(name.as_str()));
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let Ok(body) = body.collect().await else { return plain(400, &json!({})) };
    let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    let request = Request::new(&path, headers, body);
    let serial = {
        let mut requests = state.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request.clone());
        requests.len() as u64
    };
    if path.ends_with("count_tokens") {
        return plain(200, &json!({ "input_tokens": 10 }));
    }
    let reply = if request.background { Reply::text("ok") } else { (state.handler)(&request) };
    tokio::time::sleep(reply.delay).await;
    match reply.body {
        Body::Hang => std::future::pending().await,
        Body::Error(status) => plain(status, &error_body(status)),
        _ if request.stream => stream(reply.events(&request.model, serial)),
        _ => plain(200, &whole(&reply, &request.model, serial)),
    }
}

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

fn stream(events: Vec<(Value, std::time::Duration)>) -> Response<BoxBody> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        for (event, gap) in events {
            let name = event["type"].as_str().unwrap_or_default();
            let text = format!("event: {name}\ndata: {event}\n\n");
            if sender.send(Bytes::from(text)).await.is_err() {
                return;
            }
            tokio::time::sleep(gap).await;
        }
    });
    respond(200, "text/event-stream", Events(receiver).boxed())
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

struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b))))
    }
}
