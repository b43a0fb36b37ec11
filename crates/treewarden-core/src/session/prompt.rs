//! What is asked in a turn: words that are taken as they are, or a command to the CLI.
//!
//! It is what a prompt is, and how the journal holds it, so that a turn that is run again stays what it was. It is not for what
//! a CLI makes of a prompt: see [`treewarden_proto::input::acts`].

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use treewarden_proto::frame::Content;
use treewarden_proto::input;

/// A prompt: by default words that reach the model as they are, whoever wrote them.
///
/// A `&str`, a `String` and content blocks become such words: in them `/clear` is a text, and `@/etc/passwd` puts no file into the
/// conversation. What the CLI is to act on is a [`command`](Self::command).
///
/// # Examples
///
/// ```
/// use treewarden_core::session::Prompt;
///
/// assert!(!Prompt::from("/compact").is_command());
/// assert!(Prompt::command("/compact").is_command());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    content: Content,
    command: bool,
}

impl Prompt {
    /// A prompt on which the CLI acts as if it were typed into it: `/commands` run, and the files of `@mentions` are read.
    ///
    /// Never for words of others: they could have the CLI read any file that its user can read, whatever `cwd` and `tools`
    /// say, and end the conversation.
    pub fn command(content: impl Into<Content>) -> Self {
        Self { content: content.into(), command: true }
    }

    /// What is said.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Whether the CLI acts on it.
    pub fn is_command(&self) -> bool {
        self.command
    }

    /// Whether it may be sent to a CLI that takes words verbatim, or does not: no CLI may act on words.
    pub fn may_be_sent(&self, takes_verbatim: bool) -> bool {
        self.command || takes_verbatim || self.is_inert()
    }

    /// Whether every CLI takes its words as they are, also one that acts on what it takes for a command.
    pub fn is_inert(&self) -> bool {
        !input::acts(&self.content)
    }
}

impl<T: Into<Content>> From<T> for Prompt {
    fn from(content: T) -> Self {
        Self { content: content.into(), command: false }
    }
}

/// The key of a command in the journal. Versions that know no commands hold nothing but content, and refuse to run this.
const COMMAND: &str = "command";

impl Serialize for Prompt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.command {
            serializer.collect_map([(COMMAND, &self.content)])
        } else {
            self.content.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |value| Content::deserialize(value).map_err(serde::de::Error::custom);
        match Value::deserialize(deserializer)? {
            // With anything else beside it, it is of a version that says more than this one can obey.
            Value::Object(mut map) if map.len() == 1 && map.contains_key(COMMAND) => {
                read(map.remove(COMMAND).unwrap_or_default()).map(Self::command)
            }
            content => read(content).map(Self::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use treewarden_proto::frame::Block;

    use super::*;

    #[test]
    fn a_prompt_is_read_back_as_what_it_was() {
        let blocks = Content::Blocks(vec![Block::text("look"), Block::text("@a")]);
        for prompt in
            ["/clear".into(), Prompt::command("/clear"), blocks.clone().into(), Prompt::command(blocks)]
        {
            let json = serde_json::to_string(&prompt).expect("it can be written");
            assert_eq!(serde_json::from_str::<Prompt>(&json).expect("it can be read"), prompt);
        }
    }

    #[test]
    fn what_an_earlier_version_stored_is_words() {
        for stored in [json!("/clear"), json!([{ "type": "text", "text": "@a" }])] {
            let prompt: Prompt = serde_json::from_value(stored).expect("it can be read");
            assert!(!prompt.is_command());
        }
    }

    #[test]
    fn words_on_which_a_cli_would_act_are_for_those_that_take_them_verbatim() {
        for (prompt, old, new) in [
            (Prompt::from("/clear"), false, true),
            (Prompt::from("see @a"), false, true),
            (Prompt::from("hello"), true, true),
            (Prompt::command("/clear"), true, true),
        ] {
            assert_eq!((prompt.may_be_sent(false), prompt.may_be_sent(true)), (old, new), "{prompt:?}");
        }
    }

    #[test]
    fn what_says_more_than_is_known_is_refused() {
        for stored in [
            json!({}),
            json!({ "command": 1 }),
            json!({ "command": "a", "more": 1 }),
            json!({ "words": "a" }),
        ] {
            assert!(serde_json::from_value::<Prompt>(stored.clone()).is_err(), "{stored}");
        }
    }
}
