//! The CLI that an engine owns: its tree, its pipes, its lease and its place among the live ones.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use treewarden_core::limits::{Limits, Size};
use treewarden_core::session::{ExitClass, ExitFacts, Permanent, PermanentKind, StartFailure};
use treewarden_process::{
    Ladder, Line, LineReader, LineWriter, Meter, NotGone, ProcessTree, Rung, StderrTail, TreeGone,
};
use treewarden_proto::control::HostRequest;
use treewarden_proto::frame::ResultFrame;
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::Lease;

use super::verbatim::Version;
use super::{Engine, Event, Task, Wake};
use crate::binaries::{AWAIT_INITIALIZE, Binary};
use crate::events::Happening;
use crate::places::Place;
use crate::scales::OnScales;
use crate::second_door::SecondDoor;
use crate::session::desk::{Desk, Inherited, Shown};
use crate::warm::Spare;

/// How long what a dead CLI left in its pipe is read.
const DRAIN: Duration = Duration::from_secs(1);

/// One CLI and what belongs to it.
pub(super) struct Cli {
    tree: Option<ProcessTree>,
    pid: u32,
    meter: Meter,
    /// The limits that it has, and whether the kernel keeps that of its memory.
    pub(super) limits: (Limits, bool),
    /// Where its memory is looked at.
    pub(super) on_scales: Option<OnScales>,
    /// How much it took when that was too much.
    pub(super) too_large: Option<Size>,
    containment: Box<str>,
    writer: Option<LineWriter>,
    reader: LineReader,
    stderr: StderrTail,
    lease: Lease,
    id: SessionId,
    pub(super) place: Place,
    /// The id was chosen by us, so that a refusal of it is about our own transcript.
    owns_id: bool,
    /// It was asked to initialize before this session had it; what it has printed since.
    pub(super) asked_already: Option<Vec<Line>>,
    /// The turn whose prompt its predecessor wove into a turn of its own: it is asked to go on with it, and not sent again.
    pub(super) woven: Option<TurnId>,
    /// The turn behind whose prompt another writer went on: it is neither sent again nor gone on with.
    pub(super) overtaken: Option<TurnId>,
    /// The journal demands nothing of the conversation, which is the session's own.
    pub(super) may_be_blank: bool,
    pub(super) started: bool,
    /// Its version, as far as it is known.
    pub(super) version: Version,
    /// What was executed, if this session did it.
    pub(super) path: Option<PathBuf>,
    /// The program, if it was given a flag that it may not know.
    pub(super) on_trial: Option<Binary>,
    /// Let go when the CLI is gone, as it removes what the CLI was given and left behind.
    pub(super) door: Option<SecondDoor>,
    pub(super) at_eof: bool,
    startup_failure: Option<String>,
    /// What it said when it refused the session's settings. A result that it prints after that does not take it back.
    pub(super) initialize_refused: Option<String>,
    errors: String,
}

/// How a CLI is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// In good order, so that its transcript is flushed.
    Ladder,
    /// By SIGTERM: its turn is left as it stands.
    Terminate,
    /// At once.
    Kill,
    /// It ended by itself; what it left behind is ended.
    Gone,
}

/// A tree on its way to its end.
pub(super) struct Closing {
    ending: Option<Task<Result<TreeGone, NotGone>>>,
    done: Option<Result<TreeGone, NotGone>>,
    asked: bool,
    drained_by: Option<tokio::time::Instant>,
}

impl Closing {
    pub(super) fn is_closed(&self) -> bool {
        self.done.is_some()
    }

    /// Until when what is left in the pipe is read.
    pub(super) fn drained_by(&self) -> Option<tokio::time::Instant> {
        self.drained_by
    }
}

impl Cli {
    pub(super) fn new(
        mut tree: ProcessTree,
        id: SessionId,
        lease: Lease,
        place: Place,
        owns_id: bool,
    ) -> Option<Self> {
        let pipes = (tree.take_stdin(), tree.take_stdout()?);
        Some(Self::of(tree, pipes, id, lease, place, owns_id))
    }

    /// A CLI that was brought up before this session needed one.
    pub(super) fn of_spare(desk: &Arc<Desk>, id: SessionId, spare: Spare) -> Self {
        let Spare { tree, reader, writer, lease, place, door, lines } = spare;
        let cli = Self::of(tree, (Some(writer), reader), id, lease, place.adopt(desk), true);
        Self { asked_already: Some(lines), door: Some(door), ..cli }
    }

