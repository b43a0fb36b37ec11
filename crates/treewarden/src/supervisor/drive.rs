//! The task that feeds the machine and does what it wants.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use ractor::ActorCell;
use ractor::concurrency::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};
use treewarden_core::ExitReason;
use treewarden_core::supervisor::{GiveUp, InitError, Pid, StartOrder, StartOutcome};

use super::child::{Lifeline, RunningChild};
use super::feed::Feed;
use super::gate::Control;
use super::live::{Action, Event, Factory, Machine, Reply, Request};
use super::reason::stop_text;
use super::runs::Runs;
use super::start::{StartContext, Started};
use super::watch::{Notice, Notices};
use crate::registry::handles;

/// A call on its way to the driver.
pub(super) type Call = (Request, oneshot::Sender<Reply>);

type Starting = Pin<Box<dyn Future<Output = Result<Started, ExitReason>> + Send>>;

/// How many calls are served before a failed restart is tried again.
const CALLS_BETWEEN_RETRIES: u32 = 64;

pub(super) struct Driver {
    pub(super) machine: Machine,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) control: Arc<Control>,
    pub(super) notices: Arc<Notices>,
    pub(super) watcher: ActorCell,
    pub(super) watcher_task: JoinHandle<()>,
    pub(super) gate: ActorCell,
    pub(super) gate_task: JoinHandle<()>,
    pub(super) lifeline: Option<Arc<Lifeline>>,
    /// It was started under a name, by which its handle is found.
    pub(super) is_named: bool,
    pub(super) initialized: Option<oneshot::Sender<Result<(), InitError>>>,
    pub(super) done: watch::Sender<Option<ExitReason>>,
    pub(super) path: Arc<str>,
    pub(super) feed: Feed,
    pub(super) state: State,
}

/// What the driver itself remembers.
#[derive(Default)]
pub(super) struct State {
    runs: Runs,
    starting: Option<(StartContext, Starting)>,
    retries: VecDeque<Pid>,
    calls_since_retry: u32,
    gate_gone: bool,
    watcher_gone: bool,
    finished: Option<ExitReason>,
}

impl Driver {
    /// Runs the supervisor to its end.
    pub(super) async fn run(mut self) {
        self.machine.handle(now(), Event::Init);
        loop {
            self.act();
            if self.state.finished.is_some() {
                break;
            }
            if self.serve_one() {
                continue;
            }
            if self.retry_is_due() {
                // Others get the thread between two attempts, as they do in OTP.
                tokio::task::yield_now().await;
                self.retry_one();
                continue;
            }
            self.wait().await;
        }
        self.close().await;
    }

