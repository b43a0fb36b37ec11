//! Every key of the file: where it may stand, what its value may be, what it means.
//!
//! This table is the one place to add an option: the reader, the messages and the JSON Schema follow it.

/// A kind of table in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The file itself: the root supervisor, and what concerns the whole tree.
    Root,
    /// `[defaults]`.
    Defaults,
    /// A child that is a session.
    Session,
    /// A child that is a supervisor.
    Supervisor,
    /// A child of a type that the embedding program registered.
    Custom,
}

impl Scope {
    pub(super) const ALL: [Self; 5] =
        [Self::Root, Self::Defaults, Self::Session, Self::Supervisor, Self::Custom];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The place in words, for a message.
    pub(super) const fn place(self) -> &'static str {
        match self {
            Self::Root => "at the top level",
            Self::Defaults => "in [defaults]",
            Self::Session => "in a session",
            Self::Supervisor => "in a supervisor",
            Self::Custom => "in a child of a registered type",
        }
    }
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Name,
    SessionId,
    Type,
    Bool,
    /// A whole number, at least this.
    Count(u32),
    Amount,
    Duration,
    /// A duration, or none at all.
    Wait,
    Shutdown,
    Backoff,
    Choice(&'static [&'static str]),
    Choices(&'static [&'static str]),
    TextList,
    Path,
    Program,
    PathList,
    PathOrTable,
    Env,
    InheritEnv,
    ExtraArgs,
    Defaults,
    Children,
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    scopes: u8,
    pub(super) kind: Kind,
    pub(super) doc: &'static str,
}

impl Key {
    pub(super) fn is_in(&self, scope: Scope) -> bool {
        self.scopes & scope.bit() != 0
    }

    /// Whether its value may hold a secret, and so must not stand in a report.
    pub(super) fn is_private(&self) -> bool {
        matches!(self.kind, Kind::Env | Kind::PathOrTable | Kind::ExtraArgs)
    }

    /// Whether a child's table is merged with that of `[defaults]`, and does not replace it.
    pub(super) fn is_merged(&self) -> bool {
        matches!(self.kind, Kind::Env | Kind::ExtraArgs)
    }
}

const ROOT: u8 = Scope::Root.bit();
const SESSION: u8 = Scope::Session.bit();
/// An option of a session that may stand in `[defaults]`.
const SHARED: u8 = SESSION | Scope::Defaults.bit();
/// What every child has.
const CHILD: u8 = SESSION | Scope::Supervisor.bit() | Scope::Custom.bit();
/// What every supervisor has, the root too.
const TREE: u8 = ROOT | Scope::Supervisor.bit();

pub(super) const STRATEGIES: &[&str] = &["one_for_one", "one_for_all", "rest_for_one"];
pub(super) const AUTO_SHUTDOWNS: &[&str] = &["never", "any_significant", "all_significant"];
pub(super) const GIVE_UPS: &[&str] = &["escalate", "park"];
pub(super) const RESTARTS: &[&str] = &["permanent", "transient", "temporary"];
pub(super) const DELIVERIES: &[&str] = &["exactly_once", "at_most_once"];
pub(super) const CUT_OFF_TOOLS: &[&str] = &["tell", "run_again"];
pub(super) const DURABILITIES: &[&str] = &["nothing", "process", "power"];
const MODES: &[&str] = &["default", "acceptEdits", "bypassPermissions", "plan", "dontAsk", "auto"];
const SOURCES: &[&str] = &["user", "project", "local"];

const fn key(name: &'static str, scopes: u8, kind: Kind, doc: &'static str) -> Key {
    Key { name, scopes, kind, doc }
}

