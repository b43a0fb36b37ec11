//! The engine: the task that owns one CLI, and the session machine that says what to do with it.
//!
//! It turns what happens (work on the desk, frames, exits, timers) into events, and the machine's actions into
//! effects. It decides nothing itself, and it never waits for a consumer, for the CLI to read its stdin, or for user
//! code: whatever may take time is one branch of its loop.
//!
//! An engine lives from the first turn of a session to the moment when its CLI is parked, stopped or dead. A parked
//! session has none.

mod ahead;
mod answers;
mod cli;
mod control;
mod disk;
mod effects;
mod launch;
mod lease;
mod limits;
mod memory;
mod route;
mod settle;
mod start;
mod verbatim;
mod version;

pub(super) use self::ahead::keep_warm;
pub(super) use self::launch::config_dir_of;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use treewarden_core::session::{End, Evidence, SessionState, Start, StartFailure, State};
use treewarden_process::Line;
use treewarden_proto::TurnId;
use treewarden_proto::frame::Spent;
use treewarden_transcript::DiskAnswer;

use self::cli::{Cli, Closing};
use self::control::Pending;
use self::route::Run;
use super::desk::{Change, Command, Desk, Look, NotStored, Work};
use super::sink::Sink;
use crate::clock::Sleeps;

/// The machine's, with what outcomes are made of.
type Machine = treewarden_core::session::Machine<Evidence>;
type Event = treewarden_core::session::Event<Evidence>;
type Fact = treewarden_core::session::Fact<Evidence>;

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Serves the desk until its CLI is parked with nothing left to do, stopped, or dead.
pub(super) async fn run(desk: Arc<Desk>) -> End {
    loop {
        let end = Engine::new(Arc::clone(&desk)).run().await;
        match end {
            // Work that came while the CLI was being parked rang an engine that still lived. Unless another
            // one starts here, that work waits until somebody rings again.
            End::Parked if !desk.engine_may_end() => {}
            end => return end,
        }
    }
}

struct Engine {
    desk: Arc<Desk>,
    machine: Machine,
    actions: Vec<treewarden_core::session::Action<Evidence>>,
    /// The start procedure, while it runs, and whether it waits for a place.
    starting: Option<Task<Result<Box<Cli>, StartFailure>>>,
    waits: Option<watch::Receiver<bool>>,
    cli: Option<Box<Cli>>,
    /// The CLI's tree, while it is being ended.
    closing: Option<Closing>,
    /// What has to be stored, or to be known of the CLI, before a turn is sent, and that turn.
    sending: Option<(TurnId, Task<Result<(), NotStored>>)>,
    /// What a result says of the record, which is stored together with the outcome that it leads to: another id, what was spent.
    noted: Option<Change>,
    /// What the turn at hand took in results that were not its end; `None` if one did not say.
    earlier: Option<Spent>,
    reading: Option<Task<(TurnId, Option<DiskAnswer>)>>,
    /// The look whether the last turn is on disk, and whether another is to follow it.
    looking: Option<Task<Look>>,
    look_once_more: bool,
    pending: Pending,
    run: Run,
    /// Frames of the turn in flight that were read and not handed on yet.
    batch: Vec<super::event::Event>,
    /// The consumer whose buffer is full; nothing is read until it has room.
    full: Option<Arc<Sink>>,
    lines: Vec<Line>,
    alarm: Alarm,
    sleeps: Sleeps,
    seen: Seen,
    end: Option<End>,
}

/// What the machine was seen to say last: what the status and the place of the CLI go by.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    state: State,
    work: Work,
    /// The CLI could be ended for convenience.
    at_rest: bool,
    /// Why no CLI is up.
    trouble: Option<String>,
}

impl Seen {
    fn of(machine: &Machine) -> Self {
        let work = Work {
            own: machine.own_work(),
            background_tasks: machine.background_tasks(),
            unsaved: machine.unsaved().map(str::to_owned),
        };
        Self { state: machine.state(), work, at_rest: machine.is_at_rest(), trouble: machine.start_trouble() }
    }
}

/// What woke the engine.
enum Wake {
    Desk,
    Started(Result<Box<Cli>, StartFailure>),
    Waits(bool),
    Lines(bool),
    Gone,
    Closed,
    Drained,
    Noted(TurnId, Result<(), NotStored>),
    Transcript(TurnId, Option<DiskAnswer>),
    Looked(Look),
    Room,
    Written(std::io::Result<()>),
    Timer,
}

