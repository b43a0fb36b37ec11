//! The CLI's own transcript: finds it, makes it ready for a resume, and looks answers up in it.
//!
//! The transcript belongs to the CLI. This module only reads it, ends a torn last line, and appends one line that the
//! CLI itself would write; it never changes or removes a line. Which leaf is the true one is decided in
//! [`treewarden_core::resume_point`]. A transcript may be hundreds of megabytes: only its end is read where that is
//! enough (`tail`), otherwise it is streamed. An entry that cannot be read is passed over.

mod tail;

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use treewarden_core::resume_point::{Entry, Role, Transcript};
use treewarden_proto::{SessionId, TurnId};

/// So much of the end of a transcript is read first: a turn or two, most often.
const FIRST_WINDOW: u64 = 16 << 10;

/// The entry that names the leaf at which the CLI would resume.
const HINT: &str = "last-prompt";

/// Where a conversation can be resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumable {
    /// Nothing of it is on disk: it is begun, not resumed.
    NothingPersisted,
    /// It is on disk, and its resume point is right.
    At {
        /// The uuid of its true leaf.
        leaf: String,
        /// The CLI would have gone elsewhere, and was told.
        hint_written: bool,
        /// The prompt of the open turn is part of it.
        holds_open_turn: bool,
    },
    /// What was settled is not on disk any more.
    Lost {
        /// What is missing.
        reason: String,
    },
}

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
}

/// A transcript that cannot be read or prepared.
#[derive(Debug, thiserror::Error)]
#[error("read the transcript {}: {source}", path.display())]
pub struct TranscriptError {
    path: PathBuf,
    source: io::Error,
}

/// Finds the transcript of a conversation; `None` if there is none.
///
/// The CLI keeps it below a folder that it names after the working directory. The folder is not derived but looked for,
/// since only the file's name is certain.
pub fn find(config_dir: &Path, id: SessionId) -> Option<PathBuf> {
    let file = format!("{id}.jsonl");
    let projects = std::fs::read_dir(config_dir.join("projects")).ok()?;
    let found = projects.flatten().map(|project| project.path().join(&file)).filter(|path| path.is_file());
    found.max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
}

/// Makes a conversation ready to be resumed, and says where it will be.
///
/// `settled` is the last turn that came to an answer: a branch without it is not the conversation. `open` is the turn
/// that is to be carried on.
///
/// # Errors
///
/// [`TranscriptError`] if the file cannot be read, or not be appended to where that is needed.
pub fn prepare(
    config_dir: &Path,
    id: SessionId,
    settled: Option<TurnId>,
    open: Option<TurnId>,
) -> Result<Resumable, TranscriptError> {
    let Some(path) = find(config_dir, id) else { return Ok(Resumable::NothingPersisted) };
    let error = |source| TranscriptError { path: path.clone(), source };
    let (settled, open) = (settled.map(|turn| turn.to_string()), open.map(|turn| turn.to_string()));
    let turns: Vec<&str> = [&settled, &open].into_iter().flatten().map(String::as_str).collect();
    let tree = tail::read(&path, &turns, FIRST_WINDOW).map_err(error)?;
    if tree.is_empty() {
        return Ok(Resumable::NothingPersisted);
    }
    let point = match tree.resume_point(settled.as_deref()) {
        Ok(point) => point,
        Err(lost) => return Ok(Resumable::Lost { reason: lost.to_string() }),
    };
    let hint = point.hint.then(
        || serde_json::json!({ "type": HINT, "lastPrompt": "", "leafUuid": point.leaf, "sessionId": id }),
    );
    append(&path, hint.as_ref()).map_err(error)?;
    let holds_open_turn = open.is_some_and(|turn| tree.descends(&point.leaf, &turn));
    Ok(Resumable::At { leaf: point.leaf, hint_written: point.hint, holds_open_turn })
}

/// Looks for the end of a turn; `None` if the conversation or the turn is not on disk.
///
/// Only what follows the turn's own prompt in the tree counts, so that no other turn's answer is taken for its.
///
/// # Errors
///
/// [`TranscriptError`] if the file cannot be read.
pub fn answer_to(
    config_dir: &Path,
    id: SessionId,
    turn: TurnId,
) -> Result<Option<DiskAnswer>, TranscriptError> {
    let Some(path) = find(config_dir, id) else { return Ok(None) };
    let turn = turn.to_string();
    let mut tree = Transcript::default();
    // What was before the prompt's last appearance cannot be an answer to it.
    let mut after_prompt: Option<Vec<Message>> = None;
    scan(&path, |line| {
        if line.uuid.as_deref() == Some(&turn) {
            after_prompt = Some(Vec::new());
        }
        if let Some(messages) = &mut after_prompt
            && !line.is_sidechain
        {
            messages.extend(Message::of(&line));
        }
        feed(&mut tree, line);
    })
    .map_err(|source| TranscriptError { path, source })?;
    let messages = after_prompt.unwrap_or_default();
    let Some(newest) = messages.last().and_then(|message| message.uuid.as_deref()) else { return Ok(None) };
    let Some(after) = tree.messages_after(newest, &turn) else { return Ok(None) };
    let of = |uuid: &str| messages.iter().rev().find(|message| message.uuid.as_deref() == Some(uuid));
    Ok(Some(judge(&after.into_iter().filter_map(of).collect::<Vec<_>>())))
}

