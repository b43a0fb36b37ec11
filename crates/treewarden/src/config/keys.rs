//! The table of keys: where each may stand, what its value may be, whose it is, what another value means, and its doc.
//!
//! An option is two edits: a field of its owner's form (see [`Whose`]) with its type and default, and a row here. The reader,
//! its messages, the JSON Schema, the tables of `docs/config.md` and what a reload says all follow. One of the CLI's
//! becomes something for the CLI as well: an argument, a variable, a field of `initialize`.
//!
//! It must never say what serde says: how a value is read and what is the default stand in the form alone.

use super::effect::Effect;
use super::key::{
    CHILD, Key, Kind, ROOT, SESSION, SHARED, Scope, TEMPLATE, TREE, child, cli, file, ours, supervisor,
    template, tree,
};

const STRATEGIES: &[&str] = &["one_for_one", "one_for_all", "rest_for_one"];
const AUTO_SHUTDOWNS: &[&str] = &["never", "any_significant", "all_significant"];
const GIVE_UPS: &[&str] = &["escalate", "park"];
const RESTARTS: &[&str] = &["permanent", "transient", "temporary"];
const DELIVERIES: &[&str] = &["exactly_once", "at_most_once"];
const CUT_OFF_TOOLS: &[&str] = &["tell", "run_again"];
const ON_LIMITS: &[&str] = &["wait", "fail"];
const ENFORCEMENTS: &[&str] = &["best", "kernel"];
const DURABILITIES: &[&str] = &["nothing", "process", "power"];
const MODES: &[&str] = &["default", "acceptEdits", "bypassPermissions", "plan", "dontAsk", "auto"];
const SOURCES: &[&str] = &["user", "project", "local"];

/// A part of the table, as the documentation has it.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) keys: &'static [Key],
}