impl Engine {
    fn new(desk: Arc<Desk>) -> Self {
        let mut actions = Vec::new();
        let (open, untold) = desk.take_all();
        let mut machine = Machine::new(Instant::now(), desk.options().timing(), open, &mut actions);
        machine.await_outcomes(untold);
        Self {
            desk,
            seen: Seen { state: machine.state(), work: Work::default(), at_rest: false, trouble: None },
            machine,
            actions,
            starting: None,
            waits: None,
            cli: None,
            closing: None,
            sending: None,
            noted: None,
            earlier: Some(Spent::default()),
            reading: None,
            looking: None,
            look_once_more: false,
            pending: Pending::default(),
            run: Run::default(),
            batch: Vec::new(),
            full: None,
            lines: Vec::new(),
            alarm: Alarm::default(),
            sleeps: Sleeps::default(),
            end: None,
        }
    }

    async fn run(mut self) -> End {
        self.show_state();
        self.perform();
        if self.end.is_none() {
            // What was asked before this engine lived rang the actor and not this engine's bell: a cancel of
            // a turn that waits would otherwise be taken only at the next ring.
            self.intake();
        }
        loop {
            self.perform();
            if let Some(end) = self.end.clone() {
                // The look that follows a session's first turn may not have been made; see `see_first`.
                if matches!(end, End::Stopped(_)) {
                    self.desk.see_first().await;
                }
                return end;
            }
            let wake = self.wake().await;
            self.note_sleep();
            match wake {
                Wake::Desk => self.intake(),
                Wake::Started(Ok(cli)) => self.spawned(cli),
                Wake::Started(Err(failure)) => {
                    self.starting = None;
                    // Idle CLIs may have what is lacking, and would keep it for ever: each start would wait in vain.
                    if matches!(failure, StartFailure::Shortage(_)) {
                        self.desk.host.inner.places.make_room();
                    }
                    self.handle(Event::StartFailed(failure));
                }
                Wake::Waits(waits) => self.handle(Event::AwaitsPlace(waits)),
                Wake::Lines(more) => self.read_lines(more),
                Wake::Gone => self.begin_closing(cli::How::Gone),
                Wake::Closed => self.closed(),
                Wake::Drained => self.exited(),
                Wake::Noted(turn, noted) => self.noted(turn, noted),
                Wake::Transcript(turn, found) => self.transcript_read(turn, found),
                Wake::Looked(look) => self.looked(look),
                Wake::Room => self.room(),
                Wake::Written(result) => self.written(&result),
                Wake::Timer => self.timer(),
            }
        }
    }

    /// Waits until something happens; each branch may be dropped without loss.
    async fn wake(&mut self) -> Wake {
        let timer = self.machine.poll_timeout();
        // This timer stops while the machine sleeps, and a usage limit is lifted meanwhile.
        let look = self.waits_for_limit().then(|| Instant::now() + limits::LOOK);
        let timer = [timer, look].into_iter().flatten().min().map(tokio::time::Instant::from_std);
        let Self {
            desk, starting, waits, cli, closing, sending, reading, looking, full, lines, alarm, ..
        } = self;
        let drained = closing.as_ref().and_then(Closing::drained_by);
        let (ending, may_read) = (closing.is_some(), full.is_none());
        // In this order: a stop or a cancel is not kept waiting by a CLI that prints without a pause, and
        // what a CLI printed counts before a deadline says that it is silent.
        tokio::select! {
            biased;
            () = desk.rung() => Wake::Desk,
            waits = changed(waits) => Wake::Waits(waits),
            done = poll_some(starting) => Wake::Started(done),
            (turn, noted) = noted(sending) => Wake::Noted(turn, noted),
            (turn, found) = poll_some(reading) => Wake::Transcript(turn, found),
            look = poll_some(looking) => Wake::Looked(look),
            () = cli::closed(closing) => Wake::Closed,
            wake = cli::wake(cli, ending, may_read, lines) => wake,
            () = room(full.as_ref()) => Wake::Room,
            () = sleep_until(drained) => Wake::Drained,
            () = alarm.rings(timer) => Wake::Timer,
        }
    }

    fn timer(&mut self) {
        // A turn whose time is over before its CLI is up is told with what that said last.
        if let Some(words) = self.cli.as_ref().and_then(|cli| cli.words_of_the_start()) {
            self.machine.hear(&words);
        }
        self.machine.handle_timeout(Instant::now(), &mut self.actions);
    }

    fn handle(&mut self, event: Event) {
        self.machine.handle(Instant::now(), event, &mut self.actions);
    }

    fn fact(&mut self, fact: Fact) {
        self.handle(Event::Frame(fact));
    }

