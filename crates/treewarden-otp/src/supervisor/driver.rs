//! The driver: feeds the machine and does what it wants, as far as it goes without waiting.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ractor::concurrency::JoinHandle;
use ractor::{ActorCell, ActorId};
use tokio::sync::{mpsc, oneshot, watch};
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{GiveUp, InitError, RunId, StartOrder, StartOutcome};

use super::alarm::Alarm;
use super::by_gate;
use super::child::RunningChild;
use super::gate::Control;
use super::live::{Action, Event, Factory, Machine, Reply, Request};
use super::reason::stop_text;
use super::run::{ExitReasons, Run};
use super::runs::Runs;
use super::start::{Parent, StartContext, Started};
use super::starting::{Starting, panic_text};
use super::watch::Notice;

/// A call on its way to the driver.
pub(super) type Call = (Request, oneshot::Sender<Reply>);

/// How many calls are served before a failed restart is tried again.
const CALLS_BETWEEN_RETRIES: u32 = 64;

/// How long nothing may be heard of children that were told to end before their tasks are waited for, in case one
/// unlinked itself.
const DOUBT: Duration = Duration::from_millis(100);

/// How many things are done in one turn before others get the thread.
const STEPS: usize = 64;

pub(super) struct Driver {
    pub(super) machine: Machine,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) control: Arc<Control>,
    pub(super) notices: mpsc::UnboundedReceiver<Notice>,
    pub(super) parent: Arc<Parent>,
    pub(super) watcher_task: JoinHandle<()>,
    pub(super) gate: ActorCell,
    pub(super) gate_task: JoinHandle<()>,
    pub(super) exit_reasons: Option<ExitReasons>,
    /// It was started under a name, by which its handle is found.
    pub(super) is_named: bool,
    pub(super) initialized: Option<oneshot::Sender<Result<(), InitError>>>,
    pub(super) done: watch::Sender<Option<ExitReason>>,
    pub(super) state: State,
}

/// What the driver itself remembers.
#[derive(Default)]
pub(super) struct State {
    runs: Runs,
    starting: Option<Starting>,
    alarm: Alarm,
    /// How many empty messages the watcher was sent.
    rings: u64,
    initiated: bool,
    /// When those who were told to end, and of whom nothing was heard, are looked after.
    doubt: Option<Instant>,
    retries: VecDeque<RunId>,
    calls_since_retry: u32,
    /// Whether others had the thread since the last retry.
    yielded: bool,
    gate_gone: bool,
    watcher_gone: bool,
    finished: Option<ExitReason>,
    closed: bool,
}

