//! The script language: words of a prompt, and the JSON script around them.
//!
//! It reads words and decides nothing: what a word does is done where it acts. A script that cannot be read ends the CLI at its start,
//! with the reason, so that no test runs without the faults that it asked for.
//!
//! ```text
//! prompt "deploy CRASH=result" ─┐
//! rules that fit, in order ─────┴─► Words ─► once(k attempts) ─► has, text, number, millis ─► run.rs, turn.rs, local.rs, background.rs
//! ```
//!
//! A word that nobody knows is silently a part of the prompt, as any text is: a misspelt fault does not happen, and a test that waits for
//! it fails by its deadline.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// The script of one run.
#[derive(Debug)]
pub(super) struct Script {
    /// What the CLI says it is, 2.1.332 unless told; compared by `is_at_least`.
    pub(super) version: String,
    /// Whether frames name their prompts and `command_lifecycle` is said; true unless told. False is as 2.1.197.
    pub(super) lifecycle: bool,
    /// Whether `bare.rs` runs instead of everything else; false unless told.
    pub(super) bare: bool,
    /// The words of the start; `Cli::open` takes them out, counts the attempt, and puts back what is left.
    pub(super) start: Words,
    /// The rules as they came: objects with `contains`, and `do` or `answer` or both.
    prompts: Vec<Value>,
}

impl Script {
    /// Reads the script that `TREEWARDEN_FAKE` names or holds.
    ///
    /// Without the variable it is the script that changes nothing. A field of the wrong type counts as one that is not there.
    ///
    /// # Errors
    ///
    /// The text names the variable, and the path or the place in the JSON: a file that cannot be read, or JSON that is none.
    pub(super) fn from_env() -> Result<Self, String> {
        let json = match std::env::var("TREEWARDEN_FAKE") {
            Err(_) => Value::Null,
            Ok(text) => {
                let text = if text.trim_start().starts_with('{') {
                    text
                } else {
                    std::fs::read_to_string(&text).map_err(|e| format!("TREEWARDEN_FAKE={text}: {e}"))?
                };
                serde_json::from_str(&text).map_err(|e| format!("TREEWARDEN_FAKE: {e}"))?
            }
        };
        Ok(Self {
            version: json["version"].as_str().unwrap_or("2.1.332").to_owned(),
            lifecycle: json["lifecycle"].as_bool().unwrap_or(true),
            bare: json["bare"].as_bool().unwrap_or(false),
            start: Words::new(json["start"].as_str().unwrap_or_default()),
            prompts: json["prompts"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// Tells whether the version knows `--await-initialize`, which 2.1.197 does not.
    ///
    /// Where it does not, the flag is refused as an unknown option, before anything else is done.
    pub(super) fn awaits_initialize(&self) -> bool {
        self.is_at_least([2, 1, 198])
    }

    /// Tells whether the version takes a prompt as it is where it is asked to.
    ///
    /// An older one reads `/clear` in such a prompt as the command.
    pub(super) fn takes_verbatim(&self) -> bool {
        self.is_at_least([2, 1, 248])
    }

    /// Tells whether the answer to `initialize` has the version, as 2.1.330's has and 2.1.248's has not.
    ///
    /// A host of an older one learns it from `get_binary_version`, or from the first `init`.
    pub(super) fn says_version_at_once(&self) -> bool {
        self.is_at_least([2, 1, 330])
    }

    /// Part by part from the left; a version with fewer parts is older than one that goes on.
    fn is_at_least(&self, version: [u32; 3]) -> bool {
        let parts: Vec<u32> = self.version.split('.').filter_map(|part| part.parse().ok()).collect();
        // By numbers: as text 2.1.30 would be newer than 2.1.197.
        parts.as_slice() >= version.as_slice()
    }

    /// The words that steer this prompt, and the answer that the script gives it, if any.
    ///
    /// A rule without `contains` fits every prompt. It changes nothing: the same prompt gets the same words however often it is asked.
    pub(super) fn steer(&self, prompt: &str) -> (Words, Option<String>) {
        let mut words = prompt.to_owned();
        let mut answer = None;
        for rule in &self.prompts {
            if prompt.contains(rule["contains"].as_str().unwrap_or_default()) {
                words.push(' ');
                words.push_str(rule["do"].as_str().unwrap_or_default());
                answer = rule["answer"].as_str().map(str::to_owned).or(answer);
            }
        }
        (Words::new(&words), answer)
    }
}

/// The words of one prompt.
///
/// In the order in which they stand, those of the prompt before those of the rules. Words of the language and words of the user are not told
/// apart: who asks for a key gets the first that has it.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// Parts the text at blanks of any kind; a value can hold none, and there is no quoting.
    pub(super) fn new(text: &str) -> Self {
        Self(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Tells whether the word stands there alone, without a value: `CHILD`, but not `CHILD=1`.
    pub(super) fn has(&self, word: &str) -> bool {
        self.0.iter().any(|w| w == word)
    }

    /// The value of the first `key=…`; `None` without one, and the empty text for `key=`.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|w| w.strip_prefix(key)?.strip_prefix('='))
    }

    /// The value as a number; `None` also where it is none, so that a prompt with `N=many` is a prompt.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// The value as milliseconds; no time at all without one.
    pub(super) fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(self.number(key).unwrap_or(0))
    }

    /// Drops all words if `ONCE=<k>` stands here and these were k attempts already.
    ///
    /// The count is a file in the config directory, so that it outlives the process.
    ///
    /// `key` names the file below `fake-attempts`: the uuid of the prompt, or `start-` and the id of the conversation. Without `ONCE` nothing is
    /// counted or written. Each call with it is an attempt, so it is asked once for each turn and start.
    pub(super) fn once(self, config_dir: &Path, key: &str) -> Self {
        let Some(limit) = self.number("ONCE") else { return self };
        let dir = config_dir.join("fake-attempts");
        let file = dir.join(key);
        let tried = std::fs::read_to_string(&file).ok().and_then(|t| t.parse().ok()).unwrap_or(0u64);
        if tried >= limit {
            return Self::default();
        }
        // A count that cannot be kept shows as a fault that never ends, which a test sees.
        drop(std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&file, (tried + 1).to_string())));
        self
    }
}
