//! A chat service: a session for each user, over TCP on loopback.
//!
//! Run with `cargo run -p treewarden-examples --example 10_chat_service [ADDRESS]`, then `nc 127.0.0.1 PORT`, say your name,
//! and chat. Come back later, from another connection: your conversation is there. At the end of stdin the service
//! stops in good order.
//!
//! Users come and go, so their sessions are made of a template while the service runs: `examples/chat.toml` says of what, and
//! how many CLIs may live. A user who is silent for a minute costs a few kilobytes, and nothing after an hour; the next line
//! goes on with the conversation all the same. One whose CLI dies again and again is given up alone: they are told so, the others
//! notice nothing, and the next visit tries it again.
//!
//! What users say is passed on as it is: `/clear` or `@/etc/passwd` in a line is text to the model, and nothing that the CLI would act
//! on. What they can do is what the model can do for them, so a real service gives it no tools that they may not use.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use treewarden::session::{Answer, SessionState};
use treewarden::tree::NewSessionError;
use treewarden::{Session, Tree, config};
use treewarden_examples::Stage;

/// So many people chat at once at most.
const CONNECTIONS: usize = 64;
/// A line is not longer than this.
const LINE: u64 = 16 << 10;

/// What every connection needs; a cheap clone.
#[derive(Clone)]
struct Service {
    tree: Tree,
}

impl Service {
    /// The session of a user: made of the template if nobody has asked for it yet, or it was removed since.
    async fn session_of(&self, user: &str) -> anyhow::Result<Session> {
        let name = format!("user/{user}");
        if let Some(session) = self.tree.host().session(&name) {
            return Ok(session);
        }
        match self.tree.new_session("chat", &name).await {
            Ok(session) => Ok(session),
            // Another connection of the same user was faster.
            Err(NewSessionError::Taken(_)) => Ok(self.tree.session(&name)),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a visit: a session that was given up is tried again, since what its CLI died of may be mended.
    async fn welcome(&self, user: &str) -> anyhow::Result<()> {
        let session = self.session_of(user).await?;
        if session.status().await?.state == SessionState::GivenUp {
            session.restart().await?;
        }
        Ok(())
    }

    /// Has a line answered. The session is looked up for each: it may have been removed since the last.
    async fn answer(&self, user: &str, line: String) -> anyhow::Result<Answer> {
        // A line of a stranger: never `Prompt::command`, which would have the CLI act on it.
        Ok(self.session_of(user).await?.query(line).await?)
    }

    /// One connection, from the name to the end.
    async fn serve(self, mut stream: TcpStream) -> anyhow::Result<()> {
        let (read, mut write) = stream.split();
        let mut read = BufReader::new(read);
        write.write_all(b"your name?\n").await?;
        let Some(user) = line(&mut read).await? else { return Ok(()) };
        if let Err(error) = self.welcome(&user).await {
            return Ok(write.write_all(format!("sorry: {error}\n").as_bytes()).await?);
        }
        write.write_all(format!("hello, {user}\n").as_bytes()).await?;
        while let Some(text) = line(&mut read).await? {
            // When the user hangs up while the answer is made, the turn still runs: the next visit finds it said.
            let reply = match self.answer(&user, text).await {
                Ok(answer) => format!("{answer}\n"),
                Err(error) => format!("sorry: {error}\n"),
            };
            write.write_all(reply.as_bytes()).await?;
        }
        Ok(())
    }
}

/// The next line that is not empty; `None` at the end.
async fn line(read: &mut (impl AsyncBufReadExt + Unpin)) -> anyhow::Result<Option<String>> {
    loop {
        let mut line = String::new();
        let length = (&mut *read).take(LINE).read_line(&mut line).await?;
        if length == 0 {
            return Ok(None);
        }
        let line = line.trim();
        if !line.is_empty() {
            return Ok(Some(line.to_owned()));
        }
    }
}

/// Ready at the end of stdin.
async fn stdin_ended() {
    let mut buffer = [0; 256];
    let mut stdin = tokio::io::stdin();
    while stdin.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let mut spec = config::load(concat!(env!("CARGO_MANIFEST_DIR"), "/chat.toml"))?;
    stage.cast_tree(&mut spec);
    // A service that is to remember its users over a restart names a folder that stays.
    let tree = Tree::builder(spec).state_dir(stage.path().join("chat")).start().await?;
    let service = Service { tree };

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(&address).await.with_context(|| format!("listen on {address}"))?;
    println!("listening on {}", listener.local_addr()?);

    let mut connections = JoinSet::new();
    let end = stdin_ended();
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                connections.spawn(service.clone().serve(accepted?.0));
            }
        }
    }
    let served = service.tree.host().sessions().len();
    connections.shutdown().await;
    service.tree.stop().await;
    println!("served {served} users");
    Ok(())
}
