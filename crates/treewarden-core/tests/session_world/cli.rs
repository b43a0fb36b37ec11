//! The model of the CLI, as CLI 2.1.330 and CLI 2.1.197 were measured to behave.

use std::collections::VecDeque;
use std::time::Duration;

use treewarden_core::session::{Lifecycle, ResultFact};
use treewarden_proto::TurnId;

/// What an outcome is made of in this world: the turn that it truly answers, if it answers one.
pub(crate) type Truth = Option<TurnId>;
pub(crate) type Event = treewarden_core::session::Event<Truth>;
pub(crate) type Fact = treewarden_core::session::Fact<Truth>;

/// A line of the transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Prompt(TurnId),
    Answer(TurnId),
    Interruption(TurnId),
}

#[derive(Debug)]
pub(crate) struct Cli {
    weak: bool,
    pub(crate) dead: bool,
    pub(crate) frozen: bool,
    /// Processes of it outlive whatever is done to end it.
    pub(crate) survives: bool,
    /// What the model sees.
    context: Vec<Line>,
    /// The end of the context that has not reached the disk.
    pub(crate) unwritten: VecDeque<Line>,
    /// What it printed and nobody has read.
    pub(crate) printed: VecDeque<Event>,
    waiting: VecDeque<TurnId>,
    running: Option<Run>,
    /// How far it is with a turn of its own, which begins when no other runs.
    own: Option<u8>,
}

#[derive(Debug)]
struct Run {
    turn: TurnId,
    stage: u8,
    aborted: bool,
}

impl Cli {
    /// Opens the conversation on the disk; `rerun` runs its last prompt again if that has no end.
    pub(crate) fn new(weak: bool, disk: &[Line], rerun: bool) -> Self {
        let running = match disk.last() {
            Some(Line::Prompt(turn)) if rerun => Some(Run { turn: *turn, stage: 0, aborted: false }),
            _ => None,
        };
        Self {
            weak,
            dead: false,
            frozen: false,
            survives: false,
            context: disk.to_vec(),
            unwritten: VecDeque::new(),
            printed: VecDeque::new(),
            waiting: VecDeque::new(),
            running,
            own: None,
        }
    }

    /// A background task ends, or a wake-up is due.
    pub(crate) fn begin_own(&mut self) {
        if !self.dead && !self.frozen && self.own.is_none() {
            self.own = Some(0);
        }
    }

    /// It has so many background tasks now.
    pub(crate) fn tasks(&mut self, count: usize) {
        if !self.dead && !self.frozen {
            self.print(Fact::BackgroundTasks(count));
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        let works = self.running.is_some() || self.own.is_some() || !self.waiting.is_empty();
        self.dead || !self.printed.is_empty() || (works && !self.frozen)
    }

    /// Reads a user frame.
    pub(crate) fn take(&mut self, turn: TurnId) {
        if self.dead {
            return;
        }
        let ended = [Line::Answer(turn), Line::Interruption(turn)];
        if self.context.iter().any(|line| ended.contains(line)) {
            self.print(Fact::Activity);
            self.life(turn, Lifecycle::Completed);
            self.idle();
        } else if self.running.as_ref().is_some_and(|run| run.turn == turn) {
            self.print(Fact::Activity);
        } else {
            assert!(!self.context.contains(&Line::Prompt(turn)), "{turn} stands twice in the context");
            self.life(turn, Lifecycle::Queued);
            self.waiting.push_back(turn);
        }
    }

    pub(crate) fn interrupt(&mut self) {
        if let Some(run) = self.running.as_mut().filter(|run| run.stage < 3) {
            run.aborted = true;
        } else if self.running.is_none() && self.own.is_some_and(|stage| stage > 0) {
            self.own = Some(2);
        }
    }

    pub(crate) fn probe(&mut self) {
        if !self.dead && !self.frozen {
            self.printed.push_back(Event::ProbeAnswered);
        }
    }

    pub(crate) fn step(&mut self, limited: bool) {
        if self.dead || self.frozen {
            return;
        }
        let Some(run) = &mut self.running else {
            if let Some(stage) = self.own {
                return self.step_own(stage + 1);
            }
            // A prompt joins the context when its turn begins.
            if let Some(turn) = self.waiting.pop_front() {
                self.write(Line::Prompt(turn));
                self.running = Some(Run { turn, stage: 0, aborted: false });
            }
            return;
        };
        run.stage += 1;
        let (turn, stage, aborted) = (run.turn, run.stage, run.aborted);
        match stage {
            1 => {
                self.state(Fact::Running);
                self.life(turn, Lifecycle::Started);
            }
            2 => self.print(Fact::AwaitsHost),
            3 if aborted => self.write(Line::Interruption(turn)),
            3 => {
                self.print(Fact::Activity);
                self.write(Line::Answer(turn));
            }
            _ => {
                self.result(turn, aborted, limited);
                self.life(turn, Lifecycle::Completed);
                self.running = None;
                self.idle();
            }
        }
    }

    fn step_own(&mut self, stage: u8) {
        self.own = Some(stage);
        match stage {
            1 => {
                self.state(Fact::Running);
                self.print(Fact::TurnBegan);
            }
            2 => self.print(Fact::Activity),
            _ => {
                let result = ResultFact { unsolicited: true, ..ResultFact::default() };
                self.print(Fact::Result(result));
                self.own = None;
                self.idle();
            }
        }
    }

    fn result(&mut self, turn: TurnId, aborted: bool, limited: bool) {
        let fact = ResultFact {
            evidence: Some(turn),
            turns: if self.weak { vec![] } else { vec![turn] },
            aborted,
            unsolicited: false,
            limited_for: limited.then_some(Duration::from_secs(3600)),
            may_pass: false,
        };
        self.print(Fact::Result(fact));
    }

    fn write(&mut self, line: Line) {
        self.context.push(line);
        self.unwritten.push_back(line);
    }

    fn print(&mut self, fact: Fact) {
        self.printed.push_back(Event::Frame(fact));
    }

    fn life(&mut self, turn: TurnId, state: Lifecycle) {
        if !self.weak {
            self.print(Fact::Lifecycle(turn, state));
        }
    }

    /// An old CLI does not say when it works.
    fn state(&mut self, fact: Fact) {
        if !self.weak {
            self.print(fact);
        }
    }

    fn idle(&mut self) {
        if !self.weak && self.running.is_none() && self.waiting.is_empty() {
            self.print(Fact::Idle);
        }
    }
}