    fn of(
        tree: ProcessTree,
        (writer, reader): (Option<LineWriter>, LineReader),
        id: SessionId,
        lease: Lease,
        place: Place,
        owns_id: bool,
    ) -> Self {
        Self {
            pid: tree.pid().get(),
            meter: tree.meter(),
            limits: Default::default(),
            on_scales: None,
            too_large: None,
            containment: tree.containment().to_string().into(),
            writer,
            reader,
            stderr: tree.stderr_tail(),
            tree: Some(tree),
            lease,
            id,
            place,
            owns_id,
            asked_already: None,
            woven: None,
            overtaken: None,
            may_be_blank: false,
            started: false,
            version: Version::Unknown,
            path: None,
            on_trial: None,
            door: None,
            at_eof: false,
            startup_failure: None,
            initialize_refused: None,
            errors: String::new(),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Writes a line, now if the pipe has room, and otherwise as soon as it has.
    pub(super) fn write(&mut self, line: Bytes) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.push(line)
        {
            // A dead CLI shows itself by its exit, one that does not read by its silence.
            tracing::debug!(pid = self.pid, %error, "a line was not written");
        }
    }

    pub(super) fn containment(&self) -> Box<str> {
        self.containment.clone()
    }

    /// What it has said on stderr, as long as it is not up.
    pub(super) fn words_of_the_start(&self) -> Option<String> {
        (!self.started).then(|| last_lines(&self.stderr.text()).to_owned())
    }

    /// Remembers what a result says about a start that failed.
    pub(super) fn note_result(&mut self, result: &ResultFrame) {
        self.startup_failure.clone_from(&result.startup_failure_reason);
        self.errors = result.errors.as_deref().unwrap_or_default().join("; ");
    }
}

/// Waits for whatever the CLI does next; each branch may be dropped without loss.
pub(super) async fn wake(
    cli: &mut Option<Box<Cli>>,
    ending: bool,
    may_read: bool,
    lines: &mut Vec<Line>,
) -> Wake {
    let Some(Cli { tree, writer, reader, at_eof, .. }) = cli.as_deref_mut() else {
        return std::future::pending().await;
    };
    let may_read = may_read && !*at_eof;
    tokio::select! {
        // In this order, so that a CLI that prints without a pause can neither keep an interrupt from being
        // written nor its own exit from being seen.
        biased;
        result = flush(writer.as_mut()) => Wake::Written(result),
        () = exit(tree.as_ref(), ending) => Wake::Gone,
        // A pipe that cannot be read says as much as one that has ended: the exit of the CLI tells how it
        // ended.
        more = reader.next_batch(lines), if may_read => Wake::Lines(more.unwrap_or(false)),
    }
}

/// Writes what waits; pending while nothing does.
async fn flush(writer: Option<&mut LineWriter>) -> io::Result<()> {
    match writer.filter(|writer| !writer.is_flushed()) {
        Some(writer) => writer.flush().await,
        None => std::future::pending().await,
    }
}

/// Waits for the CLI to end by itself.
async fn exit(tree: Option<&ProcessTree>, ending: bool) {
    match tree.filter(|_| !ending) {
        Some(tree) => drop(tree.exited().await),
        None => std::future::pending().await,
    }
}

/// Waits until the tree that is being ended is gone.
pub(super) async fn closed(closing: &mut Option<Closing>) {
    let Some(closing) = closing else { return std::future::pending().await };
    let Some(ending) = &mut closing.ending else { return std::future::pending().await };
    closing.done = Some(ending.as_mut().await);
    // A future that is ready must not be polled again, and the engine's loop polls this branch each time.
    closing.ending = None;
}

/// Ends the CLI of an engine that was killed; its place is given up when its tree is gone.
///
/// Its lease is given up at once: the next engine proves the tree gone before it starts another.
pub(super) fn leave(desk: &Arc<Desk>, cli: Option<Box<Cli>>) {
    let Some(Cli { tree: Some(tree), place, door, .. }) = cli.map(|cli| *cli) else { return };
    // Without a runtime the tree is dropped here, and a dropped tree is ended by a thread of its own.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let desk = Arc::clone(desk);
        runtime.spawn(async move {
            kill(&desk, tree, place).await;
            // Last: the door removes the files that the CLI was given and what it leaves, which a CLI that
            // still lives would read, or leave once more.
            drop(door);
        });
    }
}