impl Driver {
    /// Goes as far as it can without waiting; ready when the supervisor has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.state.initiated, true) {
            self.machine.handle(now(), Event::Init);
        }
        // First: a supervisor that was killed must not restart a child that was killed with it, whose end
        // waits among the notices.
        self.poll_kill(cx);
        if !self.control.is_suspended() && self.state.alarm.poll(cx).is_ready() {
            self.tick();
        }
        for _ in 0..STEPS {
            self.act();
            if self.state.finished.is_some() {
                return self.poll_close(cx);
            }
            if !self.step(cx) {
                return Poll::Pending;
            }
        }
        // There is more to do: others get the thread first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Does everything that the machine wants.
    fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Start(order) => self.start(order),
                Action::Stop(_, child, signal) => {
                    let watched = self.expect(&child);
                    let text = stop_text(&signal);
                    // First the typed reason: the child may read it as soon as it is told.
                    child.run().tell(&signal);
                    child.cell().stop(text);
                    // Nobody will tell of this end. If the task was seen to have ended, nothing comes any
                    // more, and the stop would wait for it until its deadline.
                    if !watched {
                        self.settle(child.cell().get_id());
                    }
                }
                Action::Kill(_, child) => {
                    let watched = self.expect(&child);
                    self.state.runs.kill(child.cell().get_id());
                    if !watched {
                        self.settle(child.cell().get_id());
                    }
                }
                Action::TryAgain(pid) => self.state.retries.push_back(pid),
                // A caller that is gone does not want to know.
                Action::Reply(caller, reply) => drop(caller.send(reply)),
                Action::GivenUp(start, how, last_exit) => self.given_up(&start, how, last_exit.as_ref()),
                Action::Report(report) => self.parent.feed.publish(&self.parent.place, report),
                Action::Initialized(result) => self.report_start(result),
                Action::Finished(reason) => self.state.finished = Some(reason),
            }
        }
    }

    /// Tells a child's factory; a panic of that is its own affair.
    fn given_up(&self, Factory(start): &Factory, how: GiveUp, last_exit: Option<&ExitReason>) {
        let told = catch_unwind(AssertUnwindSafe(|| start.given_up(how, last_exit)));
        if let Err(panic) = told {
            tracing::error!(
                panic = panic_text(&*panic),
                "a factory panicked when it was told that it is given up"
            );
        }
    }

    /// Prepares for the end of a child that is told to end. Says whether the watcher will tell of it.
    fn expect(&mut self, child: &RunningChild) -> bool {
        let watched = self.state.runs.expect(child, &self.parent.watcher);
        if watched {
            self.state.doubt.get_or_insert_with(|| now() + DOUBT);
        }
        watched
    }

    /// A deadline has come.
    fn tick(&mut self) {
        let now = now();
        if self.state.doubt.is_some_and(|at| at <= now) {
            let (reaped, some_left) = self.state.runs.reap_expected();
            self.state.doubt = some_left.then(|| now + DOUBT);
            for id in reaped {
                self.settle(id);
            }
        }
        self.machine.handle(now, Event::Tick);
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
        let run = Run::new(order.id, order.pid);
        let context = StartContext {
            run: run.clone(),
            attempt: order.attempt,
            cause: order.cause,
            last_exit: order.last_exit,
            parent: self.parent.clone(),
        };
        self.state.starting = Some(Starting::new(run, order.start, context, order.timeout));
    }

    /// Does one thing, if there is one to do: first what others want of the supervisor itself, then ends, then calls.
    fn step(&mut self, cx: &mut Context<'_>) -> bool {
        // Before the notices: with a child that ends as fast as it is restarted there is always one, and the
        // supervisor could not be stopped.
        if let Some(reason) = self.control.take_stop() {
            // A suspension holds up everything but the end.
            self.control.set_suspended(false);
            self.machine.handle(now(), Event::Stop(reason));
            return true;
        }
        let suspended = self.control.is_suspended();
        // The watcher is gone where the channel is closed, which its task tells.
        if !suspended && let Poll::Ready(Some(notice)) = self.notices.poll_recv(cx) {
            self.noticed(notice);
            return true;
        }
        if self.poll_start(cx) || self.link_new() || self.poll_reaped(cx) {
            return true;
        }
        // Starts and ends that are under way were polled above: they have woken the driver, and would not do
        // so a second time. Calls and deadlines wait.
        if suspended {
            return false;
        }
        // While a group is being stopped or started a call would find half of it: it waits, as in OTP's
        // single process.
        if !self.machine.is_busy() && (self.poll_call(cx) || self.retry_one(cx)) {
            return true;
        }
        let deadline = self.machine.poll_timeout().into_iter().chain(self.state.doubt).min();
        if self.state.alarm.set(deadline, cx).is_ready() {
            self.tick();
            return true;
        }
        false
    }

    fn poll_start(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(starting) = &mut self.state.starting else { return false };
        let Poll::Ready(result) = starting.poll(cx) else { return false };
        if let Some(starting) = self.state.starting.take() {
            self.started(starting, result);
        }
        true
    }

    fn started(&mut self, starting: Starting, result: Result<Started, ExitReason>) {
        let pid = starting.run.run_id();
        let outcome = result.map(|started| match started {
            Started::Ignore => StartOutcome::Ignore,
            Started::Running(child) => StartOutcome::Running(self.adopt(starting, child), None),
            Started::RunningWith(child, info) => {
                StartOutcome::Running(self.adopt(starting, child), Some(info))
            }
        });
        self.machine.report_progress(|| self.parent.feed.hears_progress());
        self.machine.handle(now(), Event::Started(pid, outcome));
    }

    fn adopt(&mut self, starting: Starting, child: super::Child) -> RunningChild {
        let super::Child { cell, join, resource, extension } = child;
        let running = RunningChild::new(starting.run, cell, extension);
        self.state.runs.add(&running, join, resource);
        running
    }

    /// Links the children whose starts did not; they are up by now, and their ends are seen to.
    fn link_new(&mut self) -> bool {
        let ended = self.state.runs.link_new(&self.parent.watcher);
        if let Some(id) = ended {
            self.settle(id);
        }
        ended.is_some()
    }

    /// Sees whether a child that is ending has left nothing behind.
    fn poll_reaped(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.state.runs.is_reaping() {
            return false;
        }
        let reaped = self.state.runs.poll_reaped(cx);
        let Poll::Ready(Some(id)) = reaped else { return false };
        self.settle(id);
        true
    }

    fn poll_call(&mut self, cx: &mut Context<'_>) -> bool {
        // Callers that come one after another would otherwise keep a failed restart from ever being tried
        // again.
        if !self.state.retries.is_empty() && self.state.calls_since_retry >= CALLS_BETWEEN_RETRIES {
            return false;
        }
        let Poll::Ready(Some(call)) = self.calls.poll_recv(cx) else { return false };
        self.call(call);
        true
    }

    fn call(&mut self, (request, caller): Call) {
        self.state.calls_since_retry += 1;
        self.machine.handle(now(), Event::Call(caller, request));
    }

    /// Tries a failed restart again. Others get the thread between two attempts, as they do in OTP.
    fn retry_one(&mut self, cx: &mut Context<'_>) -> bool {
        if self.state.retries.is_empty() {
            return false;
        }
        self.state.yielded = !self.state.yielded;
        if self.state.yielded {
            cx.waker().wake_by_ref();
            return false;
        }
        self.state.calls_since_retry = 0;
        if let Some(pid) = self.state.retries.pop_front() {
            self.machine.handle(now(), Event::TryAgain(pid));
        }
        true
    }

    fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Ended(id, reason) => {
                if let Some((pid, reason)) = self.state.runs.ended(id, reason) {
                    self.machine.handle(now(), Event::Exited(pid, reason));
                }
            }
            Notice::Caught(heard) => self.settle_silent(heard),
        }
    }

    /// Tells the machine about a run that is gone, once all of it is.
    fn settle(&mut self, id: ActorId) {
        if let Some((pid, reason)) = self.state.runs.take_gone(id) {
            self.machine.handle(now(), Event::Exited(pid, reason));
        } else if self.state.runs.is_silent(id) {
            // Without a watcher nothing more can be said of anybody: ring 0 counts as heard.
            if self.state.watcher_gone {
                self.state.runs.note_silent(id, 0);
                self.settle_silent(0);
            } else {
                // ractor hands the watcher all ends that were told before the message: with the answer to this one, an end
                // of which nothing was heard is known to be one that nobody tells.
                self.state.rings += 1;
                // A watcher that is gone answers no more; its task tells of that.
                let _ = self.parent.watcher.send_message(());
                self.state.runs.note_silent(id, self.state.rings);
            }
        }
    }

    fn settle_silent(&mut self, heard: u64) {
        for (pid, reason) in self.state.runs.take_silent(heard) {
            self.machine.handle(now(), Event::Exited(pid, reason));
        }
    }

    /// Sees whether the supervisor was killed.
    fn poll_kill(&mut self, cx: &mut Context<'_>) {
        if !self.state.gate_gone && Pin::new(&mut self.gate_task).poll(cx).is_ready() {
            self.state.gate_gone = true;
            self.killed();
        }
        if !self.state.watcher_gone && Pin::new(&mut self.watcher_task).poll(cx).is_ready() {
            self.state.watcher_gone = true;
            // The watcher told how children ended. From here on their tasks are all that tells, and those who
            // waited for a ring are not answered by one.
            self.state.runs.reap_all();
            self.settle_silent(u64::MAX);
            // The gate is what others are linked to: it has to end as a killed supervisor does, or a parent
            // would never learn of it.
            self.gate.kill();
            self.killed();
        }
    }

    /// The supervisor was killed: a start that is under way is dropped, the children go.
    fn killed(&mut self) {
        if self.state.finished.is_some() {
            return;
        }
        self.control.set_suspended(false);
        self.machine.handle(now(), Event::Killed);
        // The future is dropped with what it holds. The machine still waits for its outcome, and would never
        // finish without one.
        if let Some(starting) = self.state.starting.take() {
            self.machine.handle(now(), Event::Started(starting.run.run_id(), Err(ExitReason::Killed)));
        }
    }

    /// All children are gone: refuses the calls that are left, and ends gate and watcher.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.state.closed, true) {
            // Closed before it is emptied: a call that came behind the last look would wait for an answer for
            // ever.
            self.calls.close();
            if self.is_named {
                by_gate::forget(self.gate.get_id());
            }
            while let Ok((_, caller)) = self.calls.try_recv() {
                // A caller that has given up does not want to know.
                let _ = caller.send(Reply::NoProc);
            }
            let reason = self.state.finished.clone().unwrap_or(ExitReason::Shutdown);
            if let Some(exit_reasons) = &self.exit_reasons {
                // Before the gate ends: with a stop ractor carries a string, and the parent reads the typed
                // reason when it hears of the end.
                exit_reasons.exit_with(reason.clone());
            }
            self.gate.stop(stop_text(&reason));
            self.done.send_replace(Some(reason));
        }
        if !self.state.gate_gone {
            let _ = ready!(Pin::new(&mut self.gate_task).poll(cx));
            self.state.gate_gone = true;
        }
        self.parent.watcher.stop(None);
        if !self.state.watcher_gone {
            let _ = ready!(Pin::new(&mut self.watcher_task).poll(cx));
            self.state.watcher_gone = true;
        }
        Poll::Ready(())
    }
}

impl Drop for Driver {
    /// Only a driver that panicked, or whose runtime ends, is dropped before it has closed: nobody may wait for it.
    fn drop(&mut self) {
        if !self.state.closed {
            if self.is_named {
                by_gate::forget(self.gate.get_id());
            }
            self.gate.kill();
            self.parent.watcher.stop(None);
        }
    }
}

/// The time as tokio sees it, so that a paused clock in a test is this one too.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
