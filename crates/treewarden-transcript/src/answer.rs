//! What a turn was answered, as the transcript has it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use treewarden_proto::{SessionId, TurnId};

use crate::line::{Line, read, scan};
use crate::message::{Message, is_interruption};
use crate::resume::{goes_on_with, leaf};
use crate::tree::{Id, Tree, nudges};
use crate::{TranscriptError, find};

/// What a transcript holds of the end of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskAnswer {
    /// The text of the last message of the model.
    pub text: String,
    /// The model had ended its answer.
    pub complete: bool,
    /// The turn was interrupted.
    pub interrupted: bool,
    /// Another writer went on with the conversation behind the turn: nothing that comes now is an answer to it.
    pub overtaken: bool,
}

/// Looks for the end of a turn; `None` if the conversation or the turn is not on disk.
///
/// A message belongs to the last prompt before it, so that no other turn's answer is taken for this one's. That prompt may
/// be the turn's own, wherever its id is named, or one by which the CLI was asked to go on with the turn; one of the latter
/// that stands behind somebody else's prompt had the CLI go on with that.
///
/// # Errors
///
/// [`TranscriptError`] if the file cannot be read.
pub fn answer_to(
    config_dir: &Path,
    id: SessionId,
    turn: TurnId,
) -> Result<Option<DiskAnswer>, TranscriptError> {
    let found = find(config_dir, id).map_err(TranscriptError::of_folders(config_dir))?;
    let Some(path) = found else { return Ok(None) };
    read_answer(&path, turn).map_err(TranscriptError::of(&path))
}

fn read_answer(path: &Path, turn: TurnId) -> io::Result<Option<DiskAnswer>> {
    let mut turns = Messages::of(turn);
    scan(path, |at, line| turns.add(at, line))?;
    // No prompt, no answer: whatever else stands in the file is of other turns.
    if turns.prompts.is_empty() {
        return Ok(None);
    }
    // Only now, since it takes the whole tree: whose prompt stands behind the turn's shows in its last lines.
    let overtaken = turns.leave_to_others(turn);
    // Opened a second time: while the lines were scanned it was not known which of them count, and to keep
    // their texts would take as much memory as the file. A CLI only appends, so that the places still hold.
    let mut file = BufReader::new(File::open(path)?);
    let mut answer = Vec::new();
    for at in turns.newest_first() {
        let message = Said::read(&mut file, at)?;
        let is_part = |first: &Said| message.by_model && first.by_model && message.says.id == first.says.id;
        // The CLI writes a line for each block of one answer, all under one message id. A line before with
        // another id is an earlier step of the turn, such as a call of a tool.
        if answer.first().is_some_and(|first| !is_part(first)) {
            break;
        }
        answer.push(message);
    }
    Ok(Some(DiskAnswer { overtaken, ..judge(&answer) }))
}

/// The messages since a turn's prompt appeared, its prompts aside, and which of them are the turn's.
struct Messages {
    tree: Tree,
    /// The turn's prompt and the messages that ask the CLI to go on with it, by the names that they were given.
    names: HashSet<Id>,
    /// The entries that are the turn's own prompts.
    prompts: HashSet<Id>,
    /// Where the line of each message begins, in the order of the file.
    lines: Vec<(Id, u64)>,
}

impl Messages {
    fn of(turn: TurnId) -> Self {
        let names = std::iter::once(turn).chain(nudges(turn)).map(Id::from).collect();
        Self { tree: Tree::default(), names, prompts: HashSet::new(), lines: Vec::new() }
    }

    fn add(&mut self, at: u64, line: &Line<'_>) {
        let ids = line.ids();
        // Looked up before the line is added, which takes the place of an earlier one with its name.
        let before = ids.and_then(|(id, _)| self.tree.node(id).copied());
        line.feed(&mut self.tree);
        let Some((id, woven)) = ids else { return };
        if self.names.contains(&id) || woven.is_some_and(|turn| self.names.contains(&turn)) {
            self.prompts.insert(id);
            // A prompt that stands once more, under another parent, is run again: what was said before is no
            // answer to it. A line that only came twice has the same parent.
            if before
                .is_some_and(|before| self.tree.node(id).is_some_and(|node| node.parent != before.parent))
            {
                self.lines.clear();
            }
        } else if !self.prompts.is_empty() && line.is_message() {
            self.lines.push((id, at));
        }
    }

