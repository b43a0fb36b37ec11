//! The message of a line: the text of its blocks, and of which kinds they are.

use serde::Deserialize;
use serde_json::value::RawValue;
use treewarden_proto::frame::repair;

use crate::line::text;

/// What the CLI writes in the user's name when a turn is interrupted (2.1.332).
const INTERRUPTIONS: [&str; 2] =
    ["[Request interrupted by user]", "[Request interrupted by user for tool use]"];

/// A message, without what does not matter here.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// The id of the model's answer: several lines may be parts of one.
    pub(crate) id: Option<String>,
    content: Vec<Block>,
    /// It is a list of blocks, and not a text alone.
    is_list: bool,
}

#[derive(Debug)]
struct Block {
    kind: String,
    text: String,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawBlock<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

impl Message {
    pub(crate) fn of(raw: &RawValue) -> Self {
        // A key may hold half of a surrogate pair, too.
        Self::read(raw.get()).unwrap_or_else(|| {
            let mended = repair(raw.get().as_bytes());
            std::str::from_utf8(&mended).ok().and_then(Self::read).unwrap_or_default()
        })
    }

    fn read(json: &str) -> Option<Self> {
        let message: RawMessage<'_> = serde_json::from_str(json).ok()?;
        let id = text(message.id).map(Into::into);
        if let Some(text) = text(message.content) {
            let content = vec![Block { kind: "text".to_owned(), text: text.into() }];
            return Some(Self { id, content, is_list: false });
        }
        let raw: Vec<&RawValue> = match message.content {
            Some(content) => serde_json::from_str(content.get()).unwrap_or_default(),
            None => Vec::new(),
        };
        // One block that cannot be read has the whole message mended and read again, above; left out alone,
        // an answer would lose it in silence.
        let content = raw.into_iter().map(|block| Block::read(block.get())).collect::<Option<_>>()?;
        Some(Self { id, content, is_list: true })
    }

    /// It has a block of this kind.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.content.iter().any(|block| block.kind == kind)
    }

    /// Its text.
    pub(crate) fn text(&self) -> String {
        self.content.iter().filter(|block| block.kind == "text").map(|block| block.text.as_str()).collect()
    }
}

impl Block {
    fn read(json: &str) -> Option<Self> {
        // What is no object is of no kind.
        if !json.starts_with('{') {
            return Some(Self { kind: String::new(), text: String::new() });
        }
        let block: RawBlock<'_> = serde_json::from_str(json).ok()?;
        let own = |raw| text(raw).unwrap_or_default().into_owned();
        Some(Self { kind: own(block.kind), text: own(block.text) })
    }
}

/// It is the note that a turn was interrupted. The CLI writes it as a list of one block.
pub(crate) fn is_interruption(message: &Message) -> bool {
    message.is_list && message.content.len() == 1 && INTERRUPTIONS.contains(&&*message.text())
}
