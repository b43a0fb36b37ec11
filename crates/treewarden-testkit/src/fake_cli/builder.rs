//! The script of a fake CLI, built in Rust.
//!
//! It is for the words around a test: those of a single turn may stand in its prompt. It checks no word: one that the fake CLI does
//! not know is a part of the prompt, as in any prompt.
//!
//! ```text
//! FakeCli::new().start(…).on(…).answer(…) ─► to_json() ─► TREEWARDEN_FAKE ─► Script::from_env, in the fake CLI
//! ```
//!
//! It writes what `script.rs` reads, and the two must agree: what one has and the other does not know is a fault that no test sees.

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
    /// What the CLI says it is; `None` is the version that the fake CLI has by itself.
    version: Option<String>,
    /// Frames name no prompts; negated, so that the default of the type is that of the CLI.
    no_lifecycle: bool,
    bare: bool,
    /// The words of all calls of `start`, with a blank between.
    start: String,
    /// The rules in the order of the calls, as `{ "contains", "do" }` or `{ "contains", "answer" }`.
    prompts: Vec<Value>,
}

impl FakeCli {
    /// Makes a script that changes nothing: version 2.1.332, no faults.
    ///
    /// Without any rule each prompt is steered by its own words alone, so a test that puts `CRASH=read` into its prompt needs no script.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says this version.
    ///
    /// What the CLI can do follows from it where the real one was seen to differ: from 2.1.198 on it knows `--await-initialize`, from 2.1.248 on
    /// `client_composed`, from 2.1.330 on it names its version in the answer to `initialize`. Parts are compared as numbers; one that is no
    /// number is left out. An empty text is a CLI that does not know `get_binary_version`.
    ///
    /// # Examples
    ///
    /// ```
    /// use treewarden_testkit::fake_cli::FakeCli;
    ///
    /// let script = FakeCli::new().version("2.1.248").to_json();
    /// assert!(script.contains(r#""version":"2.1.248""#));
    /// ```
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Is as 2.1.197: its frames name no prompts, and a prompt that is sent again is swallowed.
    ///
    /// It sets the version as well; a [`version`](Self::version) behind it says another one, and leaves the rest.
    pub fn without_lifecycle(mut self) -> Self {
        self.no_lifecycle = true;
        self.version("2.1.197")
    }

    /// Is fast and simple, to measure what drives it: no transcript, no faults, no words but `N` and `HUGE`.
    ///
    /// Rules and words of the start are read and not followed then, and a conversation cannot be resumed. Its words stand in the prompt itself:
    /// `N=100000` is that many deltas.
    ///
    /// # Examples
    ///
    /// ```
    /// use treewarden_testkit::fake_cli::FakeCli;
    ///
    /// assert!(FakeCli::new().bare().to_json().contains(r#""bare":true"#));
    /// ```
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Does what these words say at every start; several calls add up.
    ///
    /// `CRASH=spawn` and `CRASH=initialize`, `REFUSE` and `REFUSE_INITIALIZE` can stand here alone. With `ONCE=<k>` they hold for the first k
    /// starts of each conversation.
    ///
    /// # Examples
    ///
    /// The first two starts of a conversation crash before they answer, and the third goes well:
    ///
    /// ```
    /// use treewarden_testkit::fake_cli::FakeCli;
    ///
    /// let script = FakeCli::new().start("CRASH=initialize ONCE=2").start("DELAY=10");
    /// assert!(script.to_json().contains("CRASH=initialize ONCE=2 DELAY=10"));
    /// ```
    pub fn start(mut self, words: &str) -> Self {
        self.start = format!("{} {words}", self.start).trim().to_owned();
        self
    }

    /// Does what these words say in each turn whose prompt contains this text.
    ///
    /// It is for prompts that the test does not write itself, such as those of a scheduler or another session. Words of the prompt and of all
    /// rules that fit are one set; of a word that stands there twice with a value, the first counts, and the prompt's come first.
    ///
    /// # Examples
    ///
    /// ```
    /// use treewarden_testkit::fake_cli::FakeCli;
    ///
    /// // The first attempt dies behind the second delta, and leaves a half answer; the next one is whole.
    /// let script = FakeCli::new().on("report", "STREAM=5:10 CRASH=delta:2 ONCE=1").answer("report", "all is well");
    /// assert!(script.to_json().contains("CRASH=delta:2"));
    /// ```
    pub fn on(mut self, contains: &str, words: &str) -> Self {
        self.prompts.push(json!({ "contains": contains, "do": words }));
        self
    }

    /// Answers each prompt that contains this text with this answer.
    ///
    /// It stands in the `result`, in the `assistant` frame and, with `--include-partial-messages`, as the last delta. It replaces `answer to
    /// <prompt>`, and not what the CLI says by itself of `/help` or of a refusal.
    pub fn answer(mut self, contains: &str, answer: &str) -> Self {
        self.prompts.push(json!({ "contains": contains, "answer": answer }));
        self
    }

    /// The script as JSON.
    ///
    /// It is what a file holds that `TREEWARDEN_FAKE` names, where the script is too long for an environment.
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
    ///
    /// The pair is the name and the script itself, not a path. What the CLI starts in turn inherits it, which does no harm: nothing else
    /// reads the variable.
    pub fn env(&self) -> (String, String) {
        ("TREEWARDEN_FAKE".to_owned(), self.to_json())
    }
}
