//! The start procedure, the same for every (re)spawn: place among the live CLIs, lease, old tree proven gone, resume
//! point, record, spawn.
//!
//! The place comes first: whatever takes a file descriptor, a thread or a look at every process is done by as many
//! sessions at once as CLIs may live, and not by all that wait.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use treewarden_core::session::{
    CrashKind, ExitClass, Opening as Choice, Permanent, PermanentKind, Start, StartFailure,
};
use treewarden_process::{Cookie, NotGone, Program, SpawnError, SpawnErrorKind, Tree, TreeGone};
use treewarden_proto::spec::{Environment, Opening};
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{Lease, LeaseError, SessionRecord};
use treewarden_transcript::{self as transcript, OpenPrompt, Resumable};

use super::Task;
use super::cli::{self, Cli};
use crate::binaries::AWAIT_INITIALIZE;
use crate::events::Happening;
use crate::places::{AllPinned, Place};
use crate::private_files::Private;
use crate::second_door::SecondDoor;
use crate::session::CutOffTools;
use crate::session::desk::{Desk, Legacy};
use crate::warm::{Launch, Warm};

/// Has a resumed CLI carry on the turn that its predecessor was killed in, by itself.
const RERUN: &str = "CLAUDE_CODE_RESUME_INTERRUPTED_TURN";

/// Has a resumed CLI keep a tool call that was cut off, and tell the model that its outcome is unknown; without it the
/// call is dropped, and the tool most often runs again. A CLI that does not know it ignores it.
const SHOW_CUT_OFF: &str = "CLAUDE_CODE_RESUME_SHOWS_CUT_OFF_CALLS";

/// How long the system may take to execute the CLI.
const SPAWN: Duration = Duration::from_secs(30);

/// So long after a transcript could not be used it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Starts a CLI. While the transcript cannot be used, as on a disk that is read-only for a moment, the turns wait, for
/// `start_timeout` at most; neither a place nor a lease is held meanwhile.
pub(super) async fn start(desk: Arc<Desk>, start: Start) -> Result<Box<Cli>, StartFailure> {
    let until = tokio::time::Instant::now() + desk.options().timing().start_timeout;
    let mut waits = false;
    loop {
        let failure = match attempt(&desk, start).await {
            Err(StartFailure::Permanent(failure)) if tokio::time::Instant::now() < until => failure,
            done => return done,
        };
        // A disk that is read-only takes no lease either, which is the first thing that is tried the next time.
        if failure.kind != PermanentKind::Transcript && !(waits && failure.kind == PermanentKind::NoLease) {
            return Err(StartFailure::Permanent(failure));
        }
        if !std::mem::replace(&mut waits, true) {
            tracing::warn!(session = %desk.name, reason = %failure, "a start waits");
        }
        desk.lock().condition.reason = Some(failure.message.as_str().into());
        tokio::time::sleep_until(until.min(tokio::time::Instant::now() + AGAIN)).await;
    }
}

