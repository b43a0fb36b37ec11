//! The start procedure, the same for every (re)spawn: place among the live CLIs, lease, old tree proven gone, resume
//! point, record, spawn.
//!
//! The place comes first: whatever takes a file descriptor, a thread or a look at every process is done by as many
//! sessions at once as CLIs may live, and not by all that wait.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use treewarden_core::session::{Opening as Choice, Passing, Permanent, PermanentKind, Start, StartFailure};
use treewarden_process::{
    Cookie, ProcessTree, Program, SpawnError, SpawnErrorKind, TreeGone, is_full, is_shortage,
};
use treewarden_proto::spec::Opening;
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{SessionRecord, StoreError, StoreErrorKind};
use treewarden_transcript::{self as transcript, Known, OpenPrompt, Resumable};

use super::Task;
use super::ahead::started_ahead;
use super::cli::{self, Cli};
use super::launch::{RERUN, SHOW_CUT_OFF, Surroundings, permanent, secrets, shut};
use super::lease::{lease_and_proof, not_gone, place};
use super::memory::limited;
use super::version;
use crate::binaries::AWAIT_INITIALIZE;
use crate::events::Happening;
use crate::places::Place;
use crate::session::CutOffTools;
use crate::session::desk::{Desk, Shown};

/// How long the system may take to execute the CLI.
const SPAWN: Duration = Duration::from_secs(30);

/// How long a start waits before it tries a transcript again that could not be used.
const AGAIN: Duration = Duration::from_secs(1);

/// Starts a CLI. While the transcript cannot be used, as on a disk that is read-only for a moment, the turns wait, for
/// `start_timeout` at most; neither a place nor a lease is held meanwhile.
///
/// `waits` is told while it waits for a place.
pub(super) async fn start(
    desk: Arc<Desk>,
    start: Start,
    waits: watch::Sender<bool>,
) -> Result<Box<Cli>, StartFailure> {
    let until = tokio::time::Instant::now() + desk.options().timing().start_timeout;
    let mut said = false;
    loop {
        let failure = match attempt(&desk, start, &waits).await {
            Err(StartFailure::Permanent(failure)) if tokio::time::Instant::now() < until => failure,
            Ok(cli) => return limited(&desk, cli).await,
            done => return done,
        };
        // A disk that is read-only takes no lease either, which is the first thing that is tried the next time.
        // Every other failure is told at once: it does not pass by waiting.
        if failure.kind != PermanentKind::Transcript && !(said && failure.kind == PermanentKind::NoLease) {
            return Err(StartFailure::Permanent(failure));
        }
        // Said once: a disk that stays as it is would fill the log, a line a second.
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(session = %desk.name, reason = %failure, "a start waits");
        }
        desk.note(Shown::Trouble(Some(failure.message.as_str().into())));
        tokio::time::sleep_until(until.min(tokio::time::Instant::now() + AGAIN)).await;
    }
}

