//! One line of a transcript, as far as it matters here.
//!
//! A line is read though it holds what a strict reader refuses: a byte order mark, NUL bytes, half of a surrogate pair, a
//! number out of range. A line whose ids were not read would cut the conversation in two.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use treewarden_proto::frame::repair;

use crate::message::{Message, is_interruption};
use crate::tree::{Entry, Id, Role, Tree};

/// The entry that names the leaf at which the CLI would resume.
pub(crate) const HINT: &str = "last-prompt";

/// How notes of the CLI's begin that it takes for no prompts.
const LIKE_A_NOTE: [&str; 2] = ["[Request interrupted by user", PRINTED];

/// How that begins which a command of the CLI's printed.
const PRINTED: &str = "<local-command-";

/// A line; each field is raw, so that one of an unexpected shape costs that field alone.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uuid: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "parentUuid")]
    parent: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "logicalParentUuid")]
    logical_parent: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "isSidechain")]
    is_sidechain: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "isMeta")]
    is_meta: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "isCompactSummary")]
    is_summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    origin: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "promptSource")]
    source: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "leafUuid")]
    leaf: Option<&'a RawValue>,
    #[serde(borrow, default)]
    version: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "isApiErrorMessage")]
    is_api_error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    attachment: Option<&'a RawValue>,
}

/// What an attachment is: a prompt that the CLI wove into a turn of its own has its id here.
#[derive(Debug, Deserialize)]
struct Attachment<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source_uuid: Option<&'a RawValue>,
}

/// What had a prompt made.
#[derive(Debug, Deserialize)]
struct Origin<'a> {
    #[serde(borrow, default)]
    kind: Option<&'a RawValue>,
}

/// Reads a line and hands it on; `None` if it is not one.
pub(crate) fn read<T>(bytes: &[u8], each: impl FnOnce(&Line<'_>) -> T) -> Option<T> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    // The line as it is first: nearly all are sound, and to mend one costs a copy of it.
    if let Ok(line) = serde_json::from_slice(bytes) {
        return Some(each(&line));
    }
    let mut text = repair(bytes);
    text.retain(|byte| *byte != 0);
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
    serde_json::from_slice(text).ok().map(|line| each(&line))
}

/// Calls `each` for every line that can be read, in order, with the place where it begins.
pub(crate) fn scan(path: &Path, mut each: impl FnMut(u64, &Line<'_>)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let (mut line, mut at) = (Vec::new(), 0);
    loop {
        line.clear();
        // Bounded before it is read: a line end that never comes would otherwise take as much memory as the
        // file has bytes.
        let mut len = reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)? as u64;
        if len == 0 {
            return Ok(());
        }
        if len == LONGEST && line.last() != Some(&b'\n') {
            // Garbage, such as a hole of NUL bytes that a power loss left: it costs no memory, whatever its
            // length.
            len += skip_line(&mut reader)?;
        } else {
            read(&line, |line| each(at, line));
        }
        at += len;
    }
}

/// No CLI writes a longer line, and its reader refuses one.
const LONGEST: u64 = 64 << 20;

/// Passes over the rest of a line; returns its length.
fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let piece = reader.fill_buf()?;
        let end = memchr::memchr(b'\n', piece);
        let len = end.map_or(piece.len(), |end| end + 1);
        reader.consume(len);
        skipped += len as u64;
        if len == 0 || end.is_some() {
            return Ok(skipped);
        }
    }
}

/// The text of a JSON string; `None` for anything else.
pub(crate) fn text<'a>(raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    let json = raw?.get();
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    // An escape that is half of a surrogate pair, as JavaScript writes it when it cuts a text in the middle
    // of a character.
    let read = serde_json::from_str(json).or_else(|_| serde_json::from_slice(&repair(json.as_bytes())));
    read.ok().map(Cow::Owned)
}

fn is_true(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() == "true")
}

impl<'a> Line<'a> {
    /// Adds to the tree what the line says.
    pub(crate) fn feed(&self, tree: &mut Tree) {
        let kind = text(self.kind).unwrap_or_default();
        if kind == HINT
            && let Some(leaf) = text(self.leaf)
        {
            // Each hint takes the place of the one before: the CLI goes by the last.
            tree.hint(&leaf);
        }
        if let Some(version) = text(self.version) {
            tree.written_by(&version);
        }
        if let Some(uuid) = text(self.uuid) {
            tree.entry(&uuid, self.entry(&kind));
        }
    }

