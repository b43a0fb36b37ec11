//! What the machine's actions do.

use treewarden_core::session::{Action, End, Evidence, Permanent, PermanentKind, SessionState, State};
use treewarden_proto::TurnId;
use treewarden_proto::control::HostRequest;
use treewarden_proto::input::UserFrame;

use super::cli::How;
use super::control::Purpose;
use super::{Engine, Event, Seen};
use crate::events::Happening;
use crate::session::desk::{NotStored, Sending, Shown};
use crate::warm::INITIALIZE;

impl Engine {
    pub(super) fn effect(&mut self, action: Action<Evidence>) {
        match action {
            Action::Start(start) => self.begin_start(start),
            Action::Initialize => self.initialize(),
            Action::Send(turn) => self.send(turn),
            Action::Nudge(turn, id) => self.nudge(turn, id),
            Action::GoOn(turn, id) => self.go_on(turn, id),
            // Without `cancel_queued` a prompt that waits in the CLI runs next, as a turn of its own
            // (2.1.332).
            Action::Interrupt => self.request(Purpose::Other, HostRequest::Interrupt { cancel_queued: true }),
            Action::Probe => self.request(Purpose::Probe, HostRequest::GetBinaryVersion),
            Action::ReadTranscript(turn) => self.read_transcript(turn),
            Action::LookOnDisk => self.look_on_disk(),
            Action::Settle(turn, settlement) => self.settle(turn, settlement),
            Action::Recycle => self.recycle(),
            Action::Stop => self.begin_closing(How::Ladder),
            Action::Terminate => self.begin_closing(How::Terminate),
            Action::Kill => self.begin_closing(How::Kill),
            Action::NewConversation => self.new_conversation(),
            Action::Rename => self.rename(),
            Action::End(end) => self.finish(end),
        }
    }

    fn initialize(&mut self) {
        let asked = self.cli.as_mut().and_then(|cli| cli.asked_already.take());
        if asked.is_some() {
            // The pool has asked the CLI to initialize under the id that is taken here: so the answer is
            // recognised, and the CLI is not asked twice.
            let id = self.pending.add(Purpose::Initialize);
            debug_assert_eq!(id, INITIALIZE, "the first request to a CLI is to initialize");
        } else {
            let fields = self.desk.options().spec.initialize();
            self.request(Purpose::Initialize, HostRequest::Initialize(fields));
        }
        // A CLI is started with the model and mode of the options. What was chosen at run time is asked of
        // each CLI anew, or a crash would take it back.
        let (model, mode) = self.desk.overrides();
        if let Some(model) = model {
            self.request(Purpose::Other, HostRequest::SetModel(Some(model)));
        }
        if let Some(mode) = mode {
            self.request(Purpose::Other, HostRequest::SetPermissionMode(mode));
        }
        // Behind the requests above: the answer has the first turn sent, which must find the model and the
        // mode set.
        if let Some(lines) = asked {
            self.lines = lines;
            self.read_lines(true);
        }
    }

    /// Writes the user frame of a turn, once everything is stored that has to be stored before, unless the CLI would act on it.
    fn send(&mut self, turn: TurnId) {
        // Before anything is stored: of a turn that waits for a limit nothing was sent.
        if let Some(left) = self.limit_of(turn) {
            return self.handle(Event::Limited(turn, left));
        }
        if self.keeps_from(turn) {
            return;
        }
        match self.desk.sending(turn) {
            Sending::Gone => {}
            Sending::Now => self.write_turn(turn),
            Sending::After(stored) => {
                self.sending = Some((turn, stored));
                self.handle(Event::Held(turn));
            }
        }
    }

    /// What a turn waited for is stored, or refused.
    pub(super) fn noted(&mut self, turn: TurnId, noted: Result<(), NotStored>) {
        self.sending = None;
        self.handle(match noted {
            Ok(()) => Event::Released(turn),
            Err(why) => {
                let text =
                    format!("what had to be stored before the turn is not, and so it was not sent: {why}");
                Event::Unsent(turn, Permanent::new(PermanentKind::Store, text))
            }
        });
    }

    fn write_turn(&mut self, turn: TurnId) {
        let deadline = self.machine.in_flight().and_then(|open| open.deadline);
        // Before the prompt: a CLI whose file was taken away while it was quiet would begin another file with
        // it, which goes on from nowhere.
        self.desk.see_to_first_name();
        let Some(prompt) = self.desk.sent(turn, deadline) else { return };
        if self.is_woven(turn) || self.is_overtaken(turn) {
            // The prompt stands in the conversation already, and an answer to it may stand there, too.
            return self.read_transcript(turn);
        }
        self.run.forget_unless(|turns| self.machine.is_one_at_hand(turns));
        let verbatim = !prompt.is_command();
        self.write(UserFrame::new(turn, prompt.content().clone()).client_composed(verbatim).encode());
    }

