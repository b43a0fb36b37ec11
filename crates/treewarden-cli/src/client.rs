//! The client's side of the control socket.

use std::io;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::args::Place;
use crate::daemon::may_speak;
use crate::exit::{Exit, Failure};
use crate::wire::{MAX_ANSWER, Reply, Request, read_line};

/// A connection to a running tree.
pub(crate) struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    line: Vec<u8>,
}

impl Client {
    /// Connects to the tree at this place.
    pub(crate) async fn connect(place: &Place) -> anyhow::Result<Self> {
        let path = place.socket(None)?;
        let stream = UnixStream::connect(&path).await.map_err(|error| no_daemon(&path, &error))?;
        trust(&path, &stream)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer, line: Vec::new() })
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: &Request) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.writer.write_all(&line).await.context("the tree closed the connection")?;
        Ok(())
    }

    /// Waits for the next line of the answer.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Reply> {
        self.line.clear();
        if !read_line(&mut self.reader, &mut self.line, MAX_ANSWER).await? {
            return Err(Failure::new(Exit::Failed, "the tree ended before it answered").into());
        }
        serde_json::from_slice(&self.line)
            .context("the tree's answer is not understood; are both of one version?")
    }

    /// Waits for the next item, or for the end of the answer.
    pub(crate) async fn item(&mut self) -> anyhow::Result<Result<Value, Value>> {
        match self.next().await? {
            Reply::Item(item) => Ok(Ok(item)),
            Reply::Ok(value) => Ok(Err(value)),
            Reply::Error(refusal) => Err(Failure::new(refusal.code.exit(), refusal.message).into()),
        }
    }

    /// Sends a request and waits for the end of its answer.
    pub(crate) async fn call(&mut self, request: &Request) -> anyhow::Result<Value> {
        self.send(request).await?;
        loop {
            if let Err(value) = self.item().await? {
                return Ok(value);
            }
        }
    }
}

/// Whoever may write to the folder of a socket may put another in its place: a prompt goes to our own daemon only.
fn trust(path: &Path, stream: &UnixStream) -> anyhow::Result<()> {
    let uid =
        stream.peer_cred().with_context(|| format!("cannot ask who listens on {}", path.display()))?.uid();
    if may_speak(uid) {
        return Ok(());
    }
    let text = format!(
        "{} is served by user {uid}, who is neither us nor the super-user; nothing was sent",
        path.display()
    );
    Err(Failure::new(Exit::NoDaemon, text).into())
}

fn no_daemon(path: &Path, error: &io::Error) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no tree listens on {}; start one with `treewarden run`, or name its socket with --socket",
            path.display()
        ),
        _ => format!("cannot connect to {}: {error}", path.display()),
    };
    Failure::new(Exit::NoDaemon, message)
}
