//! One client: its requests one after another, each answered before the next is read.
//!
//! It is a door of the service: it reads requests and writes answers as lines, and decides nothing about them.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use treewarden_service::{Access, Answer, Caller, Code, Gone, Item, Progress, Refusal, Reply, Request, Sink};

use super::Shared;
use super::clients::{Clients, Idle, Place, TO_FINISH};
use crate::lines::MAX_REQUEST;

/// A client that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client does that has asked nothing.
enum Next {
    Request(Place),
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

/// Serves a client until it goes, or is hung up on for another.
pub(super) async fn serve(stream: UnixStream, mut idle: Idle, shared: &Shared) {
    let (reader, writer) = stream.into_split();
    let mut connection = Connection { reader: BufReader::new(reader), writer, line: Vec::new(), held: None };
    loop {
        let place = match connection.next(idle).await {
            Next::Request(place) => place,
            Next::Gone => return,
            Next::HungUp => {
                // It may have asked at this very moment, and would take a silent end for that of the tree.
                let _gone = connection.writer.try_write(&no_place());
                return;
            }
        };
        // A client that sends a byte now and then would keep its place, and the bytes that count for all, for
        // ever.
        let read = tokio::time::timeout(TO_FINISH, connection.read_request(&shared.clients)).await;
        let read = read.unwrap_or_else(|_| {
            let limit = TO_FINISH.as_secs();
            Err(Refusal::new(
                Code::BadRequest,
                format!("the request did not end within {limit} s of its first byte"),
            ))
        });
        // The rest of a line that was not read to its end would be taken for the next request.
        if let Err(refusal) = read {
            // Whoever asked wrongly may have gone; the connection ends either way.
            let _gone = connection.end(Err(refusal)).await;
            return;
        }
        let request = serde_json::from_slice::<Request>(&connection.line);
        // The buffer is let go and not only emptied: up to 16 MiB would stay with each client that asks
        // nothing more.
        connection.line = Vec::new();
        let answered = match request {
            // The socket is its owner's and the super-user's, who could do anything to the tree without it.
            Ok(request) => {
                shared.service.answer(request, Caller::with(Access::Change), &mut connection).await
            }
            Err(error) => connection.end(Err(Refusal::new(Code::BadRequest, error))).await,
        };
        if answered.is_err() {
            return;
        }
        idle = place.idle();
    }
}

/// Tells a client for whom there is no place so, and hangs up.
pub(super) fn turn_away(stream: &UnixStream) {
    // It is the first thing on this socket, which has room for it.
    let _sent = stream.try_write(&no_place());
}

/// The line that says that there is no place for a client.
fn no_place() -> Vec<u8> {
    let text = "the tree serves as many clients as it can, and this one has no place among them; try again later, or raise the \
                daemon's limit of open files if it says at its start for how many clients that leaves room";
    let reply: Reply<Value, Value> = Reply::Error(Refusal::new(Code::Busy, text));
    let mut line = serde_json::to_vec(&reply).unwrap_or_default();
    line.push(b'\n');
    line
}

impl Connection {
    /// Waits for the first byte of a request.
    async fn next(&mut self, mut idle: Idle) -> Next {
        let asks = tokio::select! {
            biased;
            // Whoever has asked is not hung up on, unless its place was given away at that very moment.
            bytes = self.reader.fill_buf() => match bytes {
                Ok(bytes) => !bytes.is_empty(),
                Err(_) => false,
            },
            () = idle.hung_up() => return Next::HungUp,
        };
        // One that asks, or goes, at that moment leaves its place to the other as well: otherwise both would give it back,
        // and each such moment would let one client more in.
        match idle.stays() {
            Some(place) if asks => Next::Request(place),
            Some(_) => Next::Gone,
            None => Next::HungUp,
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
            // Asked before the bytes are kept: a request that is refused must hold none of them.
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

    /// Writes one line. What it was made of is dropped first: a client that reads slowly keeps no event and no frame alive.
    async fn send(&mut self, reply: Reply<Item, Answer>) -> Result<(), Gone> {
        let mut line = serde_json::to_vec(&reply).map_err(|_| Gone)?;
        // The answer is let go once it is a line: two copies of 160 MiB would be held for as long as the
        // client reads.
        drop(reply);
        line.push(b'\n');
        // A client that reads nothing would keep its answer, and its place among the clients, for ever.
        match tokio::time::timeout(PATIENCE, self.writer.write_all(&line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}

impl Sink for Connection {
    async fn item(&mut self, item: Item) -> Result<(), Gone> {
        // The prompt is stored: its bytes are the turn's from now on, however long that runs.
        if matches!(item, Item::Progress(Progress::Opened { .. })) {
            self.held = None;
        }
        self.send(Reply::Item(item)).await
    }

    async fn end(&mut self, end: Result<Answer, Refusal>) -> Result<(), Gone> {
        self.held = None;
        self.send(end.map_or_else(Reply::Error, Reply::Ok)).await
    }

    /// Ready also when the client speaks out of turn, which ends the connection too.
    async fn gone(&mut self) -> Gone {
        // A connection that cannot be read has ended as well, so that the result does not matter.
        let _end_or_noise = self.reader.fill_buf().await;
        Gone
    }

    /// Whether the client has closed the connection; one that only says no more still listens.
    fn is_gone(&self) -> bool {
        let stream: &UnixStream = self.reader.get_ref().as_ref();
        // No event is asked for: the kernel tells of a hangup in any case, and bytes that the client sends
        // are no hangup.
        let mut asked = [PollFd::new(stream, PollFlags::empty())];
        let polled = poll(&mut asked, Some(&Timespec::default()));
        polled.is_ok() && asked[0].revents().contains(PollFlags::HUP)
    }
}