async fn attempt(
    desk: &Arc<Desk>,
    start: Start,
    waits: &watch::Sender<bool>,
) -> Result<Box<Cli>, StartFailure> {
    // Before anything is started ahead or recorded: any record would end the loss.
    if let Some(lost) = desk.lost() {
        return Err(permanent(PermanentKind::ConversationLost, lost.message));
    }
    let mut around = Surroundings::of(desk)?;
    // Before a place is taken: a session that waits for a usage limit needs none.
    desk.set_account(&around.environment, &around.config_dir);
    if let Some(left) = desk.limited_start() {
        return Err(StartFailure::Limited(left));
    }
    version::fit(desk, &around, None).await?;
    let record = desk.record();
    if let Some(cli) = started_ahead(desk, &record, &around).await? {
        // It was started alike, from this path; which file lay there then, nobody knows.
        desk.host.inner.binaries.came_up(&around.path);
        return Ok(cli);
    }
    // The place before the lease: otherwise a session that waits for its place keeps the conversation locked,
    // and a file open, for as long. The lease before the proof, since to prove is to end what is left.
    let place = place(desk, waits).await?;
    // Behind the wait for the place, in which a token may have been renewed; before the lease, which is not kept locked for it.
    secrets(desk, &mut around.environment).await?;
    let (lease, gone) = lease_and_proof(desk, record.session_id, &around.config_dir).await?;
    let first = desk.first_open();
    let (opening, open, wrote) = opening(desk, &record, &around.config_dir, start, first, &gone).await?;
    version::fit(desk, &around, wrote.as_deref()).await?;
    // With `RERUN` a CLI runs the turn again that its transcript ends with. If the open turn never reached
    // the transcript, that is an older turn; if another writer went on behind it, that is the writer's.
    if start.rerun && open == OpenPrompt::Own {
        around.environment.insert(RERUN, "1");
    }
    let resumed = !matches!(opening, Opening::Fresh(_));
    if resumed && desk.options().cut_off_tools == CutOffTools::Tell {
        around.environment.insert(SHOW_CUT_OFF, "1");
    }
    let (mut args, mut door) = shut(desk, record.session_id, &opening, &around).await?;
    // A resumed CLI carries a turn on as soon as it is up: nothing of it may run before the session's own settings.
    // A CLI that begins a conversation has nothing to carry on, and needs no flag that it may not know.
    let on_trial = desk.host.inner.binaries.on_trial(&around.path).filter(|_| resumed);
    if on_trial.is_some() {
        args.push(AWAIT_INITIALIZE.into());
    }
    // Before the spawn: a host that dies right behind it must find under which id, and in which folder, the
    // CLI may have begun to write.
    desk.put_record(&around.cwd, &around.config_dir).await.map_err(|error| {
        permanent(PermanentKind::Store, format!("the start could not be recorded: {error}"))
    })?;
    let path = around.path.clone();
    let program = Program {
        path: around.path,
        args,
        env: around.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        cwd: around.cwd,
    };
    let cookie = Cookie::new(record.session_id.to_string());
    let spawning = Box::pin(treewarden_process::spawn(program, cookie, desk.host.inner.containment));
    let spawning = Underway { desk: Arc::clone(desk), spawning: Some((spawning, place)) };
    // What slipped out of a crashed CLI's cgroup is looked for while the next CLI comes up: both take some
    // time. It is gone before that CLI is told anything, or two would write one conversation.
    // told anything.
    let (spawned, ended) = tokio::join!(spawning.spawned(), gone.leftovers());
    let (tree, place) = spawned?;
    // What a killed CLI leaves in the folders of its kind is named after its process id, which is known from
    // here on.
    door.set_cli(tree.leader(), record.session_id);
    if let Err(error) = ended {
        cli::kill(desk, tree, place).await;
        return Err(not_gone(desk, &error));
    }
    // What is copied or carried on from elsewhere must be there: a refusal of it is never answered by a blank start.
    let carried = matches!(opening, Opening::Fork { .. }) || desk.must_exist();
    desk.watch(&lease);
    // Looked up now, as a CLI that refuses the conversation says so before any turn of it can be settled.
    let may_be_blank = resumed && !carried && desk.owns_id() && desk.must_hold_nothing().await;
    let cli = Cli::new(tree, record.session_id, lease, place, desk.owns_id() && !carried);
    let mut cli = cli.expect("a tree that was just spawned still has its stdout");
    cli.path = Some(path);
    cli.on_trial = on_trial;
    cli.may_be_blank = may_be_blank;
    cli.woven = first.filter(|_| open == OpenPrompt::Woven);
    cli.overtaken = first.filter(|_| open == OpenPrompt::Overtaken);
    cli.door = Some(door);
    Ok(Box::new(cli))
}

/// A CLI on its way, and its place: if it is not waited for any more, it is ended before the place is given up.
struct Underway {
    desk: Arc<Desk>,
    spawning: Option<(Task<Result<ProcessTree, SpawnError>>, Place)>,
}

