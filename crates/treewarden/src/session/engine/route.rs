//! Where a frame goes: to the machine as a fact, to the consumers of the turn, to the events.
//!
//! The CLI names the prompts that it works at on the first frames of a run, and not on every frame. So a run is
//! followed: it begins with a frame that names prompts and ends with a result. A frame without a name belongs to the
//! run that it stands in. Where the CLI never names prompts, it belongs to the turn in flight while nothing but that
//! turn can have caused it.

use std::time::Instant;

use treewarden_core::session::{Evidence, Lifecycle, ResultFact, State, may_pass};
use treewarden_process::Line;
use treewarden_proto::frame::{
    Body, CommandState, Frame, FrameKind, ResultFrame, SessionState, SystemBody, SystemKind, TurnIds,
};
use treewarden_proto::{SessionId, TurnId};

use super::limits::Reported;
use super::verbatim::Version;
use super::{Engine, Fact};
use crate::events::Happening;
use crate::session::desk::{Change, Shown};
use crate::session::event::Event as TurnEvent;

/// The prompts that the CLI says it works at.
#[derive(Debug, Default)]
pub(super) struct Run {
    turns: TurnIds,
    /// The prompt that it said last it has done with, and no result since.
    done: Option<TurnId>,
    /// A usage limit that was reported.
    pub(super) limit: Option<Reported>,
}

impl Run {
    /// Forgets what the CLI worked at: a new turn is written to it.
    ///
    /// A resumed CLI may be at that very turn by then, and names it once: what follows is the turn's all the same.
    pub(super) fn forget_unless(&mut self, is_sent: impl Fn(&TurnIds) -> bool) {
        if !is_sent(&self.turns) {
            self.turns = TurnIds::default();
        }
    }
}

impl Engine {
    /// Handles a batch of lines.
    pub(super) fn read_lines(&mut self, more: bool) {
        let mut lines = std::mem::take(&mut self.lines);
        for line in lines.drain(..) {
            match line {
                Line::Complete(bytes) => {
                    let len = bytes.len();
                    match Frame::parse(bytes) {
                        Ok(frame) => self.route(frame),
                        Err(_) => self.skip(len),
                    }
                }
                Line::Partial(bytes) => self.skip(bytes.len()),
                Line::TooLong { bytes } => self.skip(usize::try_from(bytes).unwrap_or(usize::MAX)),
            }
        }
        self.lines = lines;
        self.flush_batch();
        if more && self.full.is_some() {
            // Nothing is read until the consumer has room. The CLI is not silent then, and must not be probed
            // and killed for it.
            self.fact(Fact::AwaitsHost);
        } else if more {
            self.fact(Fact::Activity);
        } else if let Some(cli) = &mut self.cli {
            cli.at_eof = true;
            // The tree was gone first, and its exit waited for this end of the pipe.
            if self.closing.as_ref().is_some_and(|closing| closing.is_closed()) {
                self.exited();
            }
        }
    }

    fn skip(&mut self, len: usize) {
        let bytes = u64::try_from(len).unwrap_or(u64::MAX);
        self.desk.note(Shown::SkippedLine);
        tracing::warn!(session = %self.desk.name, bytes, "skipped a line of the CLI that is no frame");
        self.desk.publish(Happening::Garbage { bytes });
    }

    fn route(&mut self, frame: Frame) {
        match frame.kind() {
            FrameKind::StreamEvent | FrameKind::Assistant | FrameKind::ToolProgress => self.content(frame),
            FrameKind::User if !self.is_echo(&frame) => self.content(frame),
            FrameKind::User | FrameKind::KeepAlive => {}
            FrameKind::Result => self.result(frame),
            FrameKind::CommandLifecycle => self.lifecycle(&frame),
            FrameKind::ControlRequest => self.answer(&frame),
            FrameKind::ControlResponse => self.control_response(&frame),
            // The id in this frame is not the one that the transcript goes by (seen with 2.1.330); the frames
            // that follow name that one.
            FrameKind::ConversationReset => self.content(frame),
            FrameKind::RateLimitEvent => self.rate_limit(&frame),
            FrameKind::System(kind) => self.system(kind, frame),
            _ => {
                if frame.is_unknown() {
                    self.desk.note(Shown::UnknownFrame);
                }
                self.content(frame);
            }
        }
    }

    /// Tells whether the frame is our own prompt, coming back.
    fn is_echo(&self, frame: &Frame) -> bool {
        frame.uuid_as_turn().is_some_and(|id| self.machine.is_at_hand(id))
    }

    /// Hands a frame to the turn that it belongs to, or else to the events.
    fn content(&mut self, frame: Frame) {
        if !frame.turns().is_empty() {
            self.run.turns = frame.turns().clone();
        }
        // A resumed CLI may be at the open turn before that is sent to it. Noted here, or its death would
        // count against nobody, and a turn that kills every CLI would be tried without end.
        if let Some(turn) = self.owner() {
            if self.machine.in_flight().is_none() {
                self.desk.carried_on(turn);
            }
            self.batch.push(TurnEvent::Frame(frame));
        } else {
            self.unsolicited(&frame);
        }
    }