/// Reads the end of a turn off its messages, newest first.
fn judge(messages: &[&Message]) -> DiskAnswer {
    let interrupted = messages.first().is_some_and(|message| {
        message.kind == "user" && message.text().starts_with("[Request interrupted by user")
    });
    let Some(last) = messages.first().filter(|message| message.kind == "assistant") else {
        return DiskAnswer { text: String::new(), complete: false, interrupted };
    };
    let id = last.id();
    let mut parts: Vec<String> = messages
        .iter()
        .take_while(|message| message.kind == "assistant" && message.id() == id)
        .map(|message| message.text())
        .collect();
    parts.reverse();
    // A CLI that was killed and resumed may close the turn itself, with a message that is no answer.
    let text = parts.concat();
    let complete =
        ids(&last.body, CALL, "id").is_empty() && !text.is_empty() && text != "No response requested.";
    DiskAnswer { text, complete, interrupted }
}

/// One line of the transcript, as far as it matters here. Its message is most of it, and is looked into only where that
/// is needed.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    uuid: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "parentUuid")]
    parent: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "logicalParentUuid")]
    logical_parent: Option<Cow<'a, str>>,
    #[serde(default, rename = "isSidechain")]
    is_sidechain: bool,
    #[serde(borrow, default, rename = "leafUuid")]
    leaf: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

const CALL: &str = "tool_use";
const RESULT: &str = "tool_result";

impl Line<'_> {
    /// The ids that the message's blocks of one kind have under `key`.
    fn ids(&self, kind: &str, key: &str) -> Vec<String> {
        let named = |raw: &&RawValue| memmem::find(raw.get().as_bytes(), kind.as_bytes()).is_some();
        let body = self.message.filter(named).and_then(|raw| serde_json::from_str(raw.get()).ok());
        body.map(|body| ids(&body, kind, key)).unwrap_or_default()
    }
}

/// The message of a line.
#[derive(Debug)]
struct Message {
    kind: String,
    uuid: Option<String>,
    body: Value,
}

impl Message {
    fn of(line: &Line<'_>) -> Option<Self> {
        let body = serde_json::from_str(line.message?.get()).ok()?;
        Some(Self { kind: line.kind.to_string(), uuid: line.uuid.as_deref().map(str::to_owned), body })
    }

    fn id(&self) -> Option<&str> {
        self.body["id"].as_str()
    }

    fn text(&self) -> String {
        match &self.body["content"] {
            Value::String(text) => text.clone(),
            _ => blocks(&self.body, "text").filter_map(|block| block["text"].as_str()).collect(),
        }
    }
}

fn blocks<'a>(message: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    message["content"].as_array().into_iter().flatten().filter(move |block| block["type"] == kind)
}

fn ids(message: &Value, kind: &str, key: &str) -> Vec<String> {
    blocks(message, kind).filter_map(|block| block[key].as_str()).map(str::to_owned).collect()
}

fn feed(tree: &mut Transcript, line: Line<'_>) {
    if line.kind == HINT
        && let Some(leaf) = &line.leaf
    {
        tree.hint(leaf);
    }
    let role = match &*line.kind {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => Role::Link,
    };
    let (calls, results) = (line.ids(CALL, "id"), line.ids(RESULT, "tool_use_id"));
    let Some(uuid) = line.uuid.map(Cow::into_owned) else { return };
    let parent = line.parent.or(line.logical_parent).map(Cow::into_owned);
    tree.entry(Entry { uuid, parent, role, side_chain: line.is_sidechain, calls, results });
}

/// Calls `each` for every line that can be read, in order.
fn scan(path: &Path, mut each: impl FnMut(Line<'_>)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Ok(line) = serde_json::from_slice(&line) {
            each(line);
        }
    }
}

/// Ends a torn last line and appends `entry`, in one write each.
fn append(path: &Path, entry: Option<&Value>) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let torn = file.seek(SeekFrom::End(-1)).is_ok() && {
        let mut last = [0];
        file.read_exact(&mut last)?;
        last != *b"\n"
    };
    let mut text = String::new();
    if torn {
        text.push('\n');
    }
    if let Some(entry) = entry {
        text.push_str(&entry.to_string());
        text.push('\n');
    }
    if text.is_empty() { Ok(()) } else { file.write_all(text.as_bytes()) }
}
