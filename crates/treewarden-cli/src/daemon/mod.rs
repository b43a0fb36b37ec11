//! `treewarden run`: a tree, its service, and the socket on which that is talked to.
//!
//! Here is what a process has and a tree has not: signals, orphans, a socket and its clients. What can be asked is the
//! service's.

mod clients;
mod connection;
mod look;
mod orphans;
mod signals;
mod socket;

use std::convert::Infallible;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::Notify;
use treewarden::Tree;
use treewarden::config::TreeSpec;
use treewarden::tree::{TreeBuilder, TreeError, TreeErrorKind};
use treewarden_service::Service;

use crate::args::Place;
use crate::capacity::{self, ClientLimits, Machine};
use crate::exit::{Exit, Failure};
use crate::log::Log;
use crate::output;
use clients::Clients;
use orphans::Reaper;
use signals::{Signals, Wish};
use socket::ControlSocket;
pub(crate) use socket::may_speak;

/// How long the end waits for the store to be closed.
const TO_CLOSE: Duration = Duration::from_secs(10);

/// How long the end waits for clients to be told how what they asked for came out; what they are told fits in a socket's buffer,
/// as a rule, so that only a client that reads nothing costs it all.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What the connections share.
#[derive(Debug)]
struct Shared {
    service: Service,
    clients: Arc<Clients>,
}

/// Runs the tree of a file until it ends or is told to.
pub(crate) async fn run(file: &Path, place: &Place, log: &Log) -> anyhow::Result<ExitCode> {
    // The signals are caught first: one without a handler ends the process at once, and the CLIs with it in
    // no order.
    let mut signals = Signals::new()?;
    let _reaper = Reaper::start()?;
    // Beside the runtime, which would see no signal meanwhile: a pipe may be silent for long.
    let reading = tokio::task::spawn_blocking({
        let file = file.to_owned();
        move || Tree::from_file(file)
    });
    let read = tokio::select! {
        read = reading => read?,
        () = signals.end() => return Ok(ExitCode::SUCCESS),
    };
    let (builder, limits) = within_limits(read.map_err(|error| Failure::new(Exit::Config, error))?)?;
    let chosen = builder.spec().state_dir.clone();
    let state_dir = place.state_dir(chosen.as_ref())?;
    // The socket is bound before the tree starts: a second daemon on it is refused before it has started
    // anything.
    let mut socket = ControlSocket::bind(&place.socket(chosen.as_ref())?)?;
    make_room(builder.spec());
    let tree = tokio::select! {
        started = builder.state_dir(&state_dir).start() => started.map_err(not_started)?,
        // What was started is stopped when the future is dropped.
        () = signals.end() => return Ok(ExitCode::SUCCESS),
    };
    let file = std::path::absolute(file)?;
    let service = Service::new(tree.clone()).config_file(file).places(limits.lasting, limits.waiting);
    let shared = Arc::new(Shared { service, clients: Arc::new(Clients::new(limits.connected)) });
    let sessions = tree.host().sessions().len();
    tracing::info!(sessions, socket = %socket.path().display(), "the tree is up");
    let are = if sessions == 1 { "is" } else { "are" };
    let up = format!(
        "{} {are} up; listening on {} (pid {})",
        output::count(sessions, "session"),
        socket.path().display(),
        std::process::id()
    );
    log.say(tracing::Level::INFO, up);
    let ended_by_itself = serve(&mut socket, &shared, &mut signals).await;
    if ended_by_itself {
        let reason = tree.wait().await;
        say_last_word(&shared.service).await;
        let text = format!(
            "the tree ended by itself ({reason}): a child crashed more often than max_restarts allows, or was \
             significant; with give_up = \"park\", which is the default under one_for_one, a child that crashes too often \
             stays down and its siblings live on"
        );
        return Err(Failure::new(Exit::Failed, text).into());
    }
    tracing::info!("stopping; a second signal ends at once");
    let stop = async {
        // What is unsaved is said while the CLIs still live: a signal cannot be refused, as a `stop` is.
        shared.service.say_unsaved().await;
        let reason = tree.stop().await;
        say_last_word(&shared.service).await;
        // Tasks that end a moment later may still have a handle of it, and the next start would say that the machine went down.
        if tokio::time::timeout(TO_CLOSE, shared.service.tree().host().store().close()).await.is_err() {
            tracing::error!("the disk does not answer: the state database is not closed in order");
        }
        reason
    };
    let code = tokio::select! {
        _reason = stop => ExitCode::SUCCESS,
        () = signals.end() => {
            tracing::warn!("ending at once: the system ends the CLIs, and the next start sweeps up what is left");
            ExitCode::FAILURE
        }
    };
    drop(socket);
    Ok(code)
}

