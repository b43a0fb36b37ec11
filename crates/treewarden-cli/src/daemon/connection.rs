//! One client: its requests one after another, each answered before the next is read.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};

use super::clients::{Clients, LASTING, Lasting, TO_FINISH};
use super::{Shared, requests};
use crate::wire::{Code, MAX_REQUEST, Refusal, Reply, Request};

/// A client that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The end of a connection, for whatever reason.
#[derive(Debug)]
pub(super) struct Hangup;

/// What a client does that has asked nothing.
enum Next {
    Request,
    Gone,
    HungUp,
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// The request at hand.
    line: Vec<u8>,
    /// What that may hold at the expense of the others, until it is carried out.
    held: Option<OwnedSemaphorePermit>,
}

/// A [`Reply::Item`] of what is written without a copy.
#[derive(Serialize)]
struct Item<'i, T> {
    item: &'i T,
}

/// Serves a client until it goes; true if it was hung up on for another.
pub(super) async fn serve(stream: UnixStream, shared: &Shared) -> bool {
    let (reader, writer) = stream.into_split();
    let mut connection = Connection { reader: BufReader::new(reader), writer, line: Vec::new(), held: None };
    loop {
        match connection.next(&shared.clients).await {
            Next::Request => {}
            Next::Gone => return false,
            Next::HungUp => return true,
        }
        let read = tokio::time::timeout(TO_FINISH, connection.read_request(&shared.clients)).await;
        let read = read.unwrap_or_else(|_| {
            let limit = TO_FINISH.as_secs();
            Err(Refusal::new(
                Code::BadRequest,
                format!("the request did not end within {limit} s of its first byte"),
            ))
        });
        // What comes after a part of a line is no request.
        if let Err(refusal) = read {
            let _gone = connection.refuse(refusal).await;
            return false;
        }
        // Whoever gave up is not obeyed later.
        if connection.is_abandoned() {
            return false;
        }
        let request = serde_json::from_slice::<Request>(&connection.line);
        connection.line = Vec::new();
        let answered = match request {
            Ok(request) => requests::answer(request, &mut connection, shared).await,
            Err(error) => connection.refuse(Refusal::new(Code::BadRequest, error)).await,
        };
        connection.is_carried_out();
        if answered.is_err() {
            return false;
        }
    }
}

/// Tells a client for whom there is no place so, and hangs up.
pub(super) fn turn_away(stream: &UnixStream) {
    let text = "every client that the tree can serve is connected and at work; try again later";
    let reply = Reply::Error(Refusal::new(Code::Busy, text));
    if let Ok(mut line) = serde_json::to_vec(&reply) {
        line.push(b'\n');
        // It is the first thing on this socket, which has room for it.
        let _sent = stream.try_write(&line);
    }
}

impl Connection {
    /// Waits for the first byte of a request.
    async fn next(&mut self, clients: &Clients) -> Next {
        let mut idle = clients.idle();
        tokio::select! {
            biased;
            // Whoever has asked is not hung up on.
            bytes = self.reader.fill_buf() => match bytes {
                Ok(bytes) if !bytes.is_empty() => Next::Request,
                _ => Next::Gone,
            },
            () = idle.hung_up() => Next::HungUp,
        }
    }

    /// Reads a line into `line`.
    async fn read_request(&mut self, clients: &Clients) -> Result<(), Refusal> {
        loop {
            let bytes =
                self.reader.fill_buf().await.map_err(|error| Refusal::new(Code::BadRequest, error))?;
            if bytes.is_empty() {
                let text = "the connection ended in the middle of a line";
                return Err(Refusal::new(Code::BadRequest, text));
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let size = self.line.len() + part.len();
            if size as u64 > MAX_REQUEST {
                let text = format!("a line is longer than {MAX_REQUEST} bytes");
                return Err(Refusal::new(Code::BadRequest, text));
            }
            if !clients.grow(&mut self.held, size) {
                let text = "other clients' requests hold the memory that there is for them; try again later";
                return Err(Refusal::new(Code::Busy, text));
            }
            self.line.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(());
            }
        }
    }

    /// Whether the client has closed the connection; one that only says no more still listens.
    fn is_abandoned(&self) -> bool {
        let stream: &UnixStream = self.reader.get_ref().as_ref();
        let mut asked = [PollFd::new(stream, PollFlags::empty())];
        let polled = poll(&mut asked, Some(&Timespec::default()));
        polled.is_ok() && asked[0].revents().contains(PollFlags::HUP)
    }

    /// Gives back what the request held.
    pub(super) fn is_carried_out(&mut self) {
        self.held = None;
    }

    /// Waits for a place for an ask, a wait or a follower, and tells the client that it waits.
    pub(super) async fn lasting<'c>(
        &mut self,
        clients: &'c Clients,
    ) -> Result<Result<SemaphorePermit<'c>, Refusal>, Hangup> {
        let _may_wait = match clients.lasting() {
            Lasting::Place(place) => return Ok(Ok(place)),
            Lasting::Waits(may_wait) => may_wait,
            Lasting::Full => {
                let text = format!(
                    "{LASTING} asks and followers are served, and more wait already; try again later"
                );
                return Ok(Err(Refusal::new(Code::Busy, text)));
            }
        };
        let text = format!("one of the {LASTING} asks and followers that are served at once to end");
        self.item(json!({ "type": "waiting", "for": text })).await?;
        tokio::select! {
            place = clients.lasting_place() => Ok(Ok(place)),
            hangup = self.gone() => Err(hangup),
        }
    }

    /// Sends one line that is not the last.
    pub(super) async fn item(&mut self, item: Value) -> Result<(), Hangup> {
        self.send(&Reply::Item(item)).await
    }

    /// Sends one line that is not the last, of what need not live until the client has read it.
    pub(super) async fn item_of(&mut self, item: &impl Serialize) -> Result<(), Hangup> {
        self.send(&Item { item }).await
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

    async fn send(&mut self, reply: &impl Serialize) -> Result<(), Hangup> {
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
