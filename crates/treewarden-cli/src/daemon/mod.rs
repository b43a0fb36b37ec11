//! `treewarden run`: a tree, and the socket on which it is talked to.

mod asking;
mod connection;
mod journal;
mod orphans;
mod reload;
mod requests;
mod signals;
mod socket;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::{Mutex, Notify, Semaphore};
use treewarden::Tree;
use treewarden::tree::{TreeError, TreeErrorKind};

use crate::args::Place;
use crate::exit::{Exit, Failure};
use crate::output;
use journal::Journal;
pub(crate) use journal::said;
use orphans::Reaper;
use signals::{Signals, Wish};
use socket::ControlSocket;

/// So many clients are served at once; the next ones wait.
const CLIENTS: usize = 256;

/// What the connections share.
#[derive(Debug)]
struct Shared {
    tree: Tree,
    journal: Journal,
    /// The config file, by its absolute path.
    file: PathBuf,
    /// Held by whoever reads the file again and changes the tree.
    reloading: Mutex<()>,
}

/// Runs the tree of a file until it ends or is told to.
pub(crate) async fn run(file: &Path, place: &Place) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let _reaper = Reaper::start()?;
    let builder = Tree::from_file(file).map_err(|error| Failure::new(Exit::Config, error))?;
    let chosen = builder.spec().state_dir.clone();
    let state_dir = place.state_dir(chosen.as_ref())?;
    let socket = ControlSocket::bind(&place.socket(chosen.as_ref())?)?;
    let tree = tokio::select! {
        started = builder.state_dir(&state_dir).start() => started.map_err(not_started)?,
        // What was started is stopped when the future is dropped.
        () = signals.end() => return Ok(ExitCode::SUCCESS),
    };
    let file = std::path::absolute(file)?;
    let shared = Arc::new(Shared { journal: Journal::start(&tree), tree, file, reloading: Mutex::default() });
    let sessions = shared.tree.host().sessions().len();
    tracing::info!(sessions, socket = %socket.path().display(), "the tree is up");
    output::note(format!(
        "{sessions} sessions are up; listening on {} (pid {})",
        socket.path().display(),
        std::process::id()
    ));
    let ended_by_itself = serve(&socket, &shared, &mut signals).await;
    if ended_by_itself {
        let reason = shared.tree.wait().await;
        let text = format!(
            "the tree ended by itself ({reason}): a child crashed more often than max_restarts allows, or was \
             significant; with give_up = \"park\" such a child stays down and its siblings live on"
        );
        return Err(Failure::new(Exit::Failed, text).into());
    }
    tracing::info!("stopping; a second signal ends at once");
    let code = tokio::select! {
        _reason = shared.tree.stop() => ExitCode::SUCCESS,
        () = signals.end() => {
            tracing::warn!("ending at once: the system ends the CLIs, and the next start sweeps up what is left");
            ExitCode::FAILURE
        }
    };
    drop(socket);
    Ok(code)
}

/// Serves clients until a signal asks for the end (`false`) or the tree ends by itself (`true`).
async fn serve(socket: &ControlSocket, shared: &Arc<Shared>, signals: &mut Signals) -> bool {
    let hangup = Notify::new();
    tokio::select! {
        ended_by_itself = accept(socket, shared, signals, &hangup) => ended_by_itself,
        never = reload::on_hangup(shared, &hangup) => match never {},
    }
}

async fn accept(
    socket: &ControlSocket,
    shared: &Arc<Shared>,
    signals: &mut Signals,
    hangup: &Notify,
) -> bool {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let ended = shared.tree.wait();
    tokio::pin!(ended);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            (place, socket.accept().await)
        };
        let (place, stream) = tokio::select! {
            accepted = accepted => accepted,
            wish = signals.next() => match wish {
                Wish::End => return false,
                Wish::Reload => {
                    hangup.notify_one();
                    continue;
                }
            },
            _reason = &mut ended => return true,
        };
        match stream {
            Ok(stream) => {
                let shared = Arc::clone(shared);
                tokio::spawn(async move {
                    connection::serve(stream, &shared).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Too many open files, as a rule: a pause lets some close.
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

fn not_started(error: TreeError) -> Failure {
    let exit = if error.kind() == TreeErrorKind::Held { Exit::Held } else { Exit::Failed };
    Failure::new(exit, error)
}
