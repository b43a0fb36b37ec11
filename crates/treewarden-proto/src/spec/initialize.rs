//! Options as fields of the `initialize` request.
//!
//! What is long or private goes here and not into the arguments, which every process on the machine can read.

use serde_json::{Map, json};

use super::SessionSpec;

impl SessionSpec {
    /// The fields that the spec adds to the `initialize` request.
    pub fn initialize(&self) -> Map<String, serde_json::Value> {
        let mut fields = Map::new();
        if let Some(prompt) = &self.system_prompt {
            // The CLI takes a list of texts here. Without the field it has its own prompt; with an empty text
            // it has none.
            fields.insert("systemPrompt".into(), json!([prompt]));
        }
        if let Some(prompt) = &self.append_system_prompt {
            fields.insert("appendSystemPrompt".into(), json!(prompt));
        }
        fields
    }
}
