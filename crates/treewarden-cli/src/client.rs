//! The client's side of the control socket.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use treewarden_service::{Code, Refusal, Reply, Request};
use treewarden_store::dir::dangling;

use crate::args::Place;
use crate::daemon::may_speak;
use crate::exit::{Exit, Failure};
use crate::lines::{MAX_ANSWER, read_line};
use crate::output;

/// A tree that says nothing for so long does not answer: it is stopped, or has no processor.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of a request whose client gives up.
const NOT_LATER: &str = "What was asked for is not done later, unless it has begun";

/// How long a client waits before it knocks again at a socket whose queue is full.
const KNOCK: Duration = Duration::from_millis(50);

/// The tree ended, or hung up, before it said how what was asked for came out.
#[derive(Debug)]
pub(crate) struct TreeEnded;

impl fmt::Display for TreeEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tree ended before it answered")
    }
}

impl std::error::Error for TreeEnded {}

/// A connection to a running tree.
pub(crate) struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    line: Vec<u8>,
    /// What was asked last.
    op: &'static str,
}

impl Client {
    /// Connects to the tree at this place.
    pub(crate) async fn connect(place: &Place) -> anyhow::Result<Self> {
        let place = place.socket(None)?;
        let stream = reach(place.path()).await.map_err(|error| place.tell(error))?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer, line: Vec::new(), op: "" })
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: &Request) -> anyhow::Result<()> {
        self.op = request.op();
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        match self.writer.write_all(&line).await {
            // Whoever is turned away is told why and then not heard: what was said is read by `next`, which also says
            // so where nothing was.
            Err(error) if !is_hangup(&error) => Err(unheard(&error).into()),
            _ => Ok(()),
        }
    }

    /// Waits for the next line of the answer. Cancelled, it may be called again: what came of a line is kept.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Reply<Value, Value>> {
        let read = read_line(&mut self.reader, &mut self.line, MAX_ANSWER).await;
        if !read.or_else(|error| if is_hangup(&error) { Ok(false) } else { Err(unheard(&error)) })? {
            return Err(TreeEnded.into());
        }
        let read = serde_json::from_slice(&self.line)
            .context("the tree's answer is not understood: it is of another version than this command, and is to be restarted");
        self.line.clear();
        read
    }

    /// Waits for the next item, or for the end of the answer.
    pub(crate) async fn item(&mut self) -> anyhow::Result<Result<Value, Value>> {
        match self.next().await? {
            Reply::Item(item) => Ok(Ok(item)),
            Reply::Ok(value) => Ok(Err(value)),
            Reply::Error(refusal) => Err(self.refused(refusal).await.into()),
        }
    }

    /// A refusal in words. What this command asks is a request: one that calls it none is of another version.
    async fn refused(&mut self, refusal: Refusal) -> Failure {
        if refusal.code != Code::BadRequest {
            return refusal.into();
        }
        let version = self.version().await;
        match of_another_version(self.op, &refusal.message, version.as_deref()) {
            Some(words) => Failure::new(Exit::Failed, words),
            None => refusal.into(),
        }
    }

    /// The version of the daemon; `None` if it does not say.
    async fn version(&mut self) -> Option<String> {
        let op = self.op;
        let hello = async {
            self.send(&Request::Hello {}).await.ok()?;
            match self.next().await.ok()? {
                Reply::Ok(hello) => hello["version"].as_str().map(str::to_owned),
                _ => None,
            }
        };
        let version = timeout(PATIENCE, hello).await.ok().flatten();
        self.op = op;
        version
    }

    /// Asks who serves, and waits for that: a prompt is sent to nobody who says nothing.
    pub(crate) async fn greet(&mut self) -> anyhow::Result<()> {
        let greeted = async {
            self.send(&Request::Hello {}).await?;
            self.item().await
        };
        let unsent = || silent("What this command asks was not sent, and so nothing of it is done later");
        let _who_serves = timeout(PATIENCE, greeted).await.map_err(|_| unsent())??;
        Ok(())
    }

    /// Sends a prompt and waits until it is taken up, by a turn or among those that wait, or refused: for as long as the tree
    /// answers others, since a store may be slow.
    pub(crate) async fn ask(
        &mut self,
        request: &Request,
        place: &Place,
    ) -> anyhow::Result<Result<Value, Value>> {
        // First: whoever sends a prompt to a daemon that is suspended does not know what becomes of it.
        self.greet().await?;
        // The kernel holds few bytes for a daemon that reads nothing.
        timeout(PATIENCE, self.send(request)).await.map_err(|_| silent(NOT_LATER))??;
        let mut said = false;
        loop {
            match timeout(PATIENCE, self.item()).await {
                Ok(first) => return first,
                Err(_) if answers(place).await => {
                    if !std::mem::replace(&mut said, true) {
                        output::note("(the tree has the prompt, and has not taken it up yet; waiting)");
                    }
                }
                Err(_) => return Err(silent(&of_an_unseen_turn(request)).into()),
            }
        }
    }

    /// Waits for the next item, or for the end of the answer, of a tree that has all of it at hand.
    pub(crate) async fn item_soon(&mut self) -> anyhow::Result<Result<Value, Value>> {
        timeout(PATIENCE, self.item()).await.map_err(|_| silent(NOT_LATER))?
    }

    /// Sends a request and waits for the end of its answer, of which the first line is to come soon.
    pub(crate) async fn call(&mut self, request: &Request) -> anyhow::Result<Value> {
        // Request and first answer have one deadline: the kernel takes a connection, and some bytes, for a
        // daemon that is suspended.
        let until = Instant::now() + PATIENCE;
        timeout_at(until, self.send(request)).await.map_err(|_| silent(NOT_LATER))??;
        if let Err(value) = timeout_at(until, self.item()).await.map_err(|_| silent(NOT_LATER))?? {
            return Ok(value);
        }
        // The request has begun: from here on its end is waited for, however long that takes.
        let mut said = false;
        loop {
            match timeout(PATIENCE, self.item()).await {
                Ok(Ok(Ok(_))) => {}
                Ok(ended) => return Ok(ended?.unwrap_or_else(|value| value)),
                // The person is told once: a clear may wait for many turns.
                Err(_) if !std::mem::replace(&mut said, true) => {
                    output::note("(it has begun; waiting for its end)");
                }
                Err(_) => {}
            }
        }
    }
}

