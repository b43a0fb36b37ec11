//! One CLI that is brought up ahead of its session, from its spawn to the moment when it is taken or ended.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use treewarden_process::{
    ContainmentPolicy, Cookie, Ladder, Line, LineReader, LineWriter, ProcessTree, Rung,
};
use treewarden_proto::SessionName;
use treewarden_proto::control::{ControlError, HostRequest};
use treewarden_proto::frame::{Body, Frame, FrameKind};
use treewarden_store::Lease;

use super::Warm;
use super::pool::{Listed, Reply, Stage};
use crate::places::SparePlace;
use crate::second_door::SecondDoor;

/// The id of the first request to a CLI, under which it is asked to initialize.
pub(crate) const INITIALIZE: &str = "tw-1";

/// How long a CLI may take to be spawned, and to initialize.
const COME_UP: Duration = Duration::from_secs(60);

/// How long a CLI that is ended may clean up.
const CLEAN_UP: Duration = Duration::from_secs(1);

/// More than this before the answer to `initialize` is no CLI that could be used.
const BACKLOG: usize = 16 << 20;

/// A CLI that nothing but `initialize` was written to.
pub(crate) struct Spare {
    pub(crate) tree: ProcessTree,
    pub(crate) reader: LineReader,
    pub(crate) writer: LineWriter,
    pub(crate) lease: Lease,
    pub(crate) place: SparePlace,
    pub(crate) door: SecondDoor,
    /// What it has printed so far; the answer to `initialize` is in it, or still to come.
    pub(crate) lines: Vec<Line>,
}

/// How it came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A session has it, or it was told to end, or it is too old.
    Served,
    /// There was no place for it, or a session needed it.
    Crowded,
    /// It ended by itself, or never came up.
    Failed,
}

/// Brings one up, keeps it for `age`, and gives it to whoever takes it; when this is ready, it is taken or gone.
pub(super) async fn run(
    listed: Listed,
    mut orders: oneshot::Receiver<Reply>,
    warm: Weak<Warm>,
    starting: Arc<Semaphore>,
    age: Duration,
) -> (End, Duration) {
    let began = Instant::now();
    let starting = tokio::select! {
        biased;
        // The orders come first: a CLI that nobody wants any more is not spawned only because its turn came
        // at the same moment.
        _nobody_takes_it_yet = &mut orders => return (End::Served, Duration::ZERO),
        starting = starting.acquire() => starting,
    };
    // The spawn is not given up half-way: what it makes is then taken or ended in good order.
    let mut spare = match spawn(&listed, &warm).await {
        Ok(spare) => Box::new(spare),
        Err(end) => return (end, began.elapsed()),
    };
    let wanted = spare.place.wanted();
    let (mut end, reply) = tokio::select! {
        // The orders come first: a session that takes the CLI has it, though its place is wanted at the same
        // moment.
        biased;
        order = &mut orders => (End::Served, order.ok()),
        () = wanted => (End::Crowded, None),
        end = live(&mut spare, &listed, starting.ok(), age) => (end, None),
    };
    if let Some(reply) = reply {
        // A CLI that died while nobody read its exit would be handed over as one that lives, and the first
        // turn would pay for a restart.
        if spare.tree.has_exited() {
            end = End::Failed;
        } else {
            match reply.send(spare) {
                Ok(()) => return (end, began.elapsed()),
                Err(back) => spare = back,
            }
        }
    }
    // Its time to clean up is no part of its life, by which the refill judges whether it died at once.
    let lived = began.elapsed();
    spare.end().await;
    // The slot goes only now: whoever takes by this id waits for that, and then starts a CLI of its own under
    // the id.
    drop((orders, listed));
    (end, lived)
}

/// The life of a CLI that nobody takes.
async fn live(
    spare: &mut Spare,
    listed: &Listed,
    starting: Option<SemaphorePermit<'_>>,
    age: Duration,
) -> End {
    match tokio::time::timeout(COME_UP, spare.initialized()).await {
        Ok(Ok(())) => {}
        Ok(Err(end)) => return end,
        Err(_) => return failed(&"it did not come up in time"),
    }
    // From here on the next one may come up: those that only wait need no processor.
    drop(starting);
    listed.set_stage(Stage::Ready);
    tokio::select! {
        status = spare.tree.exited() => failed(&format_args!("{status} before it was used")),
        () = tokio::time::sleep(age) => End::Served,
    }
}

