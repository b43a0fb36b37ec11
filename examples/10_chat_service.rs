//! A chat service: one named session for each user, over TCP on loopback.
//!
//! Run with `cargo run -p treewarden-examples --example 10_chat_service [ADDRESS]`, then `nc 127.0.0.1 PORT`, say your name,
//! and chat. Come back later, from another connection: your conversation is there. At the end of stdin the service
//! stops in good order.
//!
//! Users come and go, so their sessions are children of a dynamic supervisor. A user who is silent for a minute costs
//! a few kilobytes: the CLI is parked, and the next line resumes it. At most four CLIs live at a time; who comes fifth
//! gets the place of the one that was idle for longest.
//!
//! What users say is passed on as it is: `/clear` or `@/etc/passwd` in a line is text to the model, and nothing that the CLI would act
//! on. What they can do is what the model can do for them, so a real service gives it no tools that they may not use.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use treewarden::{ExitReason, Host, Session, SessionName, SessionOptions, SessionSpec, Supervisor};
use treewarden_examples::Stage;

/// So many people chat at once at most.
const CONNECTIONS: usize = 64;
/// A line is not longer than this.
const LINE: u64 = 16 << 10;

/// What every connection needs; a cheap clone.
#[derive(Clone)]
struct Service {
    host: Host,
    users: Supervisor,
    spec: SessionSpec,
}

impl Service {
    /// The session of a user, started if nobody has asked for it yet.
    async fn session_of(&self, user: &str) -> anyhow::Result<Session> {
        let name: SessionName = format!("user/{user}").parse()?;
        if let Some(session) = self.host.session(name.as_str()) {
            return Ok(session);
        }
        let options =
            SessionOptions::from(self.spec.clone().name(name.clone())).idle_timeout(Duration::from_secs(60));
        let started = self.users.start_child(options.child_spec(&self.host)?).await;
        // Another connection of the same user may have been faster.
        match (started, self.host.session(name.as_str())) {
            (_, Some(session)) => Ok(session),
            (started, None) => Err(anyhow::anyhow!("the session did not start: {:?}", started.err())),
        }
    }

    /// One connection, from the name to the end.
    async fn serve(self, mut stream: TcpStream) -> anyhow::Result<()> {
        let (read, mut write) = stream.split();
        let mut read = BufReader::new(read);
        write.write_all(b"your name?\n").await?;
        let Some(user) = line(&mut read).await? else { return Ok(()) };
        let session = match self.session_of(&user).await {
            Ok(session) => session,
            Err(error) => return Ok(write.write_all(format!("sorry: {error}\n").as_bytes()).await?),
        };
        write.write_all(format!("hello, {user}\n").as_bytes()).await?;
        while let Some(text) = line(&mut read).await? {
            // A line of a stranger: never `Prompt::command`, which would have the CLI act on it.
            // When the user hangs up while the answer is made, the turn still runs: the next visit finds it said.
            let reply = match session.query(text).await {
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
    // A service that is to remember its users over a restart names a folder that stays.
    let host = Host::options().state_dir(stage.path().join("chat")).max_live(4).open()?;
    let users = Supervisor::builder().name("users").dynamic(Some(10_000)).start().await?;
    let service = Service { host, users: users.clone(), spec: stage.spec() };

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
    let served = service.host.sessions().len();
    connections.shutdown().await;
    users.stop(ExitReason::Shutdown).await;
    println!("served {served} users");
    Ok(())
}
