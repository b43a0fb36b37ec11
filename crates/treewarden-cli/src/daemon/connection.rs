//! One client: its requests one after another, each answered before the next is read.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::{Shared, requests};
use crate::wire::{Code, MAX_REQUEST, Refusal, Reply, Request, read_line};

/// A client that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The end of a connection, for whatever reason.
#[derive(Debug)]
pub(super) struct Hangup;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// Serves a client until it goes.
pub(super) async fn serve(stream: UnixStream, shared: &Shared) {
    let (reader, writer) = stream.into_split();
    let mut connection = Connection { reader: BufReader::new(reader), writer };
    let mut line = Vec::new();
    loop {
        line.clear();
        match read_line(&mut connection.reader, &mut line, MAX_REQUEST).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let _gone = connection.refuse(Refusal::new(Code::BadRequest, error)).await;
                return;
            }
        }
        let answered = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => requests::answer(request, &mut connection, shared).await,
            Err(error) => connection.refuse(Refusal::new(Code::BadRequest, error)).await,
        };
        if answered.is_err() {
            return;
        }
    }
}

impl Connection {
    /// Sends one line that is not the last.
    pub(super) async fn item(&mut self, item: Value) -> Result<(), Hangup> {
        self.send(&Reply::Item(item)).await
    }

    /// Ends an answer.
    pub(super) async fn end(&mut self, answer: Result<Value, Refusal>) -> Result<(), Hangup> {
        match answer {
            Ok(value) => self.send(&Reply::Ok(value)).await,
            Err(refusal) => self.refuse(refusal).await,
        }
    }

    async fn refuse(&mut self, refusal: Refusal) -> Result<(), Hangup> {
        self.send(&Reply::Error(refusal)).await
    }

    async fn send(&mut self, reply: &Reply) -> Result<(), Hangup> {
        let mut line = serde_json::to_vec(reply).map_err(|_| Hangup)?;
        line.push(b'\n');
        match tokio::time::timeout(PATIENCE, self.writer.write_all(&line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Hangup),
        }
    }

    /// Ready when the client is gone, or speaks out of turn, which ends the connection too.
    ///
    /// Cancelling loses nothing.
    pub(super) async fn gone(&mut self) -> Hangup {
        let _end_or_noise = self.reader.fill_buf().await;
        Hangup
    }
}
