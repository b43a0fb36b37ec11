//! Options as arguments of the CLI.
//!
//! Every value is joined to its flag with `=`, so that no value can be taken for a flag.

use std::fmt::Display;

use super::error::Faults;
use super::{ExtraArg, SessionSpec, model, process, settings, tools};
use crate::SessionId;

/// How the CLI is to begin its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A new conversation under this id, of which nothing is on disk.
    Fresh(SessionId),
    /// The conversation with this id, carried on.
    Resume(SessionId),
    /// A copy of one conversation under a new id.
    Fork {
        /// The conversation that is copied.
        from: SessionId,
        /// The id of the copy.
        to: SessionId,
    },
}

impl Opening {
    /// The id that the conversation has from then on.
    pub const fn session_id(&self) -> SessionId {
        match *self {
            Self::Fresh(id) | Self::Resume(id) | Self::Fork { to: id, .. } => id,
        }
    }
}

/// The flags without which a session cannot be driven at all.
const BASE: [&str; 5] = [
    // This input implies it (2.1.330); written out, nothing depends on that.
    "-p",
    "--input-format=stream-json",
    "--output-format=stream-json",
    "--verbose",
    // The echo of a prompt is the sign that the CLI has read it.
    "--replay-user-messages",
];

/// Flags that this crate writes itself, each with the option that stands for it; empty where there is none.
const OWNED: &[(&str, &str)] = &[
    ("print", ""),
    ("p", ""),
    ("input-format", ""),
    ("output-format", ""),
    ("verbose", ""),
    ("replay-user-messages", ""),
    ("permission-prompt-tool", ""),
    // `--continue` takes the newest conversation of the directory: beside another session, that is the
    // other's.
    ("continue", "resume"),
    ("c", "resume"),
    ("resume", "resume"),
    ("r", "resume"),
    ("session-id", "session_id"),
    ("fork-session", "fork_session"),
    // Without a transcript no crash could be survived.
    ("no-session-persistence", ""),
    ("model", "model"),
    ("fallback-model", "fallback_model"),
    ("max-turns", "max_turns"),
    ("max-budget-usd", "max_budget_usd"),
    ("system-prompt", "system_prompt"),
    ("append-system-prompt", "append_system_prompt"),
    ("tools", "tools"),
    ("allowedTools", "allowed_tools"),
    ("allowed-tools", "allowed_tools"),
    ("disallowedTools", "disallowed_tools"),
    ("disallowed-tools", "disallowed_tools"),
    ("permission-mode", "permission_mode"),
    ("mcp-config", "mcp_config"),
    ("settings", "settings"),
    ("setting-sources", "setting_sources"),
    ("add-dir", "add_dirs"),
    ("include-partial-messages", "include_partial_messages"),
];

impl SessionSpec {
    /// The arguments for the CLI, without the program itself.
    ///
    /// The system prompt is not among them: it goes with [`initialize`](Self::initialize). An extra flag that
    /// [`validate`](Self::validate) refuses because treewarden writes it itself is left out. A path that is not UTF-8, which
    /// it refuses as well, is written as another one.
    pub fn argv(&self, opening: &Opening) -> Vec<String> {
        let mut args = Args(BASE.map(str::to_owned).to_vec());
        match opening {
            Opening::Fresh(id) => args.value("--session-id", id),
            Opening::Resume(id) => args.value("--resume", id),
            Opening::Fork { from, to } => {
                args.value("--resume", from);
                // Without an id of our own the CLI chooses one, which nobody knows before the first turn: a
                // crash until then would lose the copy.
                args.flag("--fork-session");
                args.value("--session-id", to);
            }
        }
        model::args(self, &mut args);
        tools::args(self, &mut args);
        settings::args(self, &mut args);
        process::args(self, &mut args);
        args.0
    }
}

/// Arguments in the making.
pub(super) struct Args(Vec<String>);

impl Args {
    pub(super) fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    pub(super) fn value(&mut self, flag: &str, value: impl Display) {
        // One argument: a value that begins with a dash would otherwise be read as the next flag.
        self.0.push(format!("{flag}={value}"));
    }

    pub(super) fn value_of(&mut self, flag: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(flag, value);
        }
    }

    pub(super) fn list(&mut self, flag: &str, values: &[String]) {
        if !values.is_empty() {
            self.value(flag, values.join(","));
        }
    }
}

/// Whether this crate writes the flag itself, so that no extra flag may stand in for it.
pub(super) fn is_owned(flag: &str) -> bool {
    OWNED.iter().any(|(owned, _)| *owned == flag)
}

/// Notes an extra flag that is none, or that this crate writes itself.
pub(super) fn check_extra(flag: &str, value: &ExtraArg, faults: &mut Faults) {
    let option = format!("extra_args.{flag}");
    // No `=` above all: it would smuggle in a value, and with it a flag that is written here.
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if flag.is_empty() || flag.starts_with('-') || !flag.chars().all(well_formed) {
        let text = format_args!("`extra_args` has {flag:?}: write a flag's name without its leading dashes");
        faults.add(&[&option], text);
    }
    if let ExtraArg::Value(value) = value {
        faults.nul(&option, value);
    }
    // Refused, and not overridden: which of two equal flags counts is the CLI's affair, and may change.
    match OWNED.iter().find(|(owned, _)| *owned == flag) {
        Some((_, "")) => {
            faults.add(&[&option], format_args!("`extra_args` has `{flag}`, which treewarden sets itself"));
        }
        Some((_, own)) => {
            faults.add(&[&option, own], format_args!("`extra_args` has `{flag}`: use the option `{own}`"));
        }
        None => {}
    }
}