    /// Does everything that the machine wants.
    fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Start(order) => self.start(order),
                Action::Stop(_, child, signal) => {
                    self.state.runs.reap(child.cell().get_id());
                    child.lifeline().tell(signal.clone());
                    child.cell().stop(stop_text(&signal));
                    self.settle(child.cell().get_id());
                }
                Action::Kill(_, child) => {
                    self.state.runs.reap(child.cell().get_id());
                    child.cell().kill();
                    self.settle(child.cell().get_id());
                }
                Action::TryAgain(pid) => self.state.retries.push_back(pid),
                // A caller that is gone does not want to know.
                Action::Reply(caller, reply) => drop(caller.send(reply)),
                Action::GivenUp(start, how, last_exit) => self.given_up(&start, how, last_exit.as_ref()),
                Action::Report(report) => self.feed.publish(&self.path, report),
                Action::Initialized(result) => self.report_start(result),
                Action::Finished(reason) => self.state.finished = Some(reason),
            }
        }
    }

    /// Tells a child's factory; a panic of that is its own affair.
    fn given_up(&self, Factory(start): &Factory, how: GiveUp, last_exit: Option<&ExitReason>) {
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| start.given_up(how, last_exit)));
        if let Err(panic) = told {
            tracing::error!(
                panic = panic_text(&*panic),
                "a factory panicked when it was told that it is given up"
            );
        }
    }

    /// Tells whoever started the supervisor; nobody there to hear it means that it must not stay.
    fn report_start(&mut self, result: Result<(), InitError>) {
        if let Some(initialized) = self.initialized.take()
            && initialized.send(result).is_err()
        {
            self.control.stop(ExitReason::Shutdown);
        }
    }

    fn start(&mut self, order: StartOrder<Factory>) {
        let StartOrder { pid, id, start, attempt, last_exit, timeout } = order;
        let context = StartContext {
            id,
            pid,
            attempt,
            last_exit,
            watcher: self.watcher.clone(),
            lifeline: Arc::default(),
            parent: self.path.clone(),
            feed: self.feed.clone(),
        };
        let given = context.clone();
        let starting = AssertUnwindSafe(async move { start.0.start(given).await }).catch_unwind();
        let starting = async move {
            let outcome = match timeout {
                None => starting.await,
                Some(limit) => match tokio::time::timeout(limit, starting).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Err(ExitReason::StartTimeout),
                },
            };
            match outcome {
                Ok(result) => result.map_err(super::start::StartFailure::into_reason),
                Err(panic) => Err(ExitReason::Panic(panic_text(&*panic).into())),
            }
        };
        self.state.starting = Some((context, Box::pin(starting)));
    }

    fn started(&mut self, context: StartContext, result: Result<Started, ExitReason>) {
        let pid = context.pid;
        let mut ended_already = None;
        let outcome = result.map(|started| match started {
            Started::Ignore => StartOutcome::Ignore,
            Started::Running(child) => {
                StartOutcome::Running(self.adopt(context, child, &mut ended_already), None)
            }
            Started::RunningWith(child, info) => {
                StartOutcome::Running(self.adopt(context, child, &mut ended_already), Some(info))
            }
        });
        self.machine.handle(now(), Event::Started(pid, outcome));
        if let Some(id) = ended_already {
            self.settle(id);
        }
    }

    fn adopt(
        &mut self,
        context: StartContext,
        mut child: super::Child,
        ended_already: &mut Option<ractor::ActorId>,
    ) -> RunningChild {
        let StartContext { id, pid, lifeline, .. } = context;
        let running = RunningChild::new(id, pid, child.cell.clone(), lifeline, child.extension.take());
        *ended_already = self.state.runs.add(pid, child, &running, &self.watcher);
        running
    }

    /// Serves one thing that is there already, if there is one: first what others want of the supervisor itself, then
    /// ends, then calls.
    fn serve_one(&mut self) -> bool {
        if let Some(reason) = self.control.take_stop() {
            self.machine.handle(now(), Event::Stop(reason));
            return true;
        }
        if self.control.is_suspended() {
            return false;
        }
        if let Some(notice) = self.notices.pop() {
            self.noticed(notice);
            return true;
        }
        let first = self.state.retries.is_empty() || self.state.calls_since_retry < CALLS_BETWEEN_RETRIES;
        if !self.machine.is_busy()
            && first
            && let Ok(call) = self.calls.try_recv()
        {
            self.call(call);
            return true;
        }
        false
    }

    fn call(&mut self, (request, caller): Call) {
        self.state.calls_since_retry += 1;
        self.machine.handle(now(), Event::Call(caller, request));
    }

    fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Ended(id, reason) => {
                self.state.runs.ended(id, reason);
                self.settle(id);
            }
            Notice::Caught => self.answered(),
        }
    }

    /// Tells the machine about a run that is gone, once all of it is.
    fn settle(&mut self, id: ractor::ActorId) {
        if let Some((pid, reason)) = self.state.runs.take_gone(id) {
            self.machine.handle(now(), Event::Exited(pid, reason));
        } else if self.state.runs.is_silent(id) {
            let asked = !self.state.watcher_gone && self.watcher.send_message(()).is_ok();
            if asked {
                self.state.runs.note_asked(id);
            } else if let Some((pid, reason)) = self.state.runs.take_silent(id) {
                self.machine.handle(now(), Event::Exited(pid, reason));
            }
        }
    }

    /// The watcher has answered the oldest question.
    fn answered(&mut self) {
        if let Some((pid, reason)) = self.state.runs.take_answered() {
            self.machine.handle(now(), Event::Exited(pid, reason));
        }
    }

    fn retry_is_due(&self) -> bool {
        !self.state.retries.is_empty() && !self.machine.is_busy() && !self.control.is_suspended()
    }

    fn retry_one(&mut self) {
        self.state.calls_since_retry = 0;
        if let Some(pid) = self.state.retries.pop_front() {
            self.machine.handle(now(), Event::TryAgain(pid));
        }
    }

    /// Waits until something happens.
    async fn wait(&mut self) {
        let suspended = self.control.is_suspended();
        let deadline = if suspended { None } else { self.machine.poll_timeout() };
        let State { runs, starting, gate_gone, watcher_gone, .. } = &mut self.state;
        tokio::select! {
            biased;
            () = self.control.notify.notified() => {}
            () = self.notices.notify.notified(), if !suspended => {}
            result = poll_start(starting) => {
                if let Some((context, _)) = starting.take() {
                    self.started(context, result);
                }
            }
            id = runs.next_reaped(), if runs.is_reaping() => {
                if let Some(id) = id {
                    self.settle(id);
                }
            }
            call = self.calls.recv(), if !suspended && !self.machine.is_busy() => {
                if let Some(call) = call {
                    self.call(call);
                }
            }
            _ = &mut self.gate_task, if !*gate_gone => {
                *gate_gone = true;
                self.killed();
            }
            _ = &mut self.watcher_task, if !*watcher_gone => {
                *watcher_gone = true;
                runs.reap_all();
                self.gate.kill();
                self.killed();
                // Nobody will answer any more.
                while self.state.runs.is_asking() {
                    self.answered();
                }
            }
            () = sleep_until(deadline) => self.machine.handle(now(), Event::Tick),
        }
    }

    /// The supervisor was killed: a start that is under way is dropped, the children go.
    fn killed(&mut self) {
        self.control.set_suspended(false);
        self.machine.handle(now(), Event::Killed);
        if let Some((context, _)) = self.state.starting.take() {
            self.machine.handle(now(), Event::Started(context.pid, Err(ExitReason::Killed)));
        }
    }

    /// All children are gone: refuses the calls that are left, and ends gate and watcher.
    async fn close(mut self) {
        let reason = self.state.finished.take().unwrap_or(ExitReason::Shutdown);
        self.calls.close();
        if self.is_named {
            handles::forget(self.gate.get_id());
        }
        while let Ok((_, caller)) = self.calls.try_recv() {
            let _ = caller.send(Reply::NoProc);
        }
        if let Some(lifeline) = &self.lifeline {
            lifeline.exit_with(reason.clone());
        }
        let text = stop_text(&reason);
        self.done.send_replace(Some(reason));
        self.gate.stop(text);
        if !self.state.gate_gone {
            let _ = (&mut self.gate_task).await;
        }
        self.watcher.stop(None);
        if !self.state.watcher_gone {
            let _ = (&mut self.watcher_task).await;
        }
    }
}

async fn poll_start(starting: &mut Option<(StartContext, Starting)>) -> Result<Started, ExitReason> {
    match starting {
        Some((_, future)) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The time as tokio sees it, so that a paused clock in a test is this one too.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
