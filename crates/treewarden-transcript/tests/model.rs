//! A model of the CLI makes transcripts; what is read from them is what the model did.

mod support;

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    Disk, answered, by_the_cli, call, hint, interruption, known, meta, notification, prompt, result, text,
    woven,
};
use treewarden_proto::TurnId;
use treewarden_transcript::{OpenPrompt, Resumable, Saved, Settled};

/// What becomes of a turn, and what comes before it.
#[derive(Debug, Clone, Copy)]
struct Course {
    end: End,
    /// So many tools are called before the answer.
    tools: usize,
    /// The prompt is woven into a turn of the CLI's own.
    is_woven: bool,
    /// The conversation is compacted before it.
    is_compacted: bool,
    /// A result comes late for the first call of all.
    has_graft: bool,
    /// The CLI is killed behind a call, and the turn is run again from its prompt.
    has_dead_branch: bool,
    /// The CLI writes a hint before it.
    has_hint: bool,
    /// Another writer has a turn behind it.
    has_stranger: bool,
    /// How odd its lines are.
    odd: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Answered,
    Interrupted,
    /// The CLI closes it, and answers when it is asked to go on.
    Nudged(u32),
    /// The CLI answers by itself and writes nothing.
    ByTheCli,
    /// The CLI is killed, and another writer goes on; behind that one's answer the CLI may have been asked to go on.
    Overtaken(Option<u32>),
}

fn course() -> impl Strategy<Value = Course> {
    let end = prop_oneof![
        6 => Just(End::Answered),
        1 => Just(End::Interrupted),
        1 => (0..20_u32).prop_map(End::Nudged),
        2 => Just(End::ByTheCli),
        2 => proptest::option::of(0..20_u32).prop_map(End::Overtaken),
    ];
    let one_of = |n: u8| (0..n).prop_map(|drawn| drawn == 0);
    (end, 0..3_usize, one_of(4), one_of(6), one_of(5), one_of(6), one_of(3), (one_of(4), 0..12_u8)).prop_map(
        |(end, tools, is_woven, is_compacted, has_graft, has_dead_branch, has_hint, (has_stranger, odd))| {
            Course {
                end,
                tools,
                is_woven,
                is_compacted,
                has_graft,
                has_dead_branch,
                has_hint,
                has_stranger,
                odd,
            }
        },
    )
}

/// The CLI's file as it grows.
#[derive(Default)]
struct Cli {
    lines: Vec<String>,
    leaf: Option<String>,
    first_call: Option<String>,
    made: usize,
}

impl Cli {
    fn name(&mut self) -> String {
        self.made += 1;
        format!("00000000-0000-4000-8000-{:012}", self.made)
    }

    fn leaf(&self) -> &str {
        self.leaf.as_deref().expect("something stands there")
    }