    pub(super) fn is_woven(&self, turn: TurnId) -> bool {
        self.cli.as_ref().is_some_and(|cli| cli.woven == Some(turn))
    }

    /// The turn's prompt was behind another writer's when this CLI was started: it is not sent.
    pub(super) fn is_overtaken(&self, turn: TurnId) -> bool {
        self.cli.as_ref().is_some_and(|cli| cli.overtaken == Some(turn))
    }

    /// Asks the CLI to go on with a turn that its predecessor wove into one of its own, unless that is answered.
    pub(super) fn go_on_with_woven(&mut self, turn: TurnId, is_answered: bool) {
        if !self.is_woven(turn) {
            return;
        }
        if let Some(cli) = &mut self.cli {
            cli.woven = None;
        }
        let attempts = self.machine.in_flight().filter(|open| open.turn == turn).map(|open| open.attempts);
        if let Some(attempts) = attempts.filter(|_| !is_answered) {
            // An id of its own for each attempt: the CLI answers one that it has seen with `completed` and
            // does nothing.
            self.nudge(turn, turn.nudge(attempts));
        }
    }

    /// Asks the CLI to go on with a turn, in the words in which it asks itself.
    pub(super) fn nudge(&mut self, turn: TurnId, id: TurnId) {
        tracing::info!(session = %self.desk.name, %turn, "the CLI is asked to go on with a turn");
        self.run.forget_unless(|turns| self.machine.is_one_at_hand(turns));
        self.write(UserFrame::new(id, "Continue from where you left off.").encode());
    }

    fn new_conversation(&mut self) {
        let id = self.desk.clear();
        self.desk.publish(Happening::Conversation { session_id: id });
    }

    fn rename(&mut self) {
        let id = self.desk.new_conversation(None);
        self.desk.publish(Happening::Conversation { session_id: id });
    }

    fn finish(&mut self, end: End) {
        // Counted before the engine ends, and on its way to the store: the next start, here or in another host, has to
        // know how often each turn was tried.
        if let End::Crashed(_) = &end {
            for (turn, interruptions) in self.desk.interrupted() {
                self.desk.publish(Happening::TurnInterrupted { turn, interruptions });
            }
        }
        let state = match &end {
            End::Parked | End::Stopped(_) => SessionState::Parked,
            End::Crashed(_) => SessionState::Restarting,
            End::Failed(_) => SessionState::Failed,
        };
        match &end {
            End::Failed(permanent) => {
                self.desk.note(Shown::Trouble(Some(permanent.message.as_str().into())));
            }
            // What it waited for is nobody's matter any more; what failed is, until a CLI is up.
            End::Parked => {
                self.desk.note(Shown::Trouble(self.machine.start_failure().map(String::into_boxed_str)));
            }
            End::Stopped(_) | End::Crashed(_) => {}
        }
        self.desk.forget_work();
        self.desk.keep_deadlines(self.machine.deadlines(std::time::Instant::now()));
        self.desk.set_state(state, None, None);
        self.end = Some(end);
    }

    /// The turn is not sent yet, because the store does not have what must come before it, or the CLI's version is not known.
    fn holds_back(&self, turn: TurnId) -> bool {
        self.sending.as_ref().is_some_and(|(held, _)| *held == turn)
    }

    /// Shows what the machine is doing in the status.
    pub(super) fn show_state(&mut self) {
        let Seen { state, work, trouble, .. } = &self.seen;
        // Where there is none, what was shown stays until a CLI is up.
        if let Some(trouble) = trouble {
            self.desk.note(Shown::Trouble(Some(trouble.as_str().into())));
        }
        let (state, turn) = match *state {
            State::Starting | State::Initializing => (SessionState::Starting, None),
            State::Ready => (SessionState::Ready, None),
            State::Working => (SessionState::Working, None),
            // The CLI was not sent it: it waits, as one behind a usage limit does.
            State::Settling(turn) if self.holds_back(turn) => (SessionState::Ready, None),
            // Nobody was told the outcome yet: to whoever looks, the session is at the turn still.
            State::Busy(turn) | State::Settling(turn) => (SessionState::Busy, Some(turn)),
            State::Draining(turn) => (SessionState::Draining, Some(turn)),
            State::Suspended(until) => {
                self.desk.suspend(until);
                (SessionState::Suspended, None)
            }
            State::Stopping => (SessionState::Stopping, None),
            State::Ended => return,
        };
        self.desk.show_work(work);
        if turn.is_some() {
            self.desk.note(Shown::Attributed(self.machine.attributes_by_id()));
        }
        let pid = self.cli.as_ref().map(|cli| cli.pid());
        self.desk.set_state(state, pid, turn);
    }
}