impl Underway {
    async fn spawned(mut self) -> Result<(ProcessTree, Place), StartFailure> {
        let (spawning, _) = self.spawning.as_mut().expect("it is taken below, and when the value is dropped");
        // `self` still has what is being spawned, and its drop sees to the end of that.
        let Ok(spawned) = tokio::time::timeout(SPAWN, spawning).await else {
            let how = format!("the system has not executed it within {} s", SPAWN.as_secs());
            return Err(StartFailure::Passing(Passing { how, words: String::new(), spawned: true }));
        };
        let (_, place) = self.spawning.take().expect("nobody else takes it");
        Ok((spawned.map_err(|error| spawn_failure(&self.desk, &error))?, place))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let Some((spawning, place)) = self.spawning.take() else { return };
        // Outside a runtime both are dropped: the future ends what it has spawned, and the place is free at
        // once.
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

/// Decides between a new conversation and a resumed one, and prepares the transcript for the latter; with the version of the
/// CLI that wrote that.
async fn opening(
    desk: &Desk,
    record: &SessionRecord,
    config_dir: &Path,
    start: Start,
    first: Option<TurnId>,
    // `_gone` is not read: it is an argument so that no caller can choose before the old tree is proven gone.
    _gone: &TreeGone,
) -> Result<(Opening, OpenPrompt, Option<String>), StartFailure> {
    let id = record.session_id;
    match start.opening {
        Some(Choice::Fresh) => return Ok((Opening::Fresh(id), OpenPrompt::Absent, None)),
        // The CLI knows of more than the transcript holds: whatever it would run again is not known to be the open turn.
        Some(Choice::Resume) => return Ok((Opening::Resume(id), OpenPrompt::Absent, None)),
        None => {}
    }
    if !desk.owns_id() && !desk.must_exist() && found(config_dir, id)?.is_some() {
        let message = format!(
            "the session id {id} is already in use by another conversation; `resume` it to carry it on, or choose another"
        );
        return Err(permanent(PermanentKind::IdInUse, message));
    }
    let known = known(desk, record).await.map_err(|error| {
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
            Ok((
                desk.fork_from().map_or(fresh, |from| Opening::Fork { from, to: id }),
                OpenPrompt::Absent,
                None,
            ))
        }
        Ok(Ok(Resumable::At { open, kept, mended, path, first, put_back, written_by, .. })) => {
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
            Ok((Opening::Resume(id), open, written_by))
        }
        Ok(Ok(Resumable::Lost { reason })) => Err(permanent(
            PermanentKind::ConversationLost,
            format!("the conversation {id} is lost: {reason}; `clear` the session to begin a new one"),
        )),
        Ok(Err(error)) => {
            let folder = error.path().parent().unwrap_or_else(|| error.path()).display();
            let advice = format!(
                "; nothing of the conversation {id} is lost: see that {folder} can be read and written, and ask again"
            );
            Err(unread(error.io(), format!("failed to {error}"), &advice))
        }
        // The look at the transcript panicked, or the runtime ends. Neither says that the conversation is
        // lost.
        Err(error) => {
            let how = format!("the look at its transcript failed: {error}");
            Err(StartFailure::Passing(Passing { how, words: String::new(), spawned: true }))
        }
    }
}

/// The conversation's transcript. Folders that cannot be looked through are not taken for ones without it.
fn found(config_dir: &Path, id: SessionId) -> Result<Option<PathBuf>, StartFailure> {
    transcript::find(config_dir, id).map_err(|error| {
        let failed = format!("failed to look for a transcript below {}: {error}", config_dir.display());
        unread(&error, failed, "")
    })
}

/// What a start is that cannot use a transcript; `advice` is for what lasts.
fn unread(error: &std::io::Error, failed: String, advice: &str) -> StartFailure {
    if is_shortage(error) || is_full(error) {
        StartFailure::Shortage(failed)
    } else {
        permanent(PermanentKind::Transcript, failed + advice)
    }
}

/// What the conversation holds, as far as the store knows; one that another program has locked is waited for.
async fn known(desk: &Desk, record: &SessionRecord) -> Result<Known, StoreError> {
    let until = desk.start_waits_until();
    loop {
        let known = desk.known(record).await;
        match known {
            Err(error)
                if error.kind() == StoreErrorKind::Busy
                    && until.is_none_or(|until| Instant::now() < until) =>
            {
                tracing::warn!(session = %desk.name, %error, "a start waits");
                desk.note(Shown::Trouble(Some(error.to_string().into())));
                tokio::time::sleep(AGAIN).await;
            }
            known => return known,
        }
    }
}

/// What a spawn that failed is.
pub(super) fn spawn_failure(desk: &Desk, error: &SpawnError) -> StartFailure {
    let text = format!("failed to {error}");
    let passes = |how| StartFailure::Passing(Passing { how, words: String::new(), spawned: false });
    match error.kind() {
        SpawnErrorKind::NotFound | SpawnErrorKind::NotExecutable => {
            // As it was noted: by the place that the options give, or where it was found on the PATH.
            let has_come_up = desk.has_come_up() || desk.host.inner.binaries.has_come_up(error.path());
            StartFailure::without(Permanent::new(PermanentKind::CliNotFound, text), has_come_up)
        }
        SpawnErrorKind::CwdMissing => {
            StartFailure::without(Permanent::new(PermanentKind::CwdMissing, text), desk.has_come_up())
        }
        SpawnErrorKind::InvalidArguments => permanent(PermanentKind::BadOption, text),
        SpawnErrorKind::NoResources => StartFailure::Shortage(text),
        // It is being written, or the system says something that nobody has seen yet.
        _ => passes(text),
    }
}