/// The table.
#[rustfmt::skip]
pub(super) static SECTIONS: &[Section] = &[
    Section { title: "A supervisor", keys: &[
        supervisor("strategy", Kind::Choice(STRATEGIES), "Which children are restarted when one fails: only that one, all, or that one and those declared after it."),
        supervisor("max_restarts", Kind::Count(0), "How many restarts are allowed within max_seconds; 3 by default.").also(TEMPLATE),
        supervisor("max_seconds", Kind::Count(1), "The length of the window for max_restarts, in seconds; 5 by default.").also(TEMPLATE),
        supervisor("auto_shutdown", Kind::Choice(AUTO_SHUTDOWNS), "Whether the supervisor ends when its significant children have ended by themselves."),
        supervisor("give_up", Kind::Choice(GIVE_UPS), "What happens when the restart budget is spent: the supervisor ends, as in OTP, or only the child is parked.").also(TEMPLATE).by_default("`park`; `escalate` where `strategy` is another than `one_for_one`"),
    ] },
    Section { title: "The whole tree", keys: &[
        tree("state_dir", Kind::Path, "Where records, journal and leases are kept; the user's state directory by default."),
        tree("durability", Kind::Choice(DURABILITIES), "What an accepted turn survives: nothing, as turns are not stored; the death of the process; or a power loss as well."),
        tree("max_live", Kind::Count(1), "How many CLIs may live at once; idle sessions are parked to make room. Unset, treewarden run goes by what the machine lets it have; set, never by more than there are descriptors for."),
        tree("keep_turns", Kind::Count(1), "How many settled turns of each session are kept, counted from the newest; older ones are removed."),
        tree("keep_turns_for", Kind::Duration, "How long settled turns are kept; a turn stays only if keep_turns allows it too."),
        tree("keep_ids", Kind::Duration, "How long the ids of removed turns are known, so that one that is asked again is refused; of the tree's own ids that is known for ever."),
        file("defaults", ROOT, Kind::Defaults, "Options for every session that does not set them itself."),
        file("child", TREE, Kind::Children, "The children, in the order in which they are started."),
        file("template", ROOT, Kind::Templates, "What sessions are made of that come and go while the tree runs."),
    ] },
    Section { title: "A template", keys: &[
        template("max_sessions", Kind::Count(1), "How many sessions of the template may exist at once; as many as are asked for by default."),
        template("remove_idle", Kind::Duration, "How long a session of the template may have nothing to do before it is removed; never by default."),
    ] },
    Section { title: "A child", keys: &[
        file("name", CHILD | TEMPLATE, Kind::Name, "The name by which the child is found; a session's is unique in the whole file.").on_change(Effect::Replace),
        file("type", CHILD, Kind::Type, "What the child is: session (the default), supervisor, or a type that the embedding program registered.").on_change(Effect::Replace),
        child("restart", Kind::Choice(RESTARTS), "When the child is started again: always, only after a failure, or never.").also(SHARED),
        child("shutdown", Kind::Shutdown, "How long the child may take to stop: a duration, brutal_kill or infinity.").also(SHARED),
        child("significant", Kind::Bool, "Whether the child's end counts for the auto_shutdown of its supervisor."),
        child("backoff", Kind::Backoff, "How long restarts wait: true for the usual back-off, whose first restart is at once, false for not at all, or a table.").also(SHARED).by_default("`true` under a `one_for_one` supervisor that parks, else `false`"),
    ] },
    Section { title: "A session: its life", keys: &[
        ours("idle_timeout", Kind::Duration, "How long a session may be idle before its CLI is parked; never by default."),
        ours("own_work_wait", Kind::Wait, "How long a turn waits for a CLI that works at something of its own; 30 s by default."),
        ours("background_wait", Kind::Wait, "How long background tasks, or work of the CLI's own, keep a CLI from being parked; 1 hour by default."),
        ours("pinned", Kind::Bool, "Whether a session's CLI is kept once it is started: neither idle_timeout nor max_live parks it.").on_change(Effect::NextCli),
        ours("silence_timeout", Kind::Duration, "How long a busy CLI may be silent before it is probed, then killed and resumed."),
        ours("start_timeout", Kind::Duration, "How long a CLI may take to start."),
        ours("place_wait", Kind::Duration, "How long a turn waits for a place among the live CLIs; 10 minutes by default."),
        ours("drain_timeout", Kind::Duration, "How long an interrupted turn may take to its result before the CLI is killed."),
        ours("delivery", Kind::Choice(DELIVERIES), "What a crash means to a turn: it is carried on, or it fails.").on_change(Effect::NextTurn),
        ours("cut_off_tools", Kind::Choice(CUT_OFF_TOOLS), "What becomes of a tool that was running when its CLI died: the model is told that its outcome is unknown, or it is asked again, which most often runs the tool again."),
        ours("on_limit", Kind::Choice(ON_LIMITS), "What a turn does that meets a usage limit of the account: it waits until that is lifted, or fails. By default one that nobody waits for waits, and every other fails.").on_change(Effect::NextTurn),
        ours("limit_wait", Kind::Duration, "How long a turn waits for usage limits, counted from when it was asked; 6 hours by default. It is no part of its timeout.").on_change(Effect::NextTurn),
        ours("api_retries", Kind::Count(0), "How often a turn is gone on with when the model API failed it in a way that may pass, after the CLI's own retries; 2 by default."),
        ours("cli_version", Kind::Text, "The versions that the CLI may have: one, such as 2.1.332, or a range, such as >=2.1.300. It also allows a CLI that is older than the one that wrote the conversation.").on_change(Effect::NextCli),
        ours("warm", Kind::Count(0), "How many CLIs are kept initialized for conversations that are yet to begin, for all sessions that are started alike; none by default.").on_change(Effect::NextCli),
        #[cfg(test)]
        ours("rehearsal", Kind::Text, "An option of the tests alone.").on_change(Effect::NextTurn).secret(),
    ] },
    Section { title: "A session: what it may take", keys: &[
        ours("memory_max", Kind::Size, "The most memory that the CLI and the processes that it starts may take together: the one that takes most is killed."),
        ours("memory_high", Kind::Size, "The memory above which the kernel slows them down and takes back what it can."),
        ours("pids_max", Kind::Count(1), "The most processes and threads that they may be."),
        ours("cpu_weight", Kind::Count(1), "Their share of the processors beside others, from 1 to 10000; 100 without it."),
        ours("limits", Kind::Choice(ENFORCEMENTS), "Who keeps these limits: the kernel where it can, and memory_max is otherwise kept by a look each second; or the kernel alone, without which the session does not start."),
        ours("recycle_above", Kind::Size, "The memory, taken by the CLI and what it started, above which the CLI is replaced between two turns."),
    ] },
    Section { title: "A session: its conversation", keys: &[
        cli("resume", Kind::SessionId, "The conversation to carry on from the first start.").only(SESSION).on_change(Effect::Replace),
        cli("session_id", Kind::SessionId, "The id for a new conversation, or for a fork.").only(SESSION).on_change(Effect::Replace),
        cli("fork_session", Kind::Bool, "Whether resume is copied to a new conversation instead of carried on.").only(SESSION).on_change(Effect::Replace),
    ] },
    Section { title: "A session: the model", keys: &[
        cli("model", Kind::Text, "The model, by alias or full name."),
        cli("fallback_model", Kind::Text, "The model to use while the first is overloaded."),
        cli("max_turns", Kind::Count(1), "The most model calls that one turn may take."),
        cli("max_budget_usd", Kind::Amount, "The most that one CLI process may spend, in US dollars."),
        cli("system_prompt", Kind::Text, "The system prompt, in place of the CLI's own."),
        cli("append_system_prompt", Kind::Text, "Text after the system prompt."),
    ] },
    Section { title: "A session: its tools", keys: &[
        cli("tools", Kind::TextList, "The built-in tools that exist at all; an empty list is none."),
        cli("allowed_tools", Kind::TextList, "Tools, or rules such as Bash(git:*), that run without asking."),
        cli("disallowed_tools", Kind::TextList, "Tools, or rules, that never run."),
        cli("permission_mode", Kind::Choice(MODES), "What happens to a tool call that no rule decides."),
        cli("mcp_config", Kind::PathOrTable, "MCP servers: the path of a config file, or a table of servers by name.").secret(),
        cli("settings", Kind::PathOrTable, "Settings for the session: the path of a file, or a table.").secret(),
        cli("setting_sources", Kind::Choices(SOURCES), "Which of the machine's settings files are read; an empty list is none."),
        cli("peer_messages", Kind::Bool, "Whether other processes of the user may send the CLI messages, each of which begins a turn; not by default."),
    ] },
    Section { title: "A session: its process", keys: &[
        cli("timeout", Kind::Duration, "How long one turn may take from when it is the next one, starts and restarts of its CLI included; 5 minutes by default.").on_change(Effect::NextTurn),
        cli("include_partial_messages", Kind::Bool, "Whether the answer is streamed as it is made; otherwise each message comes whole, which takes a little less of the machine."),
        cli("cli_path", Kind::Program, "The CLI to run: a path, or a name to look up in PATH."),
        cli("cwd", Kind::Path, "The directory in which the CLI works."),
        cli("add_dirs", Kind::PathList, "More directories that its tools may use."),
        cli("env", Kind::Env, "Variables for the CLI: a string, a table that says where it stands (file, command or var), or false to leave out one that would be inherited.").secret(),
        cli("inherit_env", Kind::InheritEnv, "Which variables the CLI inherits: true for all that are safe, false for none, or a list of names."),
        cli("extra_args", Kind::ExtraArgs, "Flags that have no option here: a string, or true for a flag without a value; every user of the machine can read them, so nothing secret belongs here.").secret(),
    ] },
];

/// All keys, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The key of this name, wherever it may stand.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// The keys that may stand in a table of this kind.
pub(super) fn of(scope: Scope) -> impl Iterator<Item = &'static Key> {
    all().filter(move |key| key.is_in(scope))
}