async fn attempt(desk: &Arc<Desk>, start: Start) -> Result<Box<Cli>, StartFailure> {
    let mut environment = environment(desk);
    let cwd = cwd(desk)?;
    let path = find_cli(desk, &environment)?;
    let config_dir = config_dir(&environment, &cwd)?;
    let record = desk.record();
    if let Some(cli) = started_ahead(desk, &record, &path, &environment, &cwd, &config_dir).await? {
        return Ok(cli);
    }
    let place = place(desk).await?;
    let (lease, gone) = lease_and_proof(desk, record.session_id, &config_dir).await?;
    let first = desk.first_open();
    let (opening, open) = opening(desk, &record, &config_dir, start, first, &gone).await?;
    // A CLI that is told so while the turn never reached its transcript would run an older one again; and a newer one where
    // another writer went on behind the turn.
    if start.rerun && open == OpenPrompt::Own {
        environment.insert(RERUN, "1");
    }
    let resumed = !matches!(opening, Opening::Fresh(_));
    if resumed && desk.options().cut_off_tools == CutOffTools::Tell {
        environment.insert(SHOW_CUT_OFF, "1");
    }
    let (mut args, mut door) =
        shut(desk, record.session_id, &opening, &environment, &cwd, &config_dir).await?;
    // A resumed CLI carries a turn on as soon as it is up: nothing of it may run before the session's own settings.
    let on_trial = desk.host.inner.binaries.on_trial(&path).filter(|_| resumed);
    if on_trial.is_some() {
        args.push(AWAIT_INITIALIZE.to_owned());
    }
    desk.put_record(&cwd, &config_dir).map_err(|error| {
        permanent(PermanentKind::Store, format!("the start could not be recorded: {error}"))
    })?;
    let program = Program {
        path,
        args: args.into_iter().map(Into::into).collect(),
        env: environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        cwd,
    };
    let cookie = Cookie::new(record.session_id.to_string());
    let spawning = Box::pin(treewarden_process::spawn(program, cookie, desk.host.inner.containment));
    let spawning = Underway { desk: Arc::clone(desk), spawning: Some((spawning, place)) };
    // What slipped out of a crashed CLI's cgroup is looked for while the next one comes up, and is gone before that one is
    // told anything.
    let (spawned, ended) = tokio::join!(spawning.spawned(), gone.leftovers());
    let (tree, place) = spawned?;
    door.set_cli(tree.leader(), record.session_id);
    if let Err(error) = ended {
        cli::kill(desk, tree, place).await;
        return Err(not_gone(desk, &error));
    }
    // What is copied or carried on from elsewhere must be there: a refusal of it is never answered by a blank start.
    let carried = matches!(opening, Opening::Fork { .. }) || desk.must_exist();
    desk.lock().lease = Some(lease.watch());
    let cli = Cli::new(tree, record.session_id, lease, place, desk.owns_id() && !carried);
    let mut cli = cli.expect("a tree that was just spawned still has its stdout");
    cli.on_trial = on_trial;
    cli.woven = first.filter(|_| open == OpenPrompt::Woven);
    cli.overtaken = first.filter(|_| open == OpenPrompt::Overtaken);
    cli.door = Some(door);
    Ok(Box::new(cli))
}

/// A CLI on its way, and its place: if it is not waited for any more, it is ended before the place is given up.
struct Underway {
    desk: Arc<Desk>,
    spawning: Option<(Task<Result<Tree, SpawnError>>, Place)>,
}

impl Underway {
    async fn spawned(mut self) -> Result<(Tree, Place), StartFailure> {
        let (spawning, _) = self.spawning.as_mut().expect("it is taken below, and when the value is dropped");
        let Ok(spawned) = tokio::time::timeout(SPAWN, spawning).await else {
            return Err(StartFailure::Transient(ExitClass::Crash(CrashKind::StartTimeout)));
        };
        let (_, place) = self.spawning.take().expect("nobody else takes it");
        Ok((spawned.map_err(|error| spawn_failure(&error))?, place))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let Some((spawning, place)) = self.spawning.take() else { return };
        // Without a runtime the dropped future sees to the end of what is spawned.
        let desk = Arc::clone(&self.desk);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(tree) = spawning.await {
                    cli::kill(&desk, tree, place).await;
                }
            });
        }
    }
}

/// Has CLIs kept for the session's next conversation, if its options say so.
pub(in crate::session) async fn keep_warm(desk: &Desk) {
    if desk.options().warm == 0 {
        return;
    }
    let environment = environment(desk);
    // What cannot be started now may be there when the first turn comes.
    let (Ok(path), Ok(cwd)) = (find_cli(desk, &environment), cwd(desk)) else { return };
    let Ok(config_dir) = config_dir(&environment, &cwd) else { return };
    if let Ok(private) = private(desk, &cwd).await {
        want(desk, Launch::new(&desk.options().spec, private, path, environment, cwd, config_dir));
    }
}

