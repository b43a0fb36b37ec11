//! What a node is set to, key by key as its file has it, and what another value of each key means.
//!
//! Two nodes with equal settings are one and the same to a running tree.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::diff::KeyDiff;
use crate::config::forms::{self, Settings};
use crate::config::{self, ChildDecl, ChildKind, Effect, Key, Scope, SupervisorDecl};
use crate::session::SessionOptions;

/// What it means that a key of a supervisor, or of the whole tree, has another value.
pub(super) fn effect(key: &str) -> Effect {
    // Every field of a form has its row; this is the effect that loses nothing.
    config::find(key).map_or(Effect::NextTree, |key| key.effect)
}

/// What it means that a key of this child has another value, which the child has already.
pub(super) fn effect_in(child: &ChildDecl, key: &str) -> Effect {
    match &child.kind {
        // Its own options may have the name of any key of a session.
        ChildKind::Custom { .. } => {
            let common = config::find(key).filter(|key| key.is_in(Scope::Custom));
            common.map_or(Effect::Restart, |key| key.effect)
        }
        // A conversation that is no longer named is carried on as the session's own.
        ChildKind::Session(session) => match effect(key) {
            Effect::Replace if !names_conversation(session) => Effect::AtOnce,
            effect => effect,
        },
        ChildKind::Supervisor(_) | ChildKind::Template(_) => effect(key),
    }
}

fn names_conversation(session: &SessionOptions) -> bool {
    session.spec.resume.is_some() || session.spec.session_id.is_some()
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
    // A key without a row is a registered type's, and may be secret.
    let known = config::find(key).is_some_and(|key: &Key| !key.secret);
    value.filter(|_| known).cloned().unwrap_or_default()
}

/// The children of a supervisor by their names.
pub(super) fn by_name(decl: &SupervisorDecl) -> HashMap<&str, &ChildDecl> {
    decl.children.iter().map(|child| (child.name.as_str(), child)).collect()
}

/// What a child is set to, apart from its children and a supervisor's flags.
pub(super) fn of_child(child: &ChildDecl) -> Settings {
    let mut settings = match &child.kind {
        ChildKind::Session(session) => forms::of_session(session),
        ChildKind::Supervisor(_) => Settings::new(),
        ChildKind::Template(template) => {
            let mut settings = of_child(&template.session);
            settings.append(&mut forms::of_limits(&template.limits));
            return settings;
        }
        ChildKind::Custom { options, .. } => options.clone(),
    };
    settings.append(&mut forms::of_supervision(&child.supervision));
    settings
}
