//! What a session is started with: its options, and what they become for the CLI.
//!
//! A [`SessionSpec`] is written in code with by-value setters, or in a file, where unknown keys are refused. It
//! becomes three things: [`argv`](SessionSpec::argv), [`environment`](SessionSpec::environment) and the fields of
//! the [`initialize`](SessionSpec::initialize) request. Each group of options has a file of its own, which holds
//! its setters, its checks and its flags; an option that is new goes there and into the struct below.
//!
//! It does not read files, look at the file system or know which CLI version is installed.

mod argv;
pub mod duration;
mod environment;
mod error;
mod identity;
mod initialize;
mod model;
mod process;
mod prompt;
mod settings;
mod tools;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{SessionId, SessionName};

pub use argv::Opening;
pub use environment::Environment;
pub use error::SpecError;
pub use values::{
    EnvSource, EnvValue, ExtraArg, InheritEnv, McpConfig, PermissionMode, SettingSource, Settings,
    is_json_text,
};

/// The options of one session.
///
/// Every option has a default; what is not set is left to the CLI. Unknown keys are refused when it is read from
/// a file. What may be secret (`env`, `settings`, `mcp_config`, `extra_args`) never stands in its `Debug` output, but it does in
/// its serialized form.
///
/// # Examples
///
/// ```
/// use treewarden_proto::spec::SessionSpec;
///
/// let spec = SessionSpec::new().model("sonnet").system_prompt("You are a Rust expert");
/// spec.validate()?;
/// # Ok::<(), treewarden_proto::spec::SpecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SessionSpec {
    // Identity: `identity.rs`.
    /// The name by which the session is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<SessionName>,
    /// The conversation to carry on from its first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<SessionId>,
    /// The id for a new conversation, or for a fork.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Whether `resume` is copied to a new conversation instead of carried on.
    #[serde(skip_serializing_if = "is_false")]
    pub fork_session: bool,

    // Model: `model.rs`.
    /// The model, by alias or full name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model to use while `model` is overloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_model: Option<String>,
    /// The most model calls that one turn may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// The most that one CLI process may spend, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_budget_usd: Option<f64>,

    // Prompt: `prompt.rs`.
    /// The system prompt, in place of the CLI's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// Text after the system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append_system_prompt: Option<String>,

    // Tools: `tools.rs`.
    /// The built-in tools that exist at all; an empty list is none, unset is the CLI's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Tools, or rules such as `Bash(git:*)`, that run without asking.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// Tools, or rules, that never run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disallowed_tools: Vec<String>,
    /// What happens to a tool call that no rule decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<PermissionMode>,
    /// MCP servers, inline or from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_config: Option<McpConfig>,

    // Settings: `settings.rs`.
    /// Settings for this session, inline or from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// Which of the machine's settings files are read; an empty list is none, unset is the CLI's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting_sources: Option<Vec<SettingSource>>,
    /// Whether other processes of the user may send the CLI messages, each of which begins a turn.
    #[serde(skip_serializing_if = "is_false")]
    pub peer_messages: bool,

    // Process: `process.rs` and `environment.rs`.
    /// How long one turn may take, all retries included.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Whether the answer is streamed as it is made; `true`.
    pub include_partial_messages: bool,
    /// The CLI to run; unset is the one that is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cli_path: Option<PathBuf>,
    /// The directory in which the CLI works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// More directories that its tools may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_dirs: Vec<PathBuf>,
    /// Variables for the CLI: a value, where that stands, or `false` to leave out one that would be inherited.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvValue>,
    /// Which variables of this process the CLI inherits.
    #[serde(skip_serializing_if = "InheritEnv::is_default")]
    pub inherit_env: InheritEnv,
    /// Flags that have no option here: a value, or `true` for a flag without one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_args: BTreeMap<String, ExtraArg>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl SessionSpec {
    /// How long a turn may take unless the spec says otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

    /// A spec with every option at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks that the options agree with each other.
    ///
    /// # Errors
    ///
    /// [`SpecError`] with every fault that was found; a conflict names both options.
    pub fn validate(&self) -> Result<(), SpecError> {
        let mut faults = error::Faults::default();
        identity::check(self, &mut faults);
        model::check(self, &mut faults);
        prompt::check(self, &mut faults);
        tools::check(self, &mut faults);
        settings::check(self, &mut faults);
        process::check(self, &mut faults);
        // All checks run, also after a fault: whoever mends a file should not be told one fault at a time.
        environment::check(self, &mut faults);
        faults.into_result()
    }
}

impl Default for SessionSpec {
    fn default() -> Self {
        Self {
            name: None,
            resume: None,
            session_id: None,
            fork_session: false,
            model: None,
            fallback_model: None,
            max_turns: None,
            max_budget_usd: None,
            system_prompt: None,
            append_system_prompt: None,
            tools: None,
            allowed_tools: Vec::new(),
            disallowed_tools: Vec::new(),
            permission_mode: None,
            mcp_config: None,
            settings: None,
            setting_sources: None,
            peer_messages: false,
            timeout: Self::DEFAULT_TIMEOUT,
            include_partial_messages: true,
            cli_path: None,
            cwd: None,
            add_dirs: Vec::new(),
            env: BTreeMap::new(),
            inherit_env: InheritEnv::default(),
            extra_args: BTreeMap::new(),
        }
    }
}
