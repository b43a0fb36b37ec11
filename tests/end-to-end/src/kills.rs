//! The instants of a turn at which a CLI is killed, and the table of what came of it.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

use treewarden_proto::frame::{Body, Content, Frame, FrameKind};

/// A part of a turn, from the spawn of its CLI to the moment after its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Phase {
    Spawn,
    Initialize,
    PromptWritten,
    FirstDelta,
    ToolRunning,
    ToolDone,
    Answering,
    AnswerComplete,
    ResultOnItsWay,
    AfterResult,
}

impl Phase {
    /// Every phase, in the order of a turn.
    pub const ALL: [Self; 10] = [
        Self::Spawn,
        Self::Initialize,
        Self::PromptWritten,
        Self::FirstDelta,
        Self::ToolRunning,
        Self::ToolDone,
        Self::Answering,
        Self::AnswerComplete,
        Self::ResultOnItsWay,
        Self::AfterResult,
    ];

    /// The phase comes before any frame of the turn.
    pub fn is_before_the_prompt(self) -> bool {
        matches!(self, Self::Spawn | Self::Initialize)
    }

    /// So many milliseconds after its beginning the kill comes at most.
    pub fn spread(self) -> u64 {
        match self {
            Self::Spawn => 100,
            Self::Initialize => 200,
            Self::PromptWritten | Self::Answering => 60,
            Self::FirstDelta | Self::AnswerComplete => 10,
            Self::ToolRunning => 280,
            Self::ToolDone | Self::AfterResult => 30,
            Self::ResultOnItsWay => 4,
        }
    }

    /// Tells whether the phase begins with this frame.
    pub fn is_reached_by(self, frame: &Frame) -> bool {
        match self {
            Self::Spawn | Self::Initialize | Self::AfterResult => false,
            Self::PromptWritten => true,
            Self::FirstDelta => frame.kind() == FrameKind::StreamEvent,
            Self::ToolRunning => has_tool_use(frame),
            Self::ToolDone => frame.kind() == FrameKind::User,
            Self::Answering => frame.text_delta().is_some(),
            Self::AnswerComplete => frame.kind() == FrameKind::Assistant && !has_tool_use(frame),
            Self::ResultOnItsWay => frame.kind() == FrameKind::Result,
        }
    }
}

fn has_tool_use(frame: &Frame) -> bool {
    let Ok(Body::Assistant(assistant)) = frame.body() else { return false };
    let content = assistant.message.and_then(|message| message.content);
    let Some(Content::Blocks(blocks)) = content else { return false };
    blocks.iter().any(|block| block.as_tool_use().is_some())
}

/// What the kills of one phase came to.
#[derive(Debug, Default)]
pub struct Row {
    turns: u64,
    kills: u64,
    missed: u64,
    answered: u64,
}

impl Row {
    /// Counts a kill that hit a CLI, or found none.
    pub fn kill(&mut self, hit: bool) {
        if hit {
            self.kills += 1;
        } else {
            self.missed += 1;
        }
    }

    /// Whether every kill hit what it was meant for.
    pub fn all_hit(&self) -> bool {
        self.missed == 0
    }

    /// Counts a turn.
    pub fn turn(&mut self, answered: bool) {
        self.turns += 1;
        self.answered += u64::from(answered);
    }
}

/// The table by phase.
pub fn table<P: Debug>(rows: &BTreeMap<P, Row>) -> String {
    let mut text =
        String::from("| phase | turns | kills | no CLI to kill | answered |\n|---|---|---|---|---|\n");
    for (phase, row) in rows {
        let Row { turns, kills, missed, answered } = row;
        let _infallible = writeln!(text, "| {phase:?} | {turns} | {kills} | {missed} | {answered} |");
    }
    text
}

/// A small generator of numbers, the same for the same seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// A phase that any turn comes to.
    pub fn phase(&mut self) -> Phase {
        let phases = &Phase::ALL[2..8];
        let at = usize::try_from(self.below(phases.len() as u64)).unwrap_or(0);
        phases[at]
    }
}
