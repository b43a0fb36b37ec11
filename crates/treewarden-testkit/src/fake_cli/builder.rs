//! The script of a fake CLI, built in Rust.
//!
//! It is for the words around a test: those of a single turn may stand in its prompt. It checks no word: one that the fake CLI does
//! not know is a part of the prompt, as in any prompt.

use serde_json::{Value, json};

/// A script for the variable `TREEWARDEN_FAKE`: what the fake CLI does at its start, and on which prompts.
///
/// A session gets it by its environment: `spec.env(key, value)`. Rules count in their order: the words of all that fit add up, and of
/// the answers the last one holds. A rule fits where the prompt contains its text, upper and lower case told apart.
///
/// # Examples
///
/// ```
/// use treewarden_testkit::fake_cli::FakeCli;
///
/// let script = FakeCli::new().start("CRASH=initialize ONCE=1").answer("deploy", "done");
/// let (key, value) = script.env();
/// assert_eq!(key, "TREEWARDEN_FAKE");
/// assert!(value.contains("CRASH=initialize"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "a script does nothing until a fake CLI is started with its environment"]
pub struct FakeCli {
    version: Option<String>,
    no_lifecycle: bool,
    bare: bool,
    start: String,
    prompts: Vec<Value>,
}

impl FakeCli {
    /// Makes a script that changes nothing: version 2.1.332, no faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says this version.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Is as 2.1.197: its frames name no prompts, and a prompt that is sent again is swallowed.
    pub fn without_lifecycle(mut self) -> Self {
        self.no_lifecycle = true;
        self.version("2.1.197")
    }

    /// Is fast and simple, to measure what drives it: no transcript, no faults, no words but `N` and `HUGE`.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Does what these words say at every start; several calls add up.
    ///
    /// `CRASH=spawn` and `CRASH=initialize`, `REFUSE` and `REFUSE_INITIALIZE` can stand here alone. With `ONCE=<k>` they hold for the first k
    /// starts of each conversation.
    pub fn start(mut self, words: &str) -> Self {
        self.start = format!("{} {words}", self.start).trim().to_owned();
        self
    }

    /// Does what these words say in each turn whose prompt contains this text.
    pub fn on(mut self, contains: &str, words: &str) -> Self {
        self.prompts.push(json!({ "contains": contains, "do": words }));
        self
    }

    /// Answers each prompt that contains this text with this answer.
    pub fn answer(mut self, contains: &str, answer: &str) -> Self {
        self.prompts.push(json!({ "contains": contains, "answer": answer }));
        self
    }

    /// The script as JSON.
    pub fn to_json(&self) -> String {
        let mut script =
            json!({ "lifecycle": !self.no_lifecycle, "start": self.start, "prompts": self.prompts });
        if self.bare {
            script["bare"] = json!(true);
        }
        if let Some(version) = &self.version {
            script["version"] = json!(version);
        }
        script.to_string()
    }

    /// The environment variable that the fake CLI is started with.
    pub fn env(&self) -> (String, String) {
        ("TREEWARDEN_FAKE".to_owned(), self.to_json())
    }
}
