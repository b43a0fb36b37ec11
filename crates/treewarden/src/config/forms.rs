//! The forms in which the values of a file are read, and in which a diff compares them: one field for each key.
//!
//! A session's is [`SessionOptions`](crate::session::SessionOptions) itself, and a template's [`TemplateLimits`]; those here are
//! for types that know nothing of files. A form that leaves a field out does not compile.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use treewarden_otp_core::Backoff;
use treewarden_otp_core::supervisor::{AutoShutdown, Flags, GiveUp, Restart, Shutdown, Strategy};
use treewarden_proto::spec::duration;
use treewarden_store::Durability;

use super::backoff;
use super::spec::{SupervisorDecl, TemplateLimits, TreeSpec};
use crate::session::SessionOptions;
use crate::supervision::Supervision;

/// The values of a form by their keys; null is unset.
pub(crate) type Settings = Map<String, Value>;

/// What concerns the whole tree.
pub(crate) fn of_tree(spec: &TreeSpec) -> Settings {
    table(TreeForm::serialize(spec, serde_json::value::Serializer))
}

/// How a supervisor behaves.
pub(crate) fn of_flags(flags: &Flags) -> Settings {
    table(FlagsForm::serialize(flags, serde_json::value::Serializer))
}

/// How a child is supervised.
pub(crate) fn of_supervision(supervision: &Supervision) -> Settings {
    table(SupervisionForm::serialize(supervision, serde_json::value::Serializer))
}

/// How many sessions of a template there may be.
pub(crate) fn of_limits(limits: &TemplateLimits) -> Settings {
    table(serde_json::to_value(limits))
}

/// The options of a session.
pub(crate) fn of_session(options: &SessionOptions) -> Settings {
    table(serde_json::to_value(options))
}

/// A form is a table; what cannot be written in it, a session's path that is no UTF-8, can stand in no file.
fn table(written: Result<Value, serde_json::Error>) -> Settings {
    match written {
        Ok(Value::Object(settings)) => settings,
        // Every form is written as a table; a test holds each field against its row.
        _ => Settings::new(),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TreeSpec", default, deny_unknown_fields)]
pub(super) struct TreeForm {
    #[serde(serialize_with = "write_path")]
    state_dir: Option<PathBuf>,
    durability: Durability,
    max_live: Option<usize>,
    keep_turns: usize,
    #[serde(with = "duration")]
    keep_turns_for: Duration,
    #[serde(with = "duration")]
    keep_ids: Duration,
    #[serde(skip)]
    root: SupervisorDecl,
}

impl Default for TreeForm {
    fn default() -> Self {
        let TreeSpec { state_dir, durability, max_live, keep_turns, keep_turns_for, keep_ids, root } =
            TreeSpec::default();
        Self { state_dir, durability, max_live, keep_turns, keep_turns_for, keep_ids, root }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Flags", default, deny_unknown_fields)]
pub(super) struct FlagsForm {
    #[serde(with = "StrategyForm")]
    strategy: Strategy,
    max_restarts: u32,
    max_seconds: u32,
    #[serde(with = "AutoShutdownForm")]
    auto_shutdown: AutoShutdown,
    #[serde(with = "GiveUpForm")]
    give_up: GiveUp,
}

impl Default for FlagsForm {
    fn default() -> Self {
        let Flags { strategy, max_restarts, max_seconds, auto_shutdown, give_up } = Flags::default();
        Self { strategy, max_restarts, max_seconds, auto_shutdown, give_up }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Strategy", rename_all = "snake_case")]
enum StrategyForm {
    OneForOne,
    OneForAll,
    RestForOne,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AutoShutdown", rename_all = "snake_case")]
enum AutoShutdownForm {
    Never,
    AnySignificant,
    AllSignificant,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "GiveUp", rename_all = "snake_case")]
enum GiveUpForm {
    Escalate,
    Park,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(remote = "Supervision", default, deny_unknown_fields)]
pub(super) struct SupervisionForm {
    #[serde(with = "RestartForm")]
    restart: Restart,
    #[serde(serialize_with = "write_shutdown", deserialize_with = "read_shutdown")]
    shutdown: Option<Shutdown>,
    significant: bool,
    #[serde(serialize_with = "write_backoff", deserialize_with = "read_backoff")]
    backoff: Option<Backoff>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Restart", rename_all = "snake_case")]
enum RestartForm {
    Permanent,
    Transient,
    Temporary,
}

/// As well as it can be said: a program may set one that is no UTF-8.
fn write_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

fn write_shutdown<S: Serializer>(shutdown: &Option<Shutdown>, serializer: S) -> Result<S::Ok, S::Error> {
    match shutdown {
        None => serializer.serialize_none(),
        Some(Shutdown::BrutalKill) => serializer.serialize_str("brutal_kill"),
        Some(Shutdown::Infinity) => serializer.serialize_str("infinity"),
        Some(Shutdown::Timeout(limit)) => serializer.collect_str(&humantime::format_duration(*limit)),
    }
}

fn read_shutdown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Shutdown>, D::Error> {
    Ok(match String::deserialize(deserializer)?.as_str() {
        "brutal_kill" => Some(Shutdown::BrutalKill),
        "infinity" => Some(Shutdown::Infinity),
        text => Some(Shutdown::Timeout(humantime::parse_duration(text).map_err(serde::de::Error::custom)?)),
    })
}

/// In words: only a diff writes it, and people read that.
fn write_backoff<S: Serializer>(backoff: &Option<Backoff>, serializer: S) -> Result<S::Ok, S::Error> {
    match backoff {
        None => serializer.serialize_none(),
        Some(backoff) => serializer.collect_str(backoff),
    }
}

fn read_backoff<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Backoff>, D::Error> {
    Value::deserialize(deserializer).map(|value| backoff::resolve(&value))
}