/// The table.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    // A supervisor.
    key("strategy", TREE, Kind::Choice(STRATEGIES), "Which children are restarted when one fails: only that one, all, or that one and those declared after it."),
    key("max_restarts", TREE, Kind::Count(0), "How many restarts are allowed within max_seconds; 3 by default."),
    key("max_seconds", TREE, Kind::Count(1), "The length of the window for max_restarts, in seconds; 5 by default."),
    key("auto_shutdown", TREE, Kind::Choice(AUTO_SHUTDOWNS), "Whether the supervisor ends when its significant children have ended by themselves."),
    key("give_up", TREE, Kind::Choice(GIVE_UPS), "What happens when the restart budget is spent: the supervisor ends, as in OTP, or only the child is parked."),
    // The whole tree.
    key("state_dir", ROOT, Kind::Path, "Where records, journal and leases are kept; the user's state directory by default."),
    key("durability", ROOT, Kind::Choice(DURABILITIES), "What an accepted turn survives: nothing, as turns are not stored; the death of the process; or a power loss as well."),
    key("max_live", ROOT, Kind::Count(1), "How many CLIs may live at once; idle sessions are parked to make room."),
    key("defaults", ROOT, Kind::Defaults, "Options for every session that does not set them itself."),
    key("child", TREE, Kind::Children, "The children, in the order in which they are started."),
    // A child.
    key("name", CHILD, Kind::Name, "The name by which the child is found; a session's is unique in the whole file."),
    key("type", CHILD, Kind::Type, "What the child is: session (the default), supervisor, or a type that the embedding program registered."),
    key("restart", CHILD | SHARED, Kind::Choice(RESTARTS), "When the child is started again: always, only after a failure, or never."),
    key("shutdown", CHILD | SHARED, Kind::Shutdown, "How long the child may take to stop: a duration, brutal_kill or infinity."),
    key("significant", CHILD, Kind::Bool, "Whether the child's end counts for the auto_shutdown of its supervisor."),
    key("backoff", CHILD | SHARED, Kind::Backoff, "How long restarts wait: true for the usual back-off, or a table; at once by default."),
    // A session: its life.
    key("idle_timeout", SHARED, Kind::Duration, "How long a session may be idle before its CLI is parked; never by default."),
    key("own_work_wait", SHARED, Kind::Wait, "How long a turn waits for a CLI that works at something of its own; 30 s by default."),
    key("background_wait", SHARED, Kind::Wait, "How long background tasks, or work of the CLI's own, keep a CLI from being parked; 1 hour by default."),
    key("pinned", SHARED, Kind::Bool, "Whether a session's CLI is kept once it is started: neither idle_timeout nor max_live parks it."),
    key("silence_timeout", SHARED, Kind::Duration, "How long a busy CLI may be silent before it is probed, then killed and resumed."),
    key("start_timeout", SHARED, Kind::Duration, "How long a CLI may take to start."),
    key("drain_timeout", SHARED, Kind::Duration, "How long an interrupted turn may take to its result before the CLI is killed."),
    key("delivery", SHARED, Kind::Choice(DELIVERIES), "What a crash means to a turn: it is carried on, or it fails."),
    key("cut_off_tools", SHARED, Kind::Choice(CUT_OFF_TOOLS), "What becomes of a tool that was running when its CLI died: the model is told that its outcome is unknown, or it is asked again, which most often runs the tool again."),
    key("warm", SHARED, Kind::Count(0), "How many CLIs are kept initialized for conversations that are yet to begin, for all sessions that are started alike; none by default."),
    // A session: its conversation.
    key("resume", SESSION, Kind::SessionId, "The conversation to carry on from the first start."),
    key("session_id", SESSION, Kind::SessionId, "The id for a new conversation, or for a fork."),
    key("fork_session", SESSION, Kind::Bool, "Whether resume is copied to a new conversation instead of carried on."),
    // A session: the model.
    key("model", SHARED, Kind::Text, "The model, by alias or full name."),
    key("fallback_model", SHARED, Kind::Text, "The model to use while the first is overloaded."),
    key("max_turns", SHARED, Kind::Count(1), "The most model calls that one turn may take."),
    key("max_budget_usd", SHARED, Kind::Amount, "The most that one CLI process may spend, in US dollars."),
    key("system_prompt", SHARED, Kind::Text, "The system prompt, in place of the CLI's own."),
    key("append_system_prompt", SHARED, Kind::Text, "Text after the system prompt."),
    // A session: its tools.
    key("tools", SHARED, Kind::TextList, "The built-in tools that exist at all; an empty list is none."),
    key("allowed_tools", SHARED, Kind::TextList, "Tools, or rules such as Bash(git:*), that run without asking."),
    key("disallowed_tools", SHARED, Kind::TextList, "Tools, or rules, that never run."),
    key("permission_mode", SHARED, Kind::Choice(MODES), "What happens to a tool call that no rule decides."),
    key("mcp_config", SHARED, Kind::PathOrTable, "MCP servers: the path of a config file, or a table of servers by name."),
    key("settings", SHARED, Kind::PathOrTable, "Settings for the session: the path of a file, or a table."),
    key("setting_sources", SHARED, Kind::Choices(SOURCES), "Which of the machine's settings files are read; an empty list is none."),
    key("peer_messages", SHARED, Kind::Bool, "Whether other processes of the user may send the CLI messages, each of which begins a turn; not by default."),
    // A session: its process.
    key("timeout", SHARED, Kind::Duration, "How long one turn may take, all retries included; 5 minutes by default."),
    key("include_partial_messages", SHARED, Kind::Bool, "Whether the answer is streamed as it is made."),
    key("cli_path", SHARED, Kind::Program, "The CLI to run: a path, or a name to look up in PATH."),
    key("cwd", SHARED, Kind::Path, "The directory in which the CLI works."),
    key("add_dirs", SHARED, Kind::PathList, "More directories that its tools may use."),
    key("env", SHARED, Kind::Env, "Variables for the CLI: a string, or false to leave out one that would be inherited."),
    key("inherit_env", SHARED, Kind::InheritEnv, "Which variables the CLI inherits: true for all that are safe, false for none, or a list of names."),
    key("extra_args", SHARED, Kind::ExtraArgs, "Flags that have no option here: a string, or true for a flag without a value."),
];

/// Keys that concern the child and its supervisor, not the CLI.
const OURS: &[&str] = &[
    "type",
    "restart",
    "shutdown",
    "significant",
    "backoff",
    "idle_timeout",
    "own_work_wait",
    "background_wait",
    "pinned",
    "silence_timeout",
    "start_timeout",
    "drain_timeout",
    "delivery",
    "cut_off_tools",
    "warm",
];

/// Whether the value of the key of this name may be shown.
pub(crate) fn may_be_shown(name: &str) -> bool {
    find(name).is_some_and(|key| !key.is_private())
}

/// The key of this name, wherever it may stand.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The keys that may stand in a table of this kind.
pub(super) fn of(scope: Scope) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.is_in(scope))
}

/// Whether the key is an option of [`SessionSpec`](treewarden_proto::SessionSpec).
pub(super) fn is_session_option(key: &Key) -> bool {
    key.is_in(Scope::Session) && !OURS.contains(&key.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use treewarden_proto::SessionSpec;

    #[test]
    fn every_option_of_a_session_is_a_key_and_the_other_way_round() {
        let unknown = serde_json::json!({ "no_such_option": 1 });
        let error = serde_json::from_value::<SessionSpec>(unknown).expect_err("unknown keys are refused");
        let text = error.to_string();
        let (_, listed) = text.split_once("expected one of ").expect("serde lists the fields");
        let mut fields: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
        let mut keys: Vec<&str> =
            KEYS.iter().filter(|key| is_session_option(key)).map(|key| key.name).collect();
        fields.sort_unstable();
        keys.sort_unstable();
        assert_eq!(keys, fields);
    }
}