fn want(desk: &Desk, launch: Launch) {
    if desk.lock().want.as_ref().is_some_and(|want| want.is_for(&launch, desk.options().warm)) {
        return;
    }
    let want = Warm::want(&desk.host, launch, desk.options().warm);
    let earlier = desk.lock().want.replace(Box::new(want));
    drop(earlier);
}

/// Takes the CLI that has the id of the session's conversation already, if one was promised and is still as it would be
/// started now. Nothing was ever asked under that id, so that it is a new conversation without a look at the disk.
async fn started_ahead(
    desk: &Arc<Desk>,
    record: &SessionRecord,
    path: &Path,
    environment: &Environment,
    cwd: &Path,
    config_dir: &Path,
) -> Result<Option<Box<Cli>>, StartFailure> {
    let warm = &desk.host.inner.warm;
    if desk.options().warm == 0 && warm.is_empty() {
        return Ok(None);
    }
    let (path, cwd_of_it, config) = (path.to_owned(), cwd.to_owned(), config_dir.to_owned());
    let private = private(desk, cwd).await?;
    let launch = Launch::new(&desk.options().spec, private, path, environment.clone(), cwd_of_it, config);
    let taken = warm.take(record.session_id, &launch).await;
    if desk.options().warm > 0 {
        want(desk, launch);
    } else {
        let earlier = desk.lock().want.take();
        drop(earlier);
    }
    let Some(spare) = taken else { return Ok(None) };
    desk.put_record(cwd, config_dir).map_err(|error| {
        permanent(PermanentKind::Store, format!("the start could not be recorded: {error}"))
    })?;
    if let Err(error) = spare.lease.hand_over(&desk.host.store().holder(&desk.name)) {
        tracing::debug!(session = %desk.name, %error, "a lease still names the pool");
    }
    desk.lock().lease = Some(spare.lease.watch());
    // It may have waited for long.
    if let Err(error) = desk.look_at_lease() {
        tracing::warn!(session = %desk.name, %error, "the lease of a CLI that was started ahead is lost");
    }
    Ok(Some(Box::new(Cli::of_spare(desk, record.session_id, *spare))))
}

fn permanent(kind: PermanentKind, message: impl Into<String>) -> StartFailure {
    StartFailure::Permanent(Permanent::new(kind, message))
}

/// What the session's options say that goes in files.
async fn private(desk: &Desk, cwd: &Path) -> Result<Private, StartFailure> {
    let options = desk.options();
    let private = Private::of(&options.spec, cwd, options.timing().start_timeout).await;
    private.map_err(|error| permanent(PermanentKind::BadOption, error))
}

/// The CLI's arguments, with what is secret of them in files; its second door is shut there.
async fn shut(
    desk: &Desk,
    id: SessionId,
    opening: &Opening,
    environment: &Environment,
    cwd: &Path,
    config_dir: &Path,
) -> Result<(Vec<String>, SecondDoor), StartFailure> {
    let options = desk.options();
    let spec = &options.spec;
    let private = private(desk, cwd).await?;
    let mut args = private.args(spec, opening);
    let unwritten = |error| {
        let text = format!("`settings` or `mcp_config` cannot be written for the CLI to read: {error}");
        permanent(PermanentKind::Store, text)
    };
    let files = private.write(desk.host.state_dir(), id).or_else(|error| {
        if spec.settings.is_some() {
            return Err(unwritten(error));
        }
        // A full disk is no reason not to go on: the variable shuts the door as well.
        tracing::warn!(session = %desk.name, %error, "the settings of a CLI cannot be written");
        private.clone().without_settings().write(desk.host.state_dir(), id).map_err(unwritten)
    })?;
    let door = SecondDoor::new(files, environment, config_dir);
    args.extend(door.arguments());
    Ok((args, door))
}

/// The CLI's whole environment.
fn environment(desk: &Desk) -> Environment {
    let mut environment = desk.options().spec.environment(std::env::vars_os());
    environment.remove(RERUN);
    environment.remove(SHOW_CUT_OFF);
    environment
}