/// Has the tree go by what the machine lets it have, and says how many clients may be beside its CLIs: a tree that runs out of
/// descriptors serves nobody. One that could serve nobody at all is not started.
fn within_limits(builder: TreeBuilder) -> Result<(TreeBuilder, ClientLimits), Failure> {
    if let Err(error) = treewarden_process::raise_open_files() {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let machine = Machine::here(treewarden_process::limits());
    if let Some(said) = machine.too_few_files() {
        return Err(Failure::new(Exit::Failed, said));
    }
    if let Some(said) = capacity::too_many(builder.spec(), machine) {
        tracing::warn!("{said}");
    }
    let max_live = capacity::max_live(builder.spec(), machine);
    let clients = ClientLimits::of(machine.open_files, max_live);
    if clients.are_few() {
        tracing::info!("the limit of open files leaves room for {clients} beside the CLIs");
    }
    let Some(max_live) = max_live else { return Ok((builder, clients)) };
    if let Some(capacity) = machine.capacity().filter(|_| builder.spec().max_live.is_none()) {
        tracing::info!(max_live, "the file does not say `max_live`: this machine lets live {capacity}");
    }
    Ok((builder.max_live(max_live), clients))
}

/// Sees to it that the kernel can keep limits, where the file has some: before the first CLI, which is born below it.
fn make_room(spec: &TreeSpec) {
    if !spec.any_session(|session| session.limits.is_any()) {
        return;
    }
    match treewarden_process::make_room_for_limits() {
        Ok(()) => tracing::debug!("the kernel can keep limits of sessions"),
        // What follows for each limit is said when it is met.
        Err(why) => tracing::info!(why, "the kernel can keep no limits of sessions"),
    }
}

/// Lets the clients be told that their turns stay open: the process would end while that is on its way.
async fn say_last_word(service: &Service) {
    if tokio::time::timeout(LAST_WORD, service.all_told()).await.is_err() {
        tracing::warn!("a client that reads nothing is not told how what it asked for came out");
    }
}

/// Serves clients until a signal asks for the end (`false`) or the tree ends by itself (`true`).
async fn serve(socket: &mut ControlSocket, shared: &Arc<Shared>, signals: &mut Signals) -> bool {
    let (hangup, look) = (Notify::new(), Notify::new());
    tokio::select! {
        ended_by_itself = accept(socket, shared, signals, [&hangup, &look]) => ended_by_itself,
        never = reload(&shared.service, &hangup) => match never {},
        never = look::keep(shared, &look) => match never {},
    }
}

/// Reads the file again whenever somebody sends a hangup; several that come during a reload are one.
async fn reload(service: &Service, hangup: &Notify) -> Infallible {
    loop {
        // Hangups during a reload are one reload more, and none is lost: `notify_one` keeps one.
        hangup.notified().await;
        match service.reload().await {
            Ok(reloaded) => tracing::info!("reloaded:\n{}", reloaded.text),
            Err(refusal) => tracing::error!("not reloaded: {}", Failure::from(refusal)),
        }
    }
}

async fn accept(
    socket: &mut ControlSocket,
    shared: &Arc<Shared>,
    signals: &mut Signals,
    hangups: [&Notify; 2],
) -> bool {
    let mut ticks = look::ticks();
    let mut trouble = None;
    let mut shortage = Shortage::default();
    let ended = shared.service.tree().wait();
    tokio::pin!(ended);
    loop {
        let stream = tokio::select! {
            stream = socket.accept() => stream,
            wish = signals.next() => match wish {
                Wish::End => return false,
                Wish::Reload => {
                    hangups.iter().for_each(|hangup| hangup.notify_one());
                    put_back(socket, shared, &mut trouble);
                    continue;
                }
            },
            _ = ticks.tick() => {
                put_back(socket, shared, &mut trouble);
                continue;
            }
            _reason = &mut ended => return true,
        };
        match stream {
            Ok(stream) => {
                shortage.pause = Duration::ZERO;
                admit(stream, shared);
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                tracing::warn!(%error, "a client is turned away");
            }
            Err(error) => {
                if shortage.is_to_be_said() {
                    tracing::warn!(%error, "cannot accept a client");
                }
                tokio::time::sleep(shortage.longer()).await;
            }
        }
    }
}

/// A want of descriptors that keeps clients out.
#[derive(Debug, Default)]
struct Shortage {
    pause: Duration,
    said: Option<Instant>,
}

impl Shortage {
    /// How long to wait until the next look: a moment at first, since a client that was hung up on closes its descriptor in that,
    /// and each client behind it would wait as long.
    fn longer(&mut self) -> Duration {
        self.pause = (self.pause * 2).clamp(Duration::from_millis(1), Duration::from_millis(100));
        self.pause
    }

    /// It comes and goes with each client of a storm, and would fill the log.
    fn is_to_be_said(&mut self) -> bool {
        const AGAIN: Duration = Duration::from_secs(60);
        let is_due = self.said.is_none_or(|said| said.elapsed() >= AGAIN);
        if is_due {
            self.said = Some(Instant::now());
        }
        is_due
    }
}

/// Serves a client if there is a place for it, or can be made.
fn admit(stream: UnixStream, shared: &Arc<Shared>) {
    let Some(place) = shared.clients.admit() else {
        connection::turn_away(&stream);
        return;
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move { connection::serve(stream, place, &shared).await });
}

/// Puts a socket back that was removed, and says so; what cannot be mended is said once.
fn put_back(socket: &mut ControlSocket, shared: &Shared, trouble: &mut Option<String>) {
    let earlier = trouble.take();
    match socket.look_again() {
        Ok(None) => {}
        Ok(Some(what)) => {
            tracing::error!("{what}");
            shared.service.tree().host().note_removed(what, true);
        }
        Err(error) => {
            let why = format!("the control socket cannot be put back: {error:#}");
            // A trouble is told when it changes: the look comes by every few seconds.
            if earlier.as_ref() != Some(&why) {
                tracing::error!("{why}");
                shared.service.tree().host().note_removed(why.as_str(), false);
            }
            *trouble = Some(why);
        }
    }
}

fn not_started(error: TreeError) -> Failure {
    let exit = if error.kind() == TreeErrorKind::Held { Exit::Held } else { Exit::Failed };
    Failure::new(exit, error)
}
