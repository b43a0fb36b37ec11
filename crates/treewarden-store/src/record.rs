//! The record of one session.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use treewarden_proto::frame::Spent;
use treewarden_proto::{SessionId, SessionName};

/// The message with which a conversation begins, as it was seen in its transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The conversation.
    pub session_id: SessionId,
    /// The name of its first message.
    pub first: String,
}

/// What is kept of a session while no process of it lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its name.
    pub name: SessionName,
    /// The CLI's id of its conversation.
    pub session_id: SessionId,
    /// The ids it had before, oldest first.
    #[serde(default)]
    pub earlier_ids: Vec<SessionId>,
    /// Where its CLI was started last.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Where its CLI keeps transcripts.
    #[serde(default)]
    pub config_dir: Option<PathBuf>,
    /// Whether a first turn was written to the CLI, so that the id may exist on disk.
    #[serde(default)]
    pub persisted: bool,
    /// What was seen of a transcript, of this conversation or of one before it: without that, a file is not the conversation.
    #[serde(default)]
    pub seen: Option<Seen>,
    /// The model that was chosen while it ran.
    #[serde(default)]
    pub model: Option<String>,
    /// The permission mode that was chosen while it ran.
    #[serde(default)]
    pub permission_mode: Option<String>,
    /// Whether it was stopped on purpose.
    #[serde(default)]
    pub stopped: bool,
    /// The template of which it was made, as long as it was not removed: with it the session comes back when its tree starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SessionName>,
    /// What its CLIs are known to have spent, over all conversations and hosts; `None` until one said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
    /// When it was made, in Unix milliseconds.
    #[serde(default)]
    pub created_at: u64,
    /// When it was last put, in Unix milliseconds.
    #[serde(default)]
    pub updated_at: u64,
    /// Fields of a newer version, kept when the record is written back.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl SessionRecord {
    /// Makes the record of a new session.
    pub fn new(name: SessionName, session_id: SessionId) -> Self {
        Self {
            name,
            session_id,
            earlier_ids: Vec::new(),
            cwd: None,
            config_dir: None,
            persisted: false,
            seen: None,
            model: None,
            permission_mode: None,
            stopped: false,
            template: None,
            spent: None,
            created_at: crate::now(),
            updated_at: 0,
            extra: Map::new(),
        }
    }

    /// The name of the conversation's first message, once that was seen.
    pub fn first_message(&self) -> Option<&str> {
        // A version that does not know the field leaves it as it was when it follows to another conversation.
        self.seen.as_ref().filter(|seen| seen.session_id == self.session_id).map(|seen| &*seen.first)
    }

    /// Follows the conversation to a new id; the old one stays in the chain.
    pub fn follow(&mut self, id: SessionId) {
        if self.session_id != id {
            self.earlier_ids.push(std::mem::replace(&mut self.session_id, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_and_the_accounts_of_a_record_survive_a_version_that_does_not_know_them() {
        let chat = Some("chat".parse::<SessionName>().expect("a name"));
        // As the version before templates wrote it, and as it reads it.
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Before {
            name: String,
            session_id: SessionId,
            stopped: bool,
            #[serde(flatten)]
            extra: Map<String, Value>,
        }
        const WRITTEN: &str = r#"{"name":"a","session_id":"d4568e9c-06bf-4cb9-ae53-cf5aa5ddea0f","earlier_ids":[],"cwd":"/srv",
      "config_dir":"/home/a/.claude","persisted":true,"seen":null,"model":null,"permission_mode":null,"stopped":true,
      "created_at":1,"updated_at":2}"#;
        let mut record: SessionRecord = serde_json::from_str(WRITTEN).expect("JSON");
        assert_eq!((record.template.as_ref(), record.stopped, record.persisted), (None, true, true));
        assert_eq!(record.spent, None, "nothing is known of it, which is not nothing");
        let as_it_was = serde_json::to_string(&record).expect("JSON");
        assert!(!as_it_was.contains("template") && !as_it_was.contains("spent"), "it is written as it was");
        let mut spent = Spent::default();
        (spent.cost_usd, spent.usage.output_tokens) = (0.1 + 0.2, 7);
        (record.template, record.spent) = (chat.clone(), Some(spent));
        let mut before: Before =
            serde_json::from_str(&serde_json::to_string(&record).expect("JSON")).expect("JSON");
        before.stopped = false;
        let after: SessionRecord =
            serde_json::from_str(&serde_json::to_string(&before).expect("JSON")).expect("JSON");
        assert_eq!((after.template, after.stopped, after.spent), (chat.clone(), false, Some(spent)));
        assert_eq!((after.cwd, after.created_at), (record.cwd, 1));
    }
}
