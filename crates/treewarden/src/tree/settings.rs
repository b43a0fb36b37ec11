//! What a node is set to, key by key as its file has it, and what another value of each key means.
//!
//! Two nodes with equal settings are one and the same to a running tree.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Map, Value, json};
use treewarden_core::session::Delivery;
use treewarden_otp_core::supervisor::{AutoShutdown, Flags, GiveUp, Restart, Shutdown, Strategy};
use treewarden_store::Durability;

use super::diff::{Effect, KeyDiff};
use crate::config::{ChildDecl, ChildKind, SessionDecl, SupervisorDecl, TreeSpec, may_be_shown};
use crate::session::CutOffTools;

/// The keys of a node that are set.
pub(super) type Settings = Map<String, Value>;

/// What it means that a key of a child has another value.
///
/// `custom` says that the child is of a registered type, `named` that the key names a conversation now.
pub(super) fn effect(key: &str, custom: bool, named: bool) -> Effect {
    match key {
        "restart" | "shutdown" | "significant" | "backoff" => Effect::AtOnce,
        _ if custom => Effect::Restart,
        "resume" | "session_id" | "fork_session" if named => Effect::Replace,
        // A conversation that is no longer named is carried on as the session's own.
        "resume" | "session_id" | "fork_session" => Effect::AtOnce,
        "idle_timeout" | "silence_timeout" | "start_timeout" | "drain_timeout" => Effect::AtOnce,
        "own_work_wait" | "background_wait" | "cut_off_tools" => Effect::AtOnce,
        "timeout" | "delivery" => Effect::NextTurn,
        _ => Effect::NextCli,
    }
}

/// Whether the key belongs to those that name a conversation, and one is named.
pub(super) fn names_conversation(session: &SessionDecl, key: &str) -> bool {
    matches!(key, "resume" | "session_id" | "fork_session")
        && (session.spec.resume.is_some() || session.spec.session_id.is_some())
}

/// The keys that differ, in the order of their names.
pub(super) fn differing(old: &Settings, new: &Settings, effect: impl Fn(&str) -> Effect) -> Vec<KeyDiff> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = |key: &&String| old.get(*key) != new.get(*key);
    keys.into_iter()
        .filter(differs)
        .map(|key| KeyDiff {
            key: key.clone(),
            effect: effect(key),
            from: shown(key, old.get(key)),
            to: shown(key, new.get(key)),
        })
        .collect()
}

/// A value as a diff may show it.
fn shown(key: &str, value: Option<&Value>) -> Value {
    value.filter(|_| may_be_shown(key)).cloned().unwrap_or_default()
}

/// The children of a supervisor by their names.
pub(super) fn by_name(decl: &SupervisorDecl) -> HashMap<&str, &ChildDecl> {
    decl.children.iter().map(|child| (child.name.as_str(), child)).collect()
}

/// What concerns the whole tree.
pub(super) fn of_tree(spec: &TreeSpec) -> Settings {
    let mut settings = Settings::new();
    put(&mut settings, "state_dir", spec.state_dir.as_ref().map(|dir| json!(dir.to_string_lossy())));
    let durability = match spec.durability {
        Durability::Nothing => Some("nothing"),
        Durability::Process => None,
        Durability::Power => Some("power"),
    };
    put(&mut settings, "durability", durability.map(Into::into));
    put(&mut settings, "max_live", spec.max_live.map(Into::into));
    settings
}

/// What a child is set to, apart from its children and a supervisor's flags.
pub(super) fn of_child(child: &ChildDecl) -> Settings {
    let mut settings = match &child.kind {
        ChildKind::Session(session) => of_session(session),
        ChildKind::Supervisor(_) => Settings::new(),
        ChildKind::Custom { options, .. } => options.clone(),
    };
    settings.append(&mut of_supervision(child));
    settings
}

/// How a child is supervised.
pub(super) fn of_supervision(child: &ChildDecl) -> Settings {
    let mut settings = Settings::new();
    let restart = match child.restart {
        Restart::Permanent => None,
        Restart::Transient => Some("transient"),
        Restart::Temporary => Some("temporary"),
    };
    put(&mut settings, "restart", restart.map(Into::into));
    put(&mut settings, "significant", child.significant.then_some(Value::Bool(true)));
    put(&mut settings, "backoff", child.backoff.as_ref().map(|backoff| backoff.to_string().into()));
    let shutdown = child.shutdown.map(|shutdown| match shutdown {
        Shutdown::BrutalKill => "brutal_kill".into(),
        Shutdown::Infinity => "infinity".into(),
        Shutdown::Timeout(limit) => text(limit),
    });
    put(&mut settings, "shutdown", shutdown);
    settings
}

fn of_session(session: &SessionDecl) -> Settings {
    // A spec is a table of its options, and nothing in it cannot be written.
    let mut settings = match serde_json::to_value(&session.spec) {
        Ok(Value::Object(settings)) => settings,
        _ => Settings::new(),
    };
    settings.remove("name");
    put(&mut settings, "idle_timeout", session.idle_timeout.map(text));
    put(&mut settings, "own_work_wait", session.own_work_wait.map(text));
    put(&mut settings, "background_wait", session.background_wait.map(text));
    put(&mut settings, "silence_timeout", session.silence_timeout.map(text));
    put(&mut settings, "start_timeout", session.start_timeout.map(text));
    put(&mut settings, "drain_timeout", session.drain_timeout.map(text));
    let delivery = session.delivery.map(|delivery| match delivery {
        Delivery::AtMostOnce => "at_most_once".into(),
        _ => "exactly_once".into(),
    });
    put(&mut settings, "delivery", delivery);
    let cut_off_tools = session.cut_off_tools.map(|tools| match tools {
        CutOffTools::Tell => "tell".into(),
        CutOffTools::RunAgain => "run_again".into(),
    });
    put(&mut settings, "cut_off_tools", cut_off_tools);
    put(&mut settings, "pinned", session.pinned.then(|| true.into()));
    put(&mut settings, "warm", session.warm.map(Value::from));
    settings
}

pub(super) fn of_flags(flags: &Flags) -> Settings {
    let mut settings = Settings::new();
    let strategy = match flags.strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
    };
    let auto_shutdown = match flags.auto_shutdown {
        AutoShutdown::Never => "never",
        AutoShutdown::AnySignificant => "any_significant",
        AutoShutdown::AllSignificant => "all_significant",
    };
    let give_up = match flags.give_up {
        GiveUp::Escalate => "escalate",
        GiveUp::Park => "park",
    };
    put(&mut settings, "strategy", Some(strategy.into()));
    put(&mut settings, "max_restarts", Some(flags.max_restarts.into()));
    put(&mut settings, "max_seconds", Some(flags.max_seconds.into()));
    put(&mut settings, "auto_shutdown", Some(auto_shutdown.into()));
    put(&mut settings, "give_up", Some(give_up.into()));
    settings
}

fn put(settings: &mut Settings, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        settings.insert(key.to_owned(), value);
    }
}

fn text(duration: Duration) -> Value {
    humantime::format_duration(duration).to_string().into()
}