fn cwd(desk: &Desk) -> Result<PathBuf, StartFailure> {
    let cwd = match &desk.options().spec.cwd {
        Some(cwd) => cwd.clone(),
        None => std::env::current_dir().map_err(|error| {
            permanent(PermanentKind::CwdMissing, format!("the host's own working directory is gone: {error}"))
        })?,
    };
    if cwd.is_dir() {
        Ok(cwd)
    } else {
        let message = format!("the working directory {} is gone; make it again or set `cwd`", cwd.display());
        Err(permanent(PermanentKind::CwdMissing, message))
    }
}

/// The CLI that the spec names, or the first `claude` on the PATH that the CLI itself would see.
fn find_cli(desk: &Desk, environment: &Environment) -> Result<PathBuf, StartFailure> {
    if let Some(path) = &desk.options().spec.cli_path {
        return Ok(path.clone());
    }
    let path = environment.get("PATH").unwrap_or_default();
    let found = std::env::split_paths(path).map(|dir| dir.join("claude")).find(|file| is_program(file));
    found.ok_or_else(|| {
        let message = "no `claude` on the PATH; install it (npm install -g @anthropic-ai/claude-code) or set `cli_path`";
        permanent(PermanentKind::CliNotFound, message)
    })
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A place among the live CLIs. Whoever has to wait for one keeps no lease meanwhile, and so no proof.
async fn place(desk: &Arc<Desk>) -> Result<Place, StartFailure> {
    let request = desk.host.inner.places.ask(desk);
    if request.waits() {
        // Its file is closed when the desk's lock is free again.
        let legacy = desk.lock().legacy.take();
        drop(legacy);
    }
    request.granted().await.map_err(|AllPinned { limit }| {
        let message = format!(
            "pinned sessions have all of the {limit} places for live CLIs; raise `max_live` or pin fewer sessions"
        );
        permanent(PermanentKind::NoPlace, message)
    })
}

/// The right to write the conversation, and the proof that nobody else does.
///
/// The lease comes before the proof: to prove a tree gone is to end what is left of it, and only the holder may do that.
async fn lease_and_proof(
    desk: &Desk,
    id: SessionId,
    config_dir: &Path,
) -> Result<(Lease, TreeGone), StartFailure> {
    let legacy = desk.lock().legacy.take();
    if let Some(Legacy { gone, lease, .. }) = legacy.filter(|legacy| legacy.id == id) {
        if lease.is_in(config_dir) {
            return Ok((lease, gone));
        }
        // The session's options name another config directory now, and with it another conversation of this id.
        drop(lease);
        return Ok((self::lease(desk, id, config_dir)?, gone));
    }
    let lease = lease(desk, id, config_dir)?;
    desk.forget_completed();
    let gone = treewarden_process::prove_gone(Cookie::new(id.to_string())).await;
    let gone = gone.map_err(|error| not_gone(desk, &error))?;
    desk.note_gone(&gone);
    Ok((lease, gone))
}

fn not_gone(desk: &Desk, error: &NotGone) -> StartFailure {
    desk.note_not_gone(error);
    let message = format!("processes of the session's last CLI cannot be ended: {error}");
    permanent(PermanentKind::NotGone, message)
}

fn lease(desk: &Desk, id: SessionId, config_dir: &Path) -> Result<Lease, StartFailure> {
    let store = desk.host.store();
    Lease::acquire(config_dir, store.dir(), id, &store.holder(&desk.name)).map_err(|error| match error {
        LeaseError::Held(held) => permanent(
            PermanentKind::Held,
            format!("the conversation {id} is held by {held}; only one may write it"),
        ),
        LeaseError::Shortage { message } => {
            tracing::warn!(session = %desk.name, message, "failed to take a lease");
            StartFailure::Transient(ExitClass::Crash(CrashKind::NoResources))
        }
        other => permanent(PermanentKind::NoLease, other.to_string()),
    })
}

/// Decides between a new conversation and a resumed one, and prepares the transcript for the latter.
async fn opening(
    desk: &Desk,
    record: &SessionRecord,
    config_dir: &Path,
    start: Start,
    first: Option<TurnId>,
    _gone: &TreeGone,
) -> Result<(Opening, OpenPrompt), StartFailure> {
    let id = record.session_id;
    match start.opening {
        Some(Choice::Fresh) => return Ok((Opening::Fresh(id), OpenPrompt::Absent)),
        // The CLI knows of more than the transcript holds: whatever it would run again is not known to be the open turn.
        Some(Choice::Resume) => return Ok((Opening::Resume(id), OpenPrompt::Absent)),
        None => {}
    }
    if !desk.owns_id() && !desk.must_exist() && transcript::find(config_dir, id).is_some() {
        let message = format!(
            "the session id {id} is already in use by another conversation; `resume` it to carry it on, or choose another"
        );
        return Err(permanent(PermanentKind::IdInUse, message));
    }
    let known = desk.known(record).map_err(|error| {
        permanent(PermanentKind::Store, format!("what the conversation holds cannot be looked up: {error}"))
    })?;
    let config_dir = config_dir.to_owned();
    let prepared =
        tokio::task::spawn_blocking(move || transcript::prepare(&config_dir, id, &known, first)).await;
    match prepared {
        Ok(Ok(Resumable::NothingPersisted)) if desk.must_exist() => {
            let message = format!(
                "the conversation {id} is lost: no transcript of it is left; `clear` the session to begin a new one"
            );
            Err(permanent(PermanentKind::ConversationLost, message))
        }
        Ok(Ok(Resumable::NothingPersisted)) => {
            let fresh = Opening::Fresh(id);
            Ok((desk.fork_from().map_or(fresh, |from| Opening::Fork { from, to: id }), OpenPrompt::Absent))
        }
        Ok(Ok(Resumable::At { open, kept, mended, path, first, put_back, .. })) => {
            desk.note_kept(&kept);
            if let Some(first) = first {
                desk.note_first(id, first);
            }
            if let Some(from) = put_back {
                desk.note_put_back(&path, &from);
            }
            desk.note_first_name(Some(path));
            if mended > 0 {
                tracing::warn!(session = %desk.name, mended, "a part of the conversation was never written; it goes on without that");
                desk.publish(Happening::Incomplete { gaps: mended });
            }
            Ok((Opening::Resume(id), open))
        }
        Ok(Ok(Resumable::Lost { reason })) => Err(permanent(
            PermanentKind::ConversationLost,
            format!("the conversation {id} is lost: {reason}; `clear` the session to begin a new one"),
        )),
        Ok(Err(error)) => {
            let folder = error.path().parent().unwrap_or_else(|| error.path()).display();
            let message = format!(
                "failed to {error}; nothing of the conversation {id} is lost: see that {folder} can be read and written, \
                 and ask again"
            );
            Err(permanent(PermanentKind::Transcript, message))
        }
        Err(_) => Err(StartFailure::Transient(ExitClass::Crash(CrashKind::NoResources))),
    }
}

/// Where the CLI keeps its transcripts: by the environment that it gets, and not by ours.
fn config_dir(environment: &Environment, cwd: &Path) -> Result<PathBuf, StartFailure> {
    let lookup = |name: &str| environment.get(name).map(OsStr::to_owned);
    transcript::config_dir(lookup, cwd)
        .map_err(|error| permanent(PermanentKind::BadOption, format!("failed to {error}")))
}

fn spawn_failure(error: &SpawnError) -> StartFailure {
    let kind = match error.kind() {
        SpawnErrorKind::NotFound | SpawnErrorKind::NotExecutable => PermanentKind::CliNotFound,
        SpawnErrorKind::CwdMissing => PermanentKind::CwdMissing,
        SpawnErrorKind::InvalidArguments => PermanentKind::BadOption,
        _ => {
            tracing::warn!(%error, "failed to spawn a CLI");
            return StartFailure::Transient(ExitClass::Crash(CrashKind::NoResources));
        }
    };
    permanent(kind, format!("failed to {error}"))
}
