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
use tokio::time::timeout;
use treewarden_service::{Access, Answer, Caller, Code, Gone, Item, Progress, Refusal, Reply, Request, Sink};

use super::Shared;
use super::clients::{Clients, Idle, Place, TO_FINISH};
use crate::lines::MAX_REQUEST;

/// A client that has not taken a line within this time is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that takes nothing of its answer for so long may be hung up on for another.
const BLOCKED: Duration = Duration::from_secs(1);

/// What a client does that has asked nothing.
enum Next {
    Request(Place),
    Gone,
    HungUp,
}

/// A client's connection.
#[derive(Debug)]
struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// The request at hand.
    line: Vec<u8>,
    /// What that may hold at the expense of the others, until it is carried out.
    held: Option<OwnedSemaphorePermit>,
}

/// A client that has asked: its answer goes to its connection, and its place to another while it takes nothing of that.
#[derive(Debug)]
struct Asker<'c> {
    connection: &'c mut Connection,
    place: &'c mut Place,
}

/// Serves a client until it goes, or is hung up on for another.
pub(super) async fn serve(stream: UnixStream, mut idle: Idle, shared: &Shared) {
    let (reader, writer) = stream.into_split();
    let mut connection = Connection { reader: BufReader::new(reader), writer, line: Vec::new(), held: None };
    loop {
        let mut place = match connection.next(idle).await {
            Next::Request(place) => place,
            Next::Gone => return,
            Next::HungUp => {
                // It may have asked at this very moment, and would take a silent end for that of the tree.
                let _gone = connection.writer.try_write(&no_place());
                return;
            }
        };
        if connection.answer(&mut place, shared).await.is_err() {
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

    /// Reads a request, and has it answered.
    ///
    /// # Errors
    ///
    /// [`Gone`] if that was the last one: the client went or was hung up on, or what follows could not be read.
    async fn answer(&mut self, place: &mut Place, shared: &Shared) -> Result<(), Gone> {
        // A client that sends a byte now and then would keep its place, and the bytes that count for all, for
        // ever.
        let read = timeout(TO_FINISH, self.read_request(&shared.clients)).await;
        let read = read.unwrap_or_else(|_| {
            let limit = TO_FINISH.as_secs();
            Err(Refusal::new(
                Code::BadRequest,
                format!("the request did not end within {limit} s of its first byte"),
            ))
        });
        // The buffer is let go and not only emptied: up to 16 MiB would stay with each client that asks
        // nothing more.
        let line = std::mem::take(&mut self.line);
        let mut asker = Asker { connection: self, place };
        // The rest of a line that was not read to its end would be taken for the next request.
        if let Err(refusal) = read {
            asker.end(Err(refusal)).await?;
            return Err(Gone);
        }
        let request = serde_json::from_slice::<Request>(&line);
        drop(line);
        match request {
            // The socket is its owner's and the super-user's, who could do anything to the tree without it.
            Ok(request) => shared.service.answer(request, Caller::with(Access::Change), &mut asker).await,
            Err(error) => asker.end(Err(Refusal::new(Code::BadRequest, error))).await,
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

    /// Writes as much as the client takes at once, or as soon as it takes something.
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        match self.writer.write(bytes).await {
            Ok(0) | Err(_) => Err(Gone),
            Ok(written) => Ok(written),
        }
    }
}

impl Asker<'_> {
    /// Writes one line. What it was made of is dropped first: a client that reads slowly keeps no event and no frame alive.
    async fn send(&mut self, reply: Reply<Item, Answer>) -> Result<(), Gone> {
        let mut line = serde_json::to_vec(&reply).map_err(|_| Gone)?;
        // The answer is let go once it is a line: two copies of 160 MiB would be held for as long as the
        // client reads.
        drop(reply);
        line.push(b'\n');
        // A client that reads nothing would keep its answer, and its place where nobody else wants that, for ever.
        timeout(PATIENCE, self.write_all(&line)).await.unwrap_or(Err(Gone))
    }

    async fn write_all(&mut self, mut line: &[u8]) -> Result<(), Gone> {
        while !line.is_empty() {
            let written = match timeout(BLOCKED, self.connection.write(line)).await {
                Ok(written) => written?,
                Err(_) => match self.place.while_blocked(self.connection.write(line)).await {
                    Some(written) => written?,
                    None => {
                        tracing::info!("a client that takes nothing of its answer is hung up on for another");
                        return Err(Gone);
                    }
                },
            };
            line = &line[written..];
        }
        Ok(())
    }
}

impl Sink for Asker<'_> {
    async fn item(&mut self, item: Item) -> Result<(), Gone> {
        // The prompt is stored: its bytes are the turn's from now on, however long that runs.
        if matches!(item, Item::Progress(Progress::Opened { .. })) {
            self.connection.held = None;
        }
        self.send(Reply::Item(item)).await
    }

    async fn end(&mut self, end: Result<Answer, Refusal>) -> Result<(), Gone> {
        self.connection.held = None;
        self.send(end.map_or_else(Reply::Error, Reply::Ok)).await
    }

    /// Ready also when the client speaks out of turn, which ends the connection too.
    async fn gone(&mut self) -> Gone {
        // A connection that cannot be read has ended as well, so that the result does not matter.
        let _end_or_noise = self.connection.reader.fill_buf().await;
        Gone
    }

    /// Whether the client has closed the connection; one that only says no more still listens.
    fn is_gone(&self) -> bool {
        let stream: &UnixStream = self.connection.reader.get_ref().as_ref();
        // No event is asked for: the kernel tells of a hangup in any case, and bytes that the client sends
        // are no hangup.
        let mut asked = [PollFd::new(stream, PollFlags::empty())];
        let polled = poll(&mut asked, Some(&Timespec::default()));
        polled.is_ok() && asked[0].revents().contains(PollFlags::HUP)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// A connection, and the client's end of it.
    fn connected() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (reader, writer) = ours.into_split();
        (Connection { reader: BufReader::new(reader), writer, line: Vec::new(), held: None }, theirs)
    }

    /// More than a socket holds.
    fn answer() -> Result<Answer, Refusal> {
        Err(Refusal::new(Code::Failed, "x".repeat(8 << 20)))
    }

    // The clock is the test's: it goes on when nothing else can.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_hung_up_on_for_another_before_it_is_given_up() {
        let clients = Arc::new(Clients::new(1));
        let mut place = clients.admit().expect("it is free").stays().expect("its own");
        let (mut connection, _reads_nothing) = connected();
        let begun = Instant::now();
        let mut asker = Asker { connection: &mut connection, place: &mut place };
        let newcomer = async {
            loop {
                match clients.admit() {
                    Some(idle) => return idle,
                    None => sleep(BLOCKED / 4).await,
                }
            }
        };
        let (told, _newcomer) = tokio::join!(asker.end(answer()), newcomer);
        assert_eq!(told, Err(Gone));
        assert!(begun.elapsed() >= BLOCKED && begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_whose_place_nobody_wants_is_waited_for_and_then_given_up() {
        let clients = Arc::new(Clients::new(1));
        let mut place = clients.admit().expect("it is free").stays().expect("its own");
        let (mut connection, mut client) = connected();
        // It begins to read when it has been blocked for long.
        let reads = async {
            sleep(PATIENCE / 2).await;
            tokio::io::copy(&mut client, &mut tokio::io::sink()).await.expect("read")
        };
        let told = async {
            let mut asker = Asker { connection: &mut connection, place: &mut place };
            let told = asker.end(answer()).await;
            drop(connection);
            told
        };
        let (told, read) = tokio::join!(told, reads);
        assert_eq!(told, Ok(()));
        assert!(read > 8 << 20, "all of it: {read}");
        let (mut connection, _reads_nothing) = connected();
        let begun = Instant::now();
        let told = Asker { connection: &mut connection, place: &mut place }.end(answer()).await;
        assert_eq!((told, begun.elapsed()), (Err(Gone), PATIENCE));
    }
}