    /// Takes what is new on the desk.
    fn intake(&mut self) {
        let (items, commands, settled) = self.desk.take_new();
        for item in items {
            self.handle(Event::Enqueue(item));
        }
        // Before the commands: a park that is asked for behind the end of a turn finds that ended.
        for turn in settled {
            self.handle(Event::Settled(turn));
        }
        for command in commands {
            let event = match command {
                Command::Cancel(turn, reason) => Event::Cancel(turn, reason),
                Command::InterruptOwnWork => Event::InterruptOwnWork,
                Command::Stop(reason) => Event::Stop(reason),
                Command::TooLarge { pid, taken } => {
                    if !self.is_too_large(pid, taken) {
                        continue;
                    }
                    Event::TooLarge
                }
                Command::Configure { renew } => {
                    self.limit_anew();
                    Event::Configure { config: self.desk.options().timing(), renew }
                }
            };
            self.handle(event);
        }
    }

    fn spawned(&mut self, cli: Box<Cli>) {
        self.starting = None;
        self.cli = Some(cli);
        self.weigh();
        self.show_cli();
        self.handle(Event::Spawned);
    }

    /// Does what the machine asks, in order, until it asks for nothing more.
    fn perform(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.effect(action);
            }
        }
        let seen = Seen::of(&self.machine);
        if seen != self.seen {
            self.seen = seen;
            self.show_state();
            self.watch_sleep();
            if matches!(self.seen.state, State::Draining(_)) {
                // A drain ends at the result, which must be read whoever consumes the turn; a consumer that
                // is full would keep it in the pipe until the drain's deadline kills the CLI.
                self.full = None;
            }
            self.tell_place();
        }
    }

    /// Says what the CLI does with its place; if others wait for it, the answer is a command on the desk.
    fn tell_place(&self) {
        let Some(cli) = &self.cli else { return };
        match self.seen.state {
            // A CLI that must stay (it works by itself, or its last answer is not on disk) is not offered:
            // asked for its place as soon as it said no, it would look at the disk in a loop.
            State::Ready if self.seen.at_rest => cli.place.idle(),
            State::Stopping | State::Ended => cli.place.leaving(),
            _ => cli.place.busy(),
        }
    }

    fn begin_start(&mut self, start: Start) {
        // Ids begin anew with each CLI: an answer of the last one must not be taken for one of the next.
        self.pending = Pending::default();
        self.run = Run::default();
        let (tell, waits) = watch::channel(false);
        self.waits = Some(waits);
        self.starting = Some(Box::pin(start::start(Arc::clone(&self.desk), start, tell)));
    }
}

impl Drop for Engine {
    /// An engine that is dropped before its end was killed with its actor: the tree that it owns ends by itself.
    fn drop(&mut self) {
        if self.end.is_none() {
            // The state is shown first: once the tree is left, the process that the status names is no longer
            // this session's.
            self.desk.set_state(SessionState::Parked, None, None);
            cli::leave(&self.desk, self.cli.take());
        }
    }
}

async fn poll_some<T>(task: &mut Option<Task<T>>) -> T {
    match task {
        Some(task) => task.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Waits until the start procedure waits for a place, or does so no longer.
async fn changed(waits: &mut Option<watch::Receiver<bool>>) -> bool {
    let Some(receiver) = waits else { return std::future::pending().await };
    match receiver.changed().await {
        Ok(()) => *receiver.borrow_and_update(),
        // The procedure has ended, which is told by its own end.
        Err(_) => {
            *waits = None;
            std::future::pending().await
        }
    }
}

/// Waits until what has to be stored before a turn is sent is stored, or is not to be.
async fn noted(
    sending: &mut Option<(TurnId, Task<Result<(), NotStored>>)>,
) -> (TurnId, Result<(), NotStored>) {
    match sending {
        Some((turn, task)) => (*turn, task.as_mut().await),
        None => std::future::pending().await,
    }
}

async fn room(full: Option<&Arc<Sink>>) {
    match full {
        Some(sink) => poll_fn(|cx| sink.poll_room(cx)).await,
        None => std::future::pending().await,
    }
}

/// The machine's timer.
#[derive(Default)]
struct Alarm {
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Alarm {
    /// Waits until `at`.
    async fn rings(&mut self, at: Option<tokio::time::Instant>) {
        let Some(at) = at else { return std::future::pending().await };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        // Only when it has moved: the loop comes by with each batch of lines, and most of them change no
        // deadline.
        if at != sleep.deadline() {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().await;
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