/// Says that the daemon is of another version, if that is why it does not take a request.
fn of_another_version(op: &str, refused: &str, version: Option<&str>) -> Option<String> {
    const OWN: &str = env!("CARGO_PKG_VERSION");
    let of =
        version.map_or_else(|| "which it does not say".to_owned(), |version| format!("version {version}"));
    // In the words of serde, which reads requests in every version.
    let unknown = |what: &str| {
        let (_, behind) = refused.split_once(&format!("unknown {what} `"))?;
        behind.split_once('`').map(|(word, _)| word)
    };
    if unknown("variant").is_some() {
        return Some(format!("the daemon is older ({of}) and does not know `{op}`: restart it"));
    }
    if let Some(field) = unknown("field") {
        return Some(format!("the daemon is older ({of}) and does not know `{field}` of `{op}`: restart it"));
    }
    version.filter(|version| *version != OWN).map(|version| {
        format!("the daemon is of version {version}, and this command of {OWN}; it does not take `{op}`: {refused}")
    })
}

/// Whether a tree answers anybody at this moment, which one that is suspended does not.
async fn answers(place: &Place) -> bool {
    let greeted = async {
        let mut client = Client::connect(place).await.ok()?;
        client.send(&Request::Hello {}).await.ok()?;
        Some(client.next().await)
    };
    // Also one that hangs up, or has no place for one more, does something.
    matches!(timeout(PATIENCE, greeted).await, Ok(Some(_)))
}