    /// The id of the entry, and the turn whose prompt it is if that has another id.
    pub(crate) fn ids(&self) -> Option<(Id, Option<Id>)> {
        Some((Id::of(&text(self.uuid)?), self.woven(&text(self.kind).unwrap_or_default())))
    }

    /// It is a message of the conversation itself. The summary that a compaction puts behind an answer is none: it would
    /// make the answer look unfinished.
    pub(crate) fn is_message(&self) -> bool {
        !is_true(self.is_sidechain)
            && !is_true(self.is_summary)
            && matches!(&*text(self.kind).unwrap_or_default(), "user" | "assistant")
    }

    /// It is the model's.
    pub(crate) fn is_of_model(&self) -> bool {
        text(self.kind).as_deref() == Some("assistant")
    }

    /// The CLI's own words in the model's name: the model API failed (2.1.332).
    pub(crate) fn is_api_error(&self) -> bool {
        is_true(self.is_api_error)
    }

    /// What it says.
    pub(crate) fn message(&self) -> Message {
        self.message.map(Message::of).unwrap_or_default()
    }

    fn entry(&self, kind: &str) -> Entry {
        let role = match kind {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => Role::Link,
        };
        // After a compaction the parent is a logical one.
        let parent = text(self.parent).or_else(|| text(self.logical_parent));
        let woven = self.woven(kind);
        let side_chain = is_true(self.is_sidechain);
        // The word is looked for first: the message is most of the line, and to parse it costs far more than
        // a search.
        let result = role == Role::User && self.mentions("tool_result") && self.message().has("tool_result");
        let asked = role == Role::User && !side_chain && !result && !self.is_of_the_cli();
        Entry {
            parent: parent.as_deref().map(Id::of),
            role,
            side_chain,
            result,
            prompt: asked || woven.is_some(),
            asked: (asked && !self.has_cause() && !self.is_echo()) || woven.is_some(),
            like_a_note: asked && self.is_like_a_note(),
            woven,
        }
    }

    /// Something other than a person had it made: the end of a background task (`origin`, 2.1.332).
    fn has_cause(&self) -> bool {
        let kind = |raw: &'a RawValue| text(serde_json::from_str::<Origin<'a>>(raw.get()).ok()?.kind);
        self.origin.and_then(kind).is_some_and(|kind| kind != "human")
    }

    /// It is what a command of the CLI's printed, such as `/compact`; a prompt in such words has a source (2.1.332).
    fn is_echo(&self) -> bool {
        let is_printed = || self.message().text().trim_start().starts_with(PRINTED);
        self.source.is_none() && self.mentions(PRINTED) && is_printed()
    }

    /// Its words begin like a note of the CLI's own: a CLI that resumes does not run it again (2.1.332).
    fn is_like_a_note(&self) -> bool {
        let begins = || {
            let text = self.message().text();
            LIKE_A_NOTE.iter().any(|start| text.trim_start().starts_with(start))
        };
        LIKE_A_NOTE.iter().any(|start| self.mentions(start)) && begins()
    }

    /// It is in the user's name, but the CLI's own words.
    fn is_of_the_cli(&self) -> bool {
        let interruption = || self.mentions("[Request interrupted") && is_interruption(&self.message());
        is_true(self.is_meta) || is_true(self.is_summary) || interruption()
    }

    /// Looks for a word before the message is parsed, which is most of the line.
    fn mentions(&self, word: &str) -> bool {
        self.message.is_some_and(|raw| memmem::find(raw.get().as_bytes(), word.as_bytes()).is_some())
    }

    /// The turn whose prompt was woven into a turn of the CLI's own.
    ///
    /// Measured with CLI 2.1.332: such a prompt is an attachment under another uuid, and a link of the chain.
    fn woven(&self, kind: &str) -> Option<Id> {
        let raw = self.attachment.filter(|_| kind == "attachment")?.get();
        // An attachment may be long: most are passed over by this one search, unparsed.
        memmem::find(raw.as_bytes(), b"queued_command")?;
        let attachment: Attachment<'_> = serde_json::from_str(raw).ok()?;
        text(attachment.kind).filter(|kind| kind == "queued_command")?;
        text(attachment.source_uuid).map(|turn| Id::of(&turn))
    }
}
