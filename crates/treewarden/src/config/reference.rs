//! The tables of `docs/config.md`, made from the table of keys.

use std::fmt::Write as _;

use serde_json::Value;
use treewarden_otp_core::supervisor::Flags;

use super::effect::Effect;
use super::forms;
use super::key::{Key, Kind, Scope, Whose};
use super::keys::{self, Section};
use super::spec::{TemplateLimits, TreeSpec};
use crate::session::SessionOptions;
use crate::supervision::Supervision;

/// Every key of `treewarden.toml` as Markdown: its values, where it may stand, its default, what a change of it means.
///
/// It does not know the options of registered types.
pub fn reference() -> String {
    keys::SECTIONS.iter().map(table).collect::<Vec<_>>().join("\n")
}

fn table(section: &Section) -> String {
    let mut text = format!(
        "### {}\n\n| key | value | by default | may stand in | a change holds | meaning |\n|---|---|---|---|---|---|\n",
        section.title
    );
    for key in section.keys {
        let (value, default, places) = (value(key.kind), default(key), places(key));
        let Key { name, doc, .. } = key;
        // Writing to a text cannot fail.
        let _written =
            writeln!(text, "| `{name}` | {value} | {default} | {places} | {} | {doc} |", change(key));
    }
    text
}

/// What a value may be, in words.
fn value(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Name => "name".into(),
        Kind::SessionId => "UUID".into(),
        Kind::Type => "`session`, `supervisor`, or a registered type".into(),
        Kind::Bool => "`true` or `false`".into(),
        Kind::Count(least) => format!("whole number from {least}"),
        Kind::Amount => "number above 0".into(),
        Kind::Duration => "duration".into(),
        Kind::Wait => "duration, `0s`".into(),
        Kind::Size => "size".into(),
        Kind::Shutdown => "duration, `brutal_kill`, `infinity`".into(),
        Kind::Backoff => "`true`, `false`, table".into(),
        Kind::Choice(choices) => quoted(choices),
        Kind::Choices(choices) => format!("list of {}", quoted(choices)),
        Kind::TextList => "list of texts".into(),
        Kind::Path => "path".into(),
        Kind::Program => "path or name".into(),
        Kind::PathList => "list of paths".into(),
        Kind::PathOrTable => "path or table".into(),
        Kind::Env | Kind::ExtraArgs | Kind::Defaults => "table".into(),
        Kind::InheritEnv => "`true`, `false`, list of names".into(),
        Kind::Children | Kind::Templates => "tables".into(),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The default, as its form has it; a form that leaves a value out has false, nothing, or what the CLI makes of it.
fn default(key: &Key) -> String {
    if let Some(words) = key.default {
        return words.to_owned();
    }
    let form = match key.whose {
        Whose::File => return String::new(),
        Whose::Tree => forms::of_tree(&TreeSpec::default()),
        Whose::Supervisor => forms::of_flags(&Flags::default()),
        Whose::Template => forms::of_limits(&TemplateLimits::default()),
        Whose::Child => forms::of_supervision(&Supervision::default()),
        Whose::Session | Whose::Cli => forms::of_session(&SessionOptions::default()),
    };
    match form.get(key.name) {
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) if !value.is_null() => format!("`{value}`"),
        _ if matches!(key.kind, Kind::Bool) => "`false`".to_owned(),
        _ => String::new(),
    }
}

fn places(key: &Key) -> String {
    let words = [
        (Scope::Root, "top level"),
        (Scope::Supervisor, "supervisor"),
        (Scope::Session, "session"),
        (Scope::Defaults, "defaults"),
        (Scope::Template, "template"),
    ];
    let places = words.into_iter().filter(|(scope, _)| key.is_in(*scope)).map(|(_, word)| word);
    places.collect::<Vec<_>>().join(", ")
}

fn change(key: &Key) -> &'static str {
    match key.effect {
        _ if matches!(key.kind, Kind::Defaults) => "as each key in it",
        Effect::AtOnce => "at once",
        Effect::NextTurn => "for the next turn",
        Effect::NextCli => "for the next CLI",
        Effect::Restart => "after a restart of the child",
        Effect::Replace => "for another child in its place",
        Effect::NextTree => "for the next start of the tree",
    }
}