    fn write(&mut self, entry: &Value, odd: u8) {
        let line = entry.to_string();
        match odd {
            0 => self.lines.push(format!("{line}\r\n")),
            1 => self.lines.push(format!("\0{line}\0\n")),
            2 => self.lines.push(format!("{line}\n\n{line}\n")),
            3 => self.lines.push(format!("{}\n", line.replacen('{', r#"{"n":-1e999,"cut":"\ud83d","#, 1))),
            4 => self.lines.push(format!("{line}\n{{\"type\":\"assistant\",\"uui\n")),
            5 => self.lines.push(format!("\u{feff}{line}\n")),
            _ => self.lines.push(format!("{line}\n")),
        }
    }

    /// Goes on with an entry.
    fn add(&mut self, entry: &Value, odd: u8) {
        self.write(entry, odd);
        self.leaf = entry["uuid"].as_str().map(str::to_owned);
    }

    fn tool(&mut self, odd: u8) {
        let (asks, says) = (self.name(), self.name());
        let parent = self.leaf().to_owned();
        self.add(&call(&asks, &parent), odd);
        self.first_call.get_or_insert_with(|| asks.clone());
        self.add(&result(&says, &asks), odd);
    }

    fn ask(&mut self, turn: TurnId, course: Course) {
        let odd = course.odd;
        if course.is_woven && self.leaf.is_some() {
            let (start, place) = (self.name(), self.name());
            let parent = self.leaf().to_owned();
            self.add(&notification(&start, &parent), odd);
            self.tool(odd);
            let parent = self.leaf().to_owned();
            self.add(&woven(&place, turn, &parent), odd);
        } else {
            let parent = self.leaf.clone();
            self.add(&prompt(turn, parent.as_deref()), odd);
        }
    }

    fn say(&mut self, words: &str, odd: u8) {
        let (name, parent) = (self.name(), self.leaf().to_owned());
        self.add(&text(&name, &parent, words), odd);
    }

    fn turn(&mut self, turn: TurnId, words: &str, course: Course) {
        let odd = course.odd;
        if course.has_hint && self.leaf.is_some() {
            let leaf = hint(self.leaf());
            self.write(&leaf, odd);
        }
        if course.is_compacted && self.leaf.is_some() {
            let (boundary, summary) = (self.name(), self.name());
            let entry = json!({ "type": "system", "subtype": "compact_boundary", "uuid": boundary,
                "parentUuid": null, "logicalParentUuid": self.leaf() });
            self.add(&entry, odd);
            let mut entry = meta(&summary, &boundary, "This session is being continued");
            (entry["isMeta"], entry["isCompactSummary"]) = (Value::Null, true.into());
            self.add(&entry, odd);
        }
        self.ask(turn, course);
        if course.has_dead_branch {
            let asked = self.leaf.clone();
            let (dead, parent) = (self.name(), self.leaf().to_owned());
            self.add(&call(&dead, &parent), odd);
            self.leaf = asked;
            let (name, parent) = (self.name(), self.leaf().to_owned());
            self.add(&meta(&name, &parent, "Continue from where you left off."), odd);
        }
        (0..course.tools).for_each(|_| self.tool(odd));
        match course.end {
            End::Interrupted => {
                let (name, parent) = (self.name(), self.leaf().to_owned());
                self.add(&interruption(&name, &parent), odd);
            }
            End::Nudged(attempt) => {
                self.say("No response requested.", odd);
                let parent = self.leaf.clone();
                self.add(&prompt(turn.nudge(attempt), parent.as_deref()), odd);
                self.say(words, odd);
            }
            End::Overtaken(_) => {}
            _ => self.say(words, odd),
        }
        if course.has_graft
            && let Some(first) = self.first_call.clone()
        {
            let late = self.name();
            self.write(&result(&late, &first), odd);
        }
        if course.has_stranger || matches!(course.end, End::Overtaken(_)) {
            self.turn_of_another(course);
        }
        if let End::Overtaken(Some(attempt)) = course.end {
            let parent = self.leaf.clone();
            self.add(&prompt(turn.nudge(attempt), parent.as_deref()), odd);
            self.say("another's answer once more", odd);
        }
    }

    /// A turn whose names are none of ours.
    fn turn_of_another(&mut self, course: Course) {
        self.ask(TurnId::new(), course);
        (0..course.tools).for_each(|_| self.tool(course.odd));
        self.say("another's answer", course.odd);
    }
}

fn words(at: usize) -> String {
    format!("the answer to turn <{at}>")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn what_is_read_is_what_was_written(courses in vec(course(), 1..9), torn: bool, filler in 0..4_usize) {
        let mut cli = Cli::default();
        let turns: Vec<TurnId> = courses.iter().map(|_| TurnId::new()).collect();
        let mut settled: Vec<Settled> = Vec::new();
        // The turn that a late result may belong to.
        let mut grafted = None;
        for (at, (turn, course)) in turns.iter().zip(&courses).enumerate() {
            match course.end {
                End::ByTheCli => settled.insert(0, by_the_cli(*turn)),
                End::Interrupted | End::Overtaken(_) => cli.turn(*turn, &words(at), *course),
                _ => {
                    cli.turn(*turn, &words(at), *course);
                    settled.insert(0, answered(*turn));
                }
            }
            if cli.first_call.is_some() {
                grafted.get_or_insert(at);
            }
            if filler == 0 {
                cli.lines.push(format!("{}\n", json!({ "type": "api-request-blob", "blob": "x".repeat(9_000) })));
            }
        }
        let mut file = cli.lines.concat();
        if torn {
            file.push_str("{\"type\":\"user\",\"uuid\":\"");
        }
        let disk = Disk::of(&file);

        // An answer is its turn's own, whole or not at all.
        for (at, (turn, course)) in turns.iter().zip(&courses).enumerate() {
            let answer = disk.answer(*turn);
            match course.end {
                End::ByTheCli => prop_assert_eq!(answer, None),
                End::Interrupted => prop_assert!(answer.is_some_and(|answer| !answer.complete && answer.text.is_empty())),
                End::Overtaken(_) => {
                    let answer = answer.expect("on disk");
                    prop_assert!(answer.overtaken && !answer.complete && answer.text.is_empty(), "turn {at}: {answer:?}");
                }
                _ => {
                    let answer = answer.expect("on disk");
                    let own = words(at);
                    // A result that came late for its own call makes it look unfinished.
                    prop_assert!(answer.text == own && answer.complete || grafted == Some(at) && answer.text.is_empty(), "turn {at}: {answer:?}");
                }
            }
        }

        // What was settled is there, and the leaf is where the CLI was.
        prop_assert_eq!(disk.holds(&known(&settled)), Saved::Yes);
        let before = disk.bytes();
        match disk.prepare(&settled, None) {
            Resumable::NothingPersisted => prop_assert!(cli.leaf.is_none()),
            Resumable::At { leaf, .. } => {
                let last_is_noted = courses.iter().rfind(|course| course.end != End::ByTheCli);
                let is_answered = |course: &Course| matches!(course.end, End::Answered | End::Nudged(_));
                if last_is_noted.is_some_and(is_answered) {
                    prop_assert_eq!(Some(leaf), cli.leaf.clone());
                }
                let again = disk.prepare(&settled, None);
                prop_assert!(matches!(again, Resumable::At { hint_written: false, .. }), "{:?}", again);
            }
            Resumable::Lost { reason } => prop_assert!(false, "{}", reason),
        }
        prop_assert!(disk.bytes().starts_with(&before), "no line is changed");

        // What another went on behind is never run again.
        if let Some((turn, End::Overtaken(_))) = turns.last().zip(courses.last().map(|course| course.end)) {
            let found = disk.prepare(&settled, Some(*turn));
            prop_assert!(matches!(found, Resumable::At { open: OpenPrompt::Overtaken, .. }), "{:?}", found);
        }

        // Without the last answered turn the conversation is lost, whatever else is there.
        let names: HashSet<String> = settled.iter().filter(|turn| turn.written).map(|turn| turn.turn.to_string()).collect();
        if let Some(last) = settled.iter().find(|turn| turn.written).filter(|_| names.len() > 1) {
            let name = last.turn.to_string();
            let cut: String = cli.lines.iter().take_while(|line| !line.contains(&name)).cloned().collect();
            disk.write(cut);
            prop_assert!(disk.lost(&settled).contains(&name));
            let saved = disk.holds(&known(&settled));
            prop_assert_eq!(saved, Saved::No { missing: last.turn });
        }
    }
}
