//! Messages and their content blocks, as the Messages API shapes them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::wire::{Wire, wire};

wire! {
    /// A message of the conversation.
    pub struct Message {
        /// The message's id; all blocks of one answer share it.
        id: String,
        /// Who speaks: `user` or `assistant`.
        role: String,
        /// The model that answered.
        model: String,
        /// What is said.
        content: Content,
        /// Why the model stopped; unset while it has not.
        stop_reason: String,
        /// Tokens; provisional until the last block of the message.
        usage: Usage,
    }
}

wire! {
    /// Tokens of one call or one turn.
    pub struct Usage {
        /// Tokens read outside of the cache.
        input_tokens: u64,
        /// Tokens written.
        output_tokens: u64,
        /// Tokens put into the cache.
        cache_creation_input_tokens: u64,
        /// Tokens read from the cache.
        cache_read_input_tokens: u64,
    }
}

/// The content of a message: a plain text, or blocks.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A plain text.
    Text(String),
    /// A list of blocks.
    Blocks(Vec<Block>),
}

impl Content {
    /// The text of it, all text blocks joined.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Blocks(blocks) => blocks.iter().filter_map(Block::as_text).collect(),
        }
    }

    /// Whether it says nothing: there is no block but text, and no text but white space.
    ///
    /// A CLI answers such a prompt by itself, with a note that nothing was sent to the model (2.1.332).
    pub fn is_blank(&self) -> bool {
        // The CLI takes the mark for white space as well.
        let is_blank = |text: &str| {
            text.trim_matches(|each: char| each.is_whitespace() || each == '\u{feff}').is_empty()
        };
        match self {
            Self::Text(text) => is_blank(text),
            Self::Blocks(blocks) => blocks
                .iter()
                .all(|block| matches!(block, Block::Text(text) if text.text.as_deref().is_none_or(is_blank))),
        }
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            // As it is stored and sent; what cannot be written takes nothing there.
            Self::Blocks(_) => serde_json::to_vec(self).map_or(0, |json| json.len()),
        }
    }

    /// The blocks; none if it is a plain text.
    pub fn blocks(&self) -> &[Block] {
        match self {
            Self::Text(_) => &[],
            Self::Blocks(blocks) => blocks,
        }
    }
}

impl<T: Into<String>> From<T> for Content {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Blocks(blocks) => blocks.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Array(items) => Ok(Self::Blocks(items.into_iter().map(Block::from_value).collect())),
            // The field then stays in `extra`, as any of an unexpected shape.
            _ => Err(serde::de::Error::custom("content is neither a text nor a list of blocks")),
        }
    }
}

/// One block of a message.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Block {
    /// Text.
    Text(TextBlock),
    /// The model's thinking.
    Thinking(ThinkingBlock),
    /// A call of a tool.
    ToolUse(ToolUseBlock),
    /// What a tool call gave.
    ToolResult(ToolResultBlock),
    /// An image.
    Image(MediaBlock),
    /// A document.
    Document(MediaBlock),
    /// Any other block, as it came.
    Other(Value),
}

wire! {
    /// A block of text.
    pub struct TextBlock {
        /// The text.
        text: String,
    }
}

wire! {
    /// A block of the model's thinking.
    pub struct ThinkingBlock {
        /// The thinking, where it is shown.
        thinking: String,
        /// The signature without which it cannot be sent back.
        signature: String,
    }
}

wire! {
    /// A call of a tool.
    pub struct ToolUseBlock {
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
        /// The call's arguments.
        input: Value,
    }
}

wire! {
    /// What a tool call gave.
    pub struct ToolResultBlock {
        /// The call's id.
        tool_use_id: String,
        /// What it gave.
        content: Content,
        /// Whether it failed.
        is_error: bool,
    }
}

wire! {
    /// An image or a document.
    pub struct MediaBlock {
        /// Where its bytes are.
        source: Value,
    }
}

impl Block {
    /// Makes a block of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextBlock { text: Some(text.into()), extra: Map::new() })
    }

    /// The text, if it is a block of text.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(block) = self { block.text.as_deref() } else { None }
    }

    /// The call, if it is a call of a tool.
    pub fn as_tool_use(&self) -> Option<&ToolUseBlock> {
        if let Self::ToolUse(block) = self { Some(block) } else { None }
    }

    fn from_value(value: Value) -> Self {
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        let read: fn(Map<String, Value>) -> Self = match kind {
            "text" => |map| Self::Text(Wire::from_map(map)),
            "thinking" => |map| Self::Thinking(Wire::from_map(map)),
            "tool_use" => |map| Self::ToolUse(Wire::from_map(map)),
            "tool_result" => |map| Self::ToolResult(Wire::from_map(map)),
            "image" => |map| Self::Image(Wire::from_map(map)),
            "document" => |map| Self::Document(Wire::from_map(map)),
            _ => return Self::Other(value),
        };
        // A value with a `type` is an object, so that this is never another.
        let Value::Object(mut map) = value else { return Self::Other(value) };
        map.remove("type");
        read(map)
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, mut map) = match self {
            Self::Text(block) => ("text", block.to_map()),
            Self::Thinking(block) => ("thinking", block.to_map()),
            Self::ToolUse(block) => ("tool_use", block.to_map()),
            Self::ToolResult(block) => ("tool_result", block.to_map()),
            Self::Image(block) => ("image", block.to_map()),
            Self::Document(block) => ("document", block.to_map()),
            Self::Other(value) => return value.serialize(serializer),
        };
        map.insert("type".to_owned(), kind.into());
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from_value)
    }
}