/// What is known of a prompt that a tree was sent which then said nothing, and how to learn the rest.
fn of_an_unseen_turn(request: &Request) -> String {
    let becomes = match request {
        Request::Ask { detach: true, .. } => "goes on",
        _ => "is interrupted, since nobody waits for it any more",
    };
    format!(
        "Whether a turn has begun is not known: one that has {becomes}, and a prompt that was not read yet is not obeyed later. Before \
         it is asked again, look: when the tree answers, `treewarden events` shows each turn that began (turn_opened), and \
         `treewarden turn` with its id what became of it"
    )
}

/// A connection to whoever listens at a path, if that is one to whom a prompt may be told.
async fn reach(path: &Path) -> anyhow::Result<UnixStream> {
    let stream = connect(path).await.map_err(|error| no_daemon(path, &error))?;
    // Before anything is sent: whoever may write to a shared folder can put a socket there, and would be
    // told the prompt.
    trust(path, &stream)?;
    Ok(stream)
}

/// A socket's queue is full for a moment when many connect at once; one that stays so belongs to a tree that does not run.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    let until = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path).await {
            // `EAGAIN` is the kernel's answer where the listener's queue is full; that passes when the daemon
            // takes somebody.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                sleep(KNOCK).await;
            }
            connected => return connected,
        }
    }
}

/// The other end of the socket is gone, also in the middle of a line: what a killed tree began to say is no answer.
fn is_hangup(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// An error of the socket in words alone: as an error of its own kind it could pass for that of our output, whose reader may
/// go without a failure.
fn unheard(error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot talk to the tree: {error}"))
}

/// A tree that says nothing, and what that means for what was asked.
fn silent(what_follows: &str) -> Failure {
    let text = format!(
        "the tree took the connection and says nothing for {} s: it is starting and waits (its log says for what), is suspended, or \
         has no processor. {what_follows}",
        PATIENCE.as_secs()
    );
    Failure::new(Exit::Busy, text)
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
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            let what_to_do = dangling(path).unwrap_or_else(|| {
                "start one with `treewarden run`; of one that runs elsewhere name the state directory with --state-dir, as `state_dir` of \
                 its treewarden.toml says, or the socket with --socket"
                    .to_owned()
            });
            format!("no tree listens on {}; {what_to_do}", path.display())
        }
        io::ErrorKind::WouldBlock => {
            let text = format!(
                "the queue of {} is full, and the tree took no client for {} s: it is suspended, or has no processor",
                path.display(),
                PATIENCE.as_secs()
            );
            return Failure::new(Exit::Busy, text);
        }
        _ => format!("cannot connect to {}: {error}", path.display()),
    };
    Failure::new(Exit::NoDaemon, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_does_not_know_what_is_asked_is_said_to_be_older_whatever_it_says_of_it() {
        let variant = "unknown variant `adopt`, expected one of `hello`, `ps`";
        let said = |refused, version| of_another_version("adopt", refused, version).unwrap_or_default();
        assert_eq!(
            said(variant, Some("0.0.9")),
            "the daemon is older (version 0.0.9) and does not know `adopt`: restart it"
        );
        // Also where the number of the version is the same, or is not said.
        let same = said(variant, Some(env!("CARGO_PKG_VERSION")));
        assert!(same.starts_with("the daemon is older (version"), "{same}");
        assert!(said(variant, None).contains("does not know `adopt`"));
        let field = said("unknown field `force`, expected `name` at line 1", None);
        assert!(field.contains("does not know `force` of `adopt`"), "{field}");
        let other = said("there was no such thing", Some("0.0.9"));
        assert!(other.contains("0.0.9") && other.contains("there was no such thing"), "{other}");
        assert_eq!(
            said("a is no name", Some(env!("CARGO_PKG_VERSION"))),
            "",
            "it is the request's own fault"
        );
    }
}
