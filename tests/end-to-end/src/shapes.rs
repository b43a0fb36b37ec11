//! The shapes of a turn, from a plain one to one that the CLI answers by itself, and the table of what came of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use treewarden::Prompt;
use treewarden_testkit::mock_api::{Reply, Request};

/// What a prompt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Shape {
    Plain,
    Tool,
    Background,
    Help,
    Cost,
    Refused,
    Compact,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Tool, Self::Background, Self::Help, Self::Cost, Self::Refused, Self::Compact];

    /// The model is asked, so the prompt stands in the context.
    pub fn asks_the_model(self) -> bool {
        matches!(self, Self::Plain | Self::Tool | Self::Background)
    }

    /// A tool runs that counts its runs.
    pub fn counts(self) -> bool {
        matches!(self, Self::Tool | Self::Background)
    }

    /// The prompt for the real CLI, whose model is the mock API with [`reply`].
    pub fn for_the_real_cli(self, tag: &str) -> String {
        match self {
            Self::Plain => format!("{tag} STREAM=6:25"),
            Self::Tool => format!("{tag} BASH=echo x >> {}; sleep 0.3;; STREAM=4:25", counter(tag)),
            Self::Background => format!("{tag} TASK=echo x >> {}; sleep 0.4;; STREAM=4:25", counter(tag)),
            Self::Refused => format!("{tag} refuse-this"),
            Self::Help | Self::Cost | Self::Compact => self.command().to_owned(),
        }
    }

    /// The prompt for the fake CLI.
    pub fn for_the_fake_cli(self, tag: &str) -> String {
        match self {
            Self::Plain => format!("{tag} STREAM=4:10"),
            Self::Tool => format!("{tag} TOOL=40 COUNT={} STREAM=3:10", counter(tag)),
            Self::Background => format!("{tag} BACKGROUND=60 OWN=30 OWN_TOOL=40 STREAM=3:10"),
            Self::Refused => format!("{tag} REFUSED"),
            Self::Help | Self::Cost | Self::Compact => self.command().to_owned(),
        }
    }

    /// How it is asked: as a command where the CLI is to act on it.
    pub fn asked_as(self, prompt: &str) -> Prompt {
        match self {
            Self::Help | Self::Cost | Self::Compact => Prompt::command(prompt),
            _ => prompt.into(),
        }
    }

    fn command(self) -> &'static str {
        match self {
            Self::Help => "/help",
            Self::Cost => "/cost",
            _ => "/compact",
        }
    }

    /// Tells whether this is the shape's own answer to that prompt.
    pub fn is_answered_by(self, tag: &str, text: &str) -> bool {
        match self {
            Self::Plain | Self::Tool | Self::Background => text.contains(&format!("answer to {tag}")),
            Self::Help => text.contains("/help"),
            Self::Cost => text.contains("cost"),
            // Woven into a turn of the CLI's own it comes by the hook as well (2.1.332).
            Self::Refused => text.contains("blocked by hook") && text.contains(tag),
            Self::Compact => true,
        }
    }
}

/// The file in which the tool of a turn counts its runs; its name is no word that [`MockApi`] takes for a prompt.
///
/// [`MockApi`]: treewarden_testkit::mock_api::MockApi
pub fn counter(tag: &str) -> String {
    format!("{}.count", tag.replace("PROMPT-", "ran-"))
}

/// The settings that have a hook refuse the prompts of [`Shape::Refused`], for a `settings.json`.
pub fn refusing_settings() -> Value {
    let command = "grep -q refuse-this && { echo no >&2; exit 2; }; exit 0";
    json!({ "hooks": { "UserPromptSubmit": [{ "hooks": [{ "type": "command", "command": command }] }] } })
}

/// The mock model: as the prompt's words say, and a tool call in each turn that the CLI has of its own, so that a prompt
/// can be woven into it.
pub fn reply(request: &Request) -> Reply {
    let newest = request.content.as_ref().and_then(|content| content.users.last()).map_or("", String::as_str);
    if newest.contains("<task-notification>") && !newest.contains("PROMPT-") {
        return Reply::bash("sleep 0.7");
    }
    let task = request.prompt().split_once("TASK=").and_then(|(_, rest)| rest.split_once(";;"));
    match task.filter(|_| !request.after_tool) {
        Some((command, _)) => Reply::tool(
            "Bash",
            json!({ "command": command, "description": "task", "run_in_background": true }),
        ),
        None => Reply::from_words(request),
    }
}

/// What came of the turns of each shape.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<Shape, Row>);

#[derive(Debug, Default)]
struct Row {
    turns: u64,
    kills: u64,
    interruptions: u64,
    /// How many tools ran so often.
    runs: BTreeMap<usize, u64>,
}

impl Tally {
    /// Counts a turn that was answered, and how many CLIs died under it.
    pub fn turn(&mut self, shape: Shape, interruptions: u32) {
        let row = self.0.entry(shape).or_default();
        row.turns += 1;
        row.interruptions += u64::from(interruptions);
    }

    /// Counts kills.
    pub fn kills(&mut self, shape: Shape, count: u64) {
        self.0.entry(shape).or_default().kills += count;
    }

    /// Counts how often a turn's tool ran, by the file of that name in `work`.
    pub fn runs(&mut self, shape: Shape, work: &Path, tag: &str) {
        let text = std::fs::read_to_string(work.join(counter(tag))).unwrap_or_default();
        *self.0.entry(shape).or_default().runs.entry(text.lines().count()).or_default() += 1;
    }

    /// Takes in what another one counted.
    pub fn add(&mut self, other: Self) {
        for (shape, other) in other.0 {
            let row = self.0.entry(shape).or_default();
            row.turns += other.turns;
            row.kills += other.kills;
            row.interruptions += other.interruptions;
            for (runs, count) in other.runs {
                *row.runs.entry(runs).or_default() += count;
            }
        }
    }

    /// How many kills were counted.
    pub fn all_kills(&self) -> u64 {
        self.0.values().map(|row| row.kills).sum()
    }

    /// The table by shape.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| shape | turns answered once | kills | interruptions | tools by how often they ran |\n|---|---|---|---|---|\n",
        );
        for (shape, row) in &self.0 {
            let runs: Vec<String> =
                row.runs.iter().map(|(runs, count)| format!("{runs}×: {count}")).collect();
            let Row { turns, kills, interruptions, .. } = row;
            let _infallible =
                writeln!(text, "| {shape:?} | {turns} | {kills} | {interruptions} | {} |", runs.join(", "));
        }
        text
    }
}

/// So long a test of the real CLI waits for one answer, over any number of kills.
pub const ANSWER: Duration = Duration::from_secs(300);