    /// Drops the prompts that had the CLI go on with somebody else's turn; tells whether another writer went
    /// on behind this one.
    fn leave_to_others(&mut self, turn: TurnId) -> bool {
        let (places, nudges) = (self.tree.places(turn), self.tree.nudges(turn));
        let is_own = |id: Id| goes_on_with(&self.tree, id, &places, &nudges);
        // A nudge that was sent too late stands behind somebody else's prompt: an answer below it is to that.
        self.prompts.retain(|id| is_own(*id));
        leaf(&self.tree, &places).is_some_and(|leaf| !is_own(leaf))
    }

    /// Where the turn's messages stand, from its newest one back to the prompt.
    fn newest_first(&self) -> Vec<u64> {
        let mut known = HashMap::new();
        let newest = self.lines.iter().rev().map(|(id, _)| *id).find(|id| self.is_own(*id, &mut known));
        // The turn's prompt is there and nothing behind it is its own: it has not been answered yet.
        let Some(newest) = newest else { return Vec::new() };
        // Of two lines with one name the later one counts.
        let lines: HashMap<Id, u64> = self.lines.iter().copied().collect();
        let chain =
            self.tree.chain(newest).take_while(|(id, node)| !self.prompts.contains(id) && !node.prompt);
        chain.filter_map(|(id, _)| lines.get(&id).copied()).collect()
    }

    /// Tells whether the last prompt before a message is the turn's; each entry is looked at once.
    fn is_own(&self, from: Id, known: &mut HashMap<Id, bool>) -> bool {
        let mut walked = Vec::new();
        let mut next = Some(from);
        let own = loop {
            let Some(id) = next else { break false };
            if let Some(known) = known.get(&id) {
                break *known;
            }
            if self.prompts.contains(&id) {
                break true;
            }
            let Some(node) = self.tree.node(id).filter(|node| !node.prompt) else { break false };
            // Parents that form a circle come back to this entry, which then is nobody's, and the walk ends.
            known.insert(id, false);
            walked.push(id);
            next = node.parent;
        };
        known.extend(walked.into_iter().filter(|_| own).map(|id| (id, true)));
        own
    }
}

/// A message, and whose it is.
struct Said {
    by_model: bool,
    /// It says that the model API failed, in the model's name.
    failure: bool,
    says: Message,
}

impl Said {
    fn read(file: &mut BufReader<File>, at: u64) -> io::Result<Self> {
        let mut line = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.read_until(b'\n', &mut line)?;
        let said = read(&line, |line| Self {
            by_model: line.is_of_model(),
            failure: line.is_api_error(),
            says: line.message(),
        });
        // The line was read once while the file was scanned. Should it be another now, it is nobody's word,
        // and no answer is made of it.
        Ok(said.unwrap_or_else(|| Self { by_model: false, failure: false, says: Message::default() }))
    }
}

/// Reads the end of a turn off its messages, newest first.
fn judge(messages: &[Said]) -> DiskAnswer {
    let interrupted =
        messages.first().is_some_and(|message| !message.by_model && is_interruption(&message.says));
    let Some(last) = messages.first().filter(|message| message.by_model) else {
        return DiskAnswer { text: String::new(), complete: false, interrupted, overtaken: false };
    };
    let text: String = messages.iter().rev().map(|message| message.says.text()).collect();
    // A CLI that was killed and resumed may close the turn itself, with a message that is no answer.
    // A call of a tool has its result still to come: taken for an answer, the words before it would settle
    // the turn.
    // Nor is a failure of the model API one: the CLI goes on behind it when it is asked to.
    let complete =
        !last.failure && !last.says.has("tool_use") && !text.is_empty() && text != "No response requested.";
    DiskAnswer { text, complete, interrupted, overtaken: false }
}