/// Ends a CLI that nobody waits for, and gives its place up when it is gone.
pub(super) async fn kill(desk: &Desk, tree: ProcessTree, place: Place) {
    match tree.stop(ladder(How::Kill), None).await {
        Ok(gone) => desk.note_gone(&gone),
        Err(error) => desk.note_not_gone(&error),
    }
    // Not before: a place that is given up while the tree still lives lets another CLI start beside it, so
    // that more than `max_live` live.
    drop(place);
}

impl Engine {
    /// Writes a line to the CLI, if there is one.
    pub(super) fn write(&mut self, line: Bytes) {
        if let Some(cli) = &mut self.cli {
            cli.write(line);
        }
    }

    /// Begins to end the CLI; what it still prints is read meanwhile.
    pub(super) fn begin_closing(&mut self, how: How) {
        if self.starting.take().is_some() {
            // Dropping the start procedure ends whatever it had spawned; the next start proves it gone.
            return self.handle(Event::Exited(ExitClass::Clean));
        }
        // A start that waits for a usage limit has no CLI, and nobody at work on one.
        let Some(cli) = &mut self.cli else { return self.handle(Event::Exited(ExitClass::Clean)) };
        let Some(tree) = cli.tree.take() else { return };
        // The rungs write to stdin themselves; a writer that stayed here would keep the pipe open when they
        // close it.
        let (ladder, stdin) = (ladder(how), cli.writer.take());
        let asked = how != How::Gone;
        let ending: Task<_> = Box::pin(tree.stop(ladder, stdin));
        self.closing = Some(Closing { ending: Some(ending), done: None, asked, drained_by: None });
        // From now on the pipe is read whoever consumes the turn: a CLI whose pipe is full would wait for a
        // reader, and so end by no rung but the kill.
        self.full = None;
    }

    /// The tree is gone; what it left in its pipe is read before the exit is told.
    pub(super) fn closed(&mut self) {
        // A process outside the tree that was handed the pipe keeps it open, so that its end may never come.
        let at_eof = self.cli.as_ref().is_none_or(|cli| cli.at_eof);
        if at_eof {
            self.exited();
        } else if let Some(closing) = &mut self.closing {
            closing.drained_by = Some(tokio::time::Instant::now() + DRAIN);
        }
    }