async fn spawn(listed: &Listed, warm: &Weak<Warm>) -> Result<Spare, End> {
    let (place, lease, containment) = reserve(listed, warm)?;
    let launch = &listed.pool.launch;
    let Some(state_dir) = warm.upgrade().map(|warm| warm.state.path().to_owned()) else {
        // Nothing was ever written under the id: the lease leaves no file behind.
        lease.forget();
        return Err(End::Served);
    };
    let mut door = match launch.shut(&state_dir, listed.id) {
        Ok(door) => door,
        Err(error) => {
            lease.forget();
            return Err(failed(&format_args!("its settings or MCP servers cannot be written: {error}")));
        }
    };
    let (program, cookie) = (launch.program(listed.id, &door), Cookie::new(listed.id.to_string()));
    let spawning = treewarden_process::spawn(program, cookie, containment);
    let spawned = match tokio::time::timeout(COME_UP, spawning).await {
        Ok(spawned) => spawned.map_err(|error| failed(&error)),
        Err(_) => Err(failed(&"the system does not execute it")),
    };
    let mut tree = match spawned {
        Ok(tree) => tree,
        Err(end) => {
            lease.forget();
            return Err(end);
        }
    };
    door.set_cli(tree.leader(), listed.id);
    let (reader, writer) = (tree.take_stdout(), tree.take_stdin());
    let (reader, mut writer) = reader.zip(writer).expect("a tree that was just spawned still has its pipes");
    if let Err(error) = writer.push(HostRequest::Initialize(launch.initialize()).encode(INITIALIZE)) {
        // Whether the line was written shows in the exit of the CLI, or in `COME_UP`, which ends a CLI
        // without the answer.
        tracing::debug!(%error, "a CLI that was started ahead takes no line");
    }
    Ok(Spare { tree, reader, writer, lease, place, door, lines: Vec::new() })
}

/// Takes a free place and the lease; the pools may be dropped while the CLI lives, so that they are not held on to.
fn reserve(listed: &Listed, warm: &Weak<Warm>) -> Result<(SparePlace, Lease, ContainmentPolicy), End> {
    let warm = warm.upgrade().ok_or(End::Served)?;
    // The place before the lease, as at every start: without a place nothing is locked.
    let place = warm.places.spare().ok_or(End::Crowded)?;
    listed.set_stage(Stage::Starting);
    let name = SessionName::new("warm").expect("a plain word is a valid name");
    let (state, config_dir) = (&warm.state, listed.pool.launch.config_dir());
    let lease = Lease::acquire(config_dir, state.path(), listed.id, &state.holder(&name));
    Ok((place, lease.map_err(|error| failed(&error))?, warm.containment))
}

fn failed(error: &dyn std::fmt::Display) -> End {
    tracing::warn!(%error, "a CLI that was started ahead is lost");
    End::Failed
}

impl Spare {
    /// Reads up to the answer to `initialize`; what was read stays for whoever takes the CLI.
    async fn initialized(&mut self) -> Result<(), End> {
        // Only new lines are parsed: otherwise a CLI that prints much would have all its lines parsed again
        // at each read.
        let mut seen = 0;
        loop {
            tokio::select! {
                flushed = self.writer.flush(), if !self.writer.is_flushed() => {
                    flushed.map_err(|error| failed(&error))?;
                    continue;
                }
                more = self.reader.next_batch(&mut self.lines) => match more {
                    Ok(true) => {}
                    Ok(false) => return Err(failed(&"it ended before it was initialized")),
                    Err(error) => return Err(failed(&error)),
                },
            }
            if let Some(answer) = self.lines[seen..].iter().find_map(answer) {
                // Whoever took it would have no settings of its own in it.
                return answer.map_err(|error| failed(&format_args!("it refused `initialize`: {error}")));
            }
            seen = self.lines.len();
            // What is printed here stays in memory: a CLI that prints without end would fill it within
            // `COME_UP`.
            if self.lines.iter().map(len).sum::<usize>() > BACKLOG {
                return Err(failed(&"it prints and prints, and does not answer `initialize`"));
            }
        }
    }

    /// Ends it: nothing was ever asked of it, so that there is nothing to lose.
    async fn end(self) {
        let Self { tree, reader, writer, lease, place, door, .. } = self;
        let ladder = Ladder::kill().rung(Rung::Terminate, CLEAN_UP);
        // Nobody reads what it still prints: it has SIGTERM's time to end all the same.
        drop(reader);
        match tree.stop(ladder, Some(writer)).await {
            Ok(_gone) => lease.forget(),
            Err(error) => {
                tracing::error!(%error, "processes of a CLI that was started ahead cannot be ended")
            }
        }
        // The files and the place are those of a process that lived until here.
        drop((door, place));
    }
}

fn len(line: &Line) -> usize {
    match line {
        Line::Complete(bytes) | Line::Partial(bytes) => bytes.len(),
        Line::TooLong { .. } => BACKLOG,
    }
}

/// The answer to `initialize`, if the line is that.
fn answer(line: &Line) -> Option<Result<(), ControlError>> {
    let Line::Complete(bytes) = line else { return None };
    let frame = Frame::parse(bytes.clone()).ok()?;
    if frame.kind() != FrameKind::ControlResponse {
        return None;
    }
    match frame.body() {
        Ok(Body::ControlResponse(response)) if response.request_id == INITIALIZE => {
            Some(response.outcome.map(drop))
        }
        _ => None,
    }
}