    /// The turn at hand, if the run is its.
    fn owner(&self) -> Option<TurnId> {
        let turn = self.machine.at_hand()?.turn;
        let named = self.machine.is_one_at_hand(&self.run.turns);
        let by_position = self.run.turns.is_empty() && self.machine.answers_by_position();
        (named || by_position).then_some(turn)
    }

    fn unsolicited(&self, frame: &Frame) {
        self.desk.publish(Happening::unsolicited(frame));
    }

    /// Hands what was gathered to the consumers of the turn.
    pub(super) fn flush_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        // Nobody is left to consume: the turn was settled by what came before in the same read.
        let Some(turn) = self.machine.at_hand().map(|open| open.turn) else {
            self.batch.clear();
            return;
        };
        let sinks = self.desk.sinks_of(turn);
        // While it drains nothing waits for a consumer: what does not fit is dropped, but for the result.
        if matches!(self.machine.state(), State::Draining(_)) {
            sinks.iter().for_each(|sink| sink.push_what_fits(self.batch.iter().cloned()));
            self.batch.clear();
            return;
        }
        // Most turns have one consumer, which gets the frames themselves and no copies.
        if let [sink] = &sinks[..] {
            if sink.push(self.batch.drain(..)) {
                self.full = Some(sink.clone());
            }
            return;
        }
        // Each of them gets the whole batch, also behind one that is full: the bound of a consumer is its
        // buffer and one batch, and a frame that is left out would never come again.
        for sink in sinks {
            if sink.push(self.batch.iter().cloned()) {
                self.full = Some(sink);
            }
        }
        self.batch.clear();
    }

    /// A consumer has room again: the CLI is read on, unless another consumer of the turn has none.
    pub(super) fn room(&mut self) {
        let turn = self.machine.at_hand().map(|open| open.turn);
        let sinks = turn.map(|turn| self.desk.sinks_of(turn)).unwrap_or_default();
        self.full = sinks.into_iter().find(|sink| sink.is_full());
        if self.full.is_none() {
            self.fact(Fact::Activity);
        }
    }

    fn result(&mut self, frame: Frame) {
        let Some(result) = frame.result() else { return self.content(frame) };
        let is_ours = self.owner().is_some() || self.machine.is_one_at_hand(frame.turns());
        let (told, spent) = (frame.clone(), result.spent());
        let fact = self.result_fact(frame, result);
        match is_ours {
            // It is not the end of the turn: whoever reads up to the result would miss the answer.
            true if self.machine.pauses(Instant::now(), &fact) => {
                self.earlier = self.earlier.zip(spent).map(|(earlier, more)| earlier + more);
            }
            true => self.batch.push(TurnEvent::Frame(told)),
            false => self.unsolicited(&told),
        }
        // Before the machine is told: to settle the turn takes its consumers off the desk, and what is handed
        // out later reaches nobody.
        self.flush_batch();
        // A result ends its run. A frame without a name that follows is the CLI's own, and not this turn's.
        (self.run.turns, self.run.done) = (TurnIds::default(), None);
        if let Evidence::Result(frame, result) = &fact.evidence {
            if let Some(id) = frame.session_id().filter(|_| result.startup_failure_reason.is_none()) {
                self.follow(id);
            }
            if let Some(cli) = &mut self.cli {
                cli.note_result(result);
            }
        }
        // Whosever result it is: the CLI's own work is the session's as well.
        if let Some(change) = spent.and_then(|spent| self.desk.note_spent(spent)) {
            self.noted = Some(Change::both(self.noted.take(), change));
        }
        self.fact(Fact::Result(fact));
        // The machine's actions are carried out here, and not behind the batch: its next frames may be the
        // next turn's, and have to find this one settled.
        self.perform();
        self.store_noted();
    }

    fn result_fact(&mut self, frame: Frame, result: Box<ResultFrame>) -> ResultFact<Evidence> {
        let limited_for = if result.api_error_status == Some(429) { self.limited_for() } else { None };
        ResultFact {
            limited_for,
            may_pass: limited_for.is_none() && may_pass(&result),
            turns: frame.turns().to_vec(),
            aborted: result.is_interrupted(),
            // A background task that ended has a result of its own (`origin` `task-notification`), which is
            // nobody's answer.
            unsolicited: frame.origin_kind().is_some_and(|kind| kind != "human"),
            evidence: Evidence::Result(frame, result),
        }
    }

    fn lifecycle(&mut self, frame: &Frame) {
        let Ok(Body::CommandLifecycle(event)) = frame.body() else { return };
        let Some(turn) = event.command_uuid else { return };
        let state = match event.state {
            Some(CommandState::Queued) => Lifecycle::Queued,
            Some(CommandState::Started) => Lifecycle::Started,
            Some(CommandState::Completed) => Lifecycle::Completed,
            Some(CommandState::Cancelled | CommandState::Discarded | CommandState::Refused) => {
                Lifecycle::Dropped
            }
            _ => return,
        };
        self.run.done = Some(turn).filter(|_| state == Lifecycle::Completed);
        // What was read before this word belongs to how things stood before it, as with a result.
        self.flush_batch();
        self.fact(Fact::Lifecycle(turn, state));
        self.perform();
    }

    /// Notes that the conversation goes by another id now.
    ///
    /// A CLI that refuses to start says so in a result under an id of its own (2.1.332: `temp_dir_unusable`,
    /// `bypass_root`). Whoever followed that would go on with a blank conversation once the cause is mended.
    fn follow(&mut self, id: SessionId) {
        if self.cli.as_ref().is_some_and(|cli| cli.started)
            && let Some(change) = self.desk.follow(id)
        {
            self.store_noted();
            self.noted = Some(change);
            self.desk.publish(Happening::Conversation { session_id: id });
        }
    }

    /// Has the store told what a result said of the record, if that went with no outcome.
    pub(super) fn store_noted(&mut self) {
        if let Some(change) = self.noted.take() {
            self.desk.store(change);
        }
    }

    fn system(&mut self, kind: SystemKind, frame: Frame) {
        match kind {
            SystemKind::SessionStateChanged => return self.session_state(&frame),
            SystemKind::ApiRetry => self.api_retry(&frame),
            SystemKind::Init => {
                if let Some(id) = frame.session_id() {
                    self.follow(id);
                    self.store_noted();
                }
                self.read_version(&frame);
                self.fact(Fact::TurnBegan);
            }
            SystemKind::TaskNotification => self.fact(Fact::TaskEnded),
            SystemKind::BackgroundTasksChanged => self.background_tasks(&frame),
            SystemKind::Informational => return self.notice(frame),
            SystemKind::SessionWritesLost => {
                tracing::error!(session = %self.desk.name, "the CLI could not write its transcript");
                self.desk.publish(Happening::WritesLost);
            }
            SystemKind::PeerMessageHold => {
                // The frame belongs to no turn: another process sent the message.
                return self.desk.publish(Happening::peer_message_held(&frame));
            }
            SystemKind::Unknown => self.desk.note(Shown::UnknownFrame),
            _ => {}
        }
        self.content(frame);
    }

    /// Where a hook refuses a prompt that was woven into a turn of the CLI's own, this follows the word that the CLI has
    /// done with it, and there is no result of it (2.1.332). Otherwise the result comes behind this, and names it.
    fn notice(&mut self, frame: Frame) {
        let refused = self.run.done.filter(|turn| self.machine.is_at_hand(*turn) && is_refusal(&frame));
        let Some(turn) = refused else { return self.content(frame) };
        self.batch.push(TurnEvent::Frame(frame.clone()));
        self.flush_batch();
        self.fact(Fact::Refused(turn, Evidence::Notice(frame)));
        self.perform();
    }

    /// Each turn begins with such a frame; the first one of a CLI is read, if that has not said its version before.
    fn read_version(&mut self, frame: &Frame) {
        if self.cli.as_ref().is_some_and(|cli| !matches!(cli.version, Version::Said(_)))
            && let Ok(Body::System(SystemBody::Init(init))) = frame.body()
            && let Some(version) = init.claude_code_version
        {
            self.note_version(version);
        }
    }

    fn background_tasks(&mut self, frame: &Frame) {
        if let Ok(Body::System(SystemBody::BackgroundTasksChanged(change))) = frame.body() {
            self.fact(Fact::BackgroundTasks(change.tasks.map_or(0, |tasks| tasks.len())));
        }
    }

    fn session_state(&mut self, frame: &Frame) {
        let Ok(Body::System(SystemBody::SessionStateChanged(change))) = frame.body() else { return };
        // The consumers first: `Idle` and `Running` may change whose the next frames are.
        self.flush_batch();
        self.fact(match change.state {
            Some(SessionState::Idle) => Fact::Idle,
            Some(SessionState::Running) => Fact::Running,
            // The CLI waits for an answer (`requires_action`), and `answers` has given it already: it is a
            // sign of life and no more.
            _ => Fact::Activity,
        });
    }

    fn api_retry(&mut self, frame: &Frame) {
        if let Ok(Body::System(SystemBody::ApiRetry(retry))) = frame.body()
            && retry.error.as_deref() == Some("authentication_failed")
        {
            self.fact(Fact::CredentialsRefused);
        }
    }
}

fn is_refusal(frame: &Frame) -> bool {
    matches!(frame.body(), Ok(Body::System(SystemBody::Informational(notice))) if notice.is_refusal())
}