    /// Tells the machine that the CLI is gone, and how it ended.
    pub(super) fn exited(&mut self) {
        let (Some(mut cli), Some(closing)) = (self.cli.take(), self.closing.take()) else { return };
        let stderr = cli.stderr.text();
        let gone = match closing.done {
            Some(Ok(gone)) => gone,
            Some(Err(error)) => {
                self.desk.note_not_gone(&error);
                return self.not_gone(&error);
            }
            None => return,
        };
        self.desk.note_gone(&gone);
        drop(cli.door.take());
        let status = gone.status();
        let ids = self.desk.fork_from().into_iter().chain([cli.id]).map(|id| id.to_string());
        let ids: Vec<String> = ids.collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let facts = ExitFacts {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| ExitStatusExt::signal(&status)),
            stderr: &stderr,
            startup_failure: cli.initialize_refused.as_deref().or(cli.startup_failure.as_deref()),
            errors: &cli.errors,
            asked: closing.asked,
            killed_for: self.machine.killed_for().filter(|_| closing.asked),
            ids: &ids,
            started: cli.started,
            limit: cli.on_scales.as_ref().and_then(|scales| scales.limit_of(gone.kernel_kills())),
        };
        let class = ExitClass::of(&facts);
        let unknown_flag = self.unknown_flag(&class, cli.on_trial);
        // A CLI that ended at the flag that was tried on it is started again without that, and is no failure
        // that a status should show.
        if unknown_flag.is_none() {
            self.show_exit(&class, status.as_ref(), &stderr);
        }
        let failure = match () {
            () if unknown_flag.is_some() => unknown_flag,
            // Only of an id that is ours: under one that the user chose, a transcript may be somebody else's
            // conversation.
            () if cli.owns_id && class.is_id_in_use() => class.permanent().map(StartFailure::IdInUse),
            // Only where the journal demands nothing of the transcript: otherwise a blank conversation would
            // begin in place of the one that is lost.
            () if cli.may_be_blank && class.is_conversation_lost() => {
                class.permanent().map(StartFailure::NoConversation)
            }
            // Nobody's crash yet: another is tried, and what it said is told if none comes up.
            () if !cli.started && class.permanent().is_none() => {
                Some(StartFailure::passing(&class, last_lines(stderr.trim())))
            }
            () => None,
        };
        // Lease and proof are kept over a crash alone, so that no other host comes in between. After every
        // other end the lease is given up, and then the proof says nothing of whoever took it since.
        if matches!(class, ExitClass::Crash(_) | ExitClass::OutOfMemory(_)) {
            self.desk.leave_to_next(Inherited { id: cli.id, gone, lease: cli.lease });
        }
        // The machine is told last: it may ask for the next start at once, and that start looks for what is
        // left here.
        self.handle(match failure {
            Some(failure) => Event::StartFailed(failure),
            None => Event::Exited(class),
        });
    }

    /// A CLI that ended at the flag that was tried on it is to be started without it.
    fn unknown_flag(&self, class: &ExitClass, on_trial: Option<Binary>) -> Option<StartFailure> {
        let (ExitClass::Permanent(permanent), Some(binary)) = (class, on_trial) else { return None };
        if permanent.kind != PermanentKind::BadOption || !permanent.message.contains(AWAIT_INITIALIZE) {
            return None;
        }
        // Noted for the program's file: no other session of this host pays for the same trial.
        self.desk.host.inner.binaries.refused(binary);
        self.desk.note(Shown::AwaitsInitialize(false));
        Some(StartFailure::UnknownFlag(permanent.clone()))
    }

    /// What is left of a tree must not meet a new one: the session cannot start again by itself.
    fn not_gone(&mut self, error: &NotGone) {
        let permanent = Permanent::new(
            PermanentKind::NotGone,
            format!("failed to {error}; end it by hand, then restart the session"),
        );
        self.handle(Event::Exited(ExitClass::Permanent(permanent)));
    }

    /// Shows what the status says of a CLI that was spawned, but for its process id: that is told with the state.
    pub(super) fn show_cli(&mut self) {
        let Some(cli) = &self.cli else { return };
        self.desk.note(Shown::Spawned { containment: cli.containment() });
    }

    fn show_exit(&self, class: &ExitClass, status: Option<&ExitStatus>, stderr: &str) {
        let how = status.map_or_else(|| class.to_string(), |status| format!("{class} ({status})"));
        let tail = stderr.trim();
        let line = if tail.is_empty() { how.clone() } else { format!("{how}: {}", last_lines(tail)) };
        if *class != ExitClass::Clean {
            tracing::warn!(session = %self.desk.name, exit = %line, "a CLI ended");
        }
        self.desk.note(Shown::Exited(line.as_str().into()));
        self.desk.publish(Happening::Exited { class: line });
    }

    /// A write that failed: the CLI is gone, which its exit will say.
    pub(super) fn written(&mut self, result: &io::Result<()>) {
        if let Err(error) = result {
            tracing::debug!(session = %self.desk.name, %error, "a line was not written");
        }
    }
}

/// The end of stderr, short enough for a table.
fn last_lines(text: &str) -> &str {
    // A cut in the middle of a character would panic at the slice.
    let from = text.len().saturating_sub(2000);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(from);
    &text[from..]
}

fn ladder(how: How) -> Ladder {
    let seconds = Duration::from_secs;
    match how {
        // An idle CLI is gone some 30 ms after `end_session`, one with a background shell after 0.16 s
        // (2.1.332) or 1.6 s (2.1.330). One that does not read its stdin is sent SIGTERM after 4 s.
        How::Ladder => Ladder::kill()
            .rung(Rung::WriteLine(HostRequest::EndSession.encode("tw-end")), seconds(3))
            .rung(Rung::CloseStdin, seconds(1))
            .rung(Rung::Terminate, seconds(3)),
        // `end_session` is for an idle CLI. A turn that runs is left as it stands, for the next start to
        // carry on.
        How::Terminate => Ladder::kill().rung(Rung::Terminate, seconds(3)),
        How::Kill | How::Gone => Ladder::kill(),
    }
}
