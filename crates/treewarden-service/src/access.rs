//! How far a caller may go: one level for each verb, as a table.
//!
//! Who a caller is, and which level that one has, is the door's to find out. A session does what its prompts ask within its
//! permissions: whoever may [talk](Access::Talk) may do as much as those let the CLI do.

use crate::message::Request;

/// How far a caller may go; each level has those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Sees sessions, turns and their texts, and changes nothing.
    Look,
    /// Talks to the sessions that are there: asks, interrupts, begins new conversations.
    Talk,
    /// Decides which sessions there are, and whether they run.
    Change,
}

/// Every verb, and what it takes to use it.
pub const VERBS: [(&str, Access); 19] = [
    ("hello", Access::Look),
    ("ps", Access::Look),
    ("tree", Access::Look),
    ("turn", Access::Look),
    ("events", Access::Look),
    ("ask", Access::Talk),
    ("cancel", Access::Talk),
    ("interrupt", Access::Talk),
    ("clear", Access::Talk),
    ("start", Access::Change),
    ("stop", Access::Change),
    ("restart", Access::Change),
    ("new", Access::Change),
    ("remove", Access::Change),
    ("reload", Access::Change),
    ("clear_lost", Access::Change),
    ("adopt", Access::Change),
    ("adopt_lost", Access::Change),
    ("backup", Access::Change),
];

/// Whoever asks, as far as the service has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    access: Access,
}

impl Caller {
    /// A caller who may go so far.
    pub fn with(access: Access) -> Self {
        Self { access }
    }

    /// Whether this caller may ask for this.
    pub fn may(self, request: &Request) -> bool {
        request.access() <= self.access
    }
}

impl Request {
    /// The verb, as the protocol names it.
    pub fn op(&self) -> &'static str {
        match self {
            Self::Hello {} => "hello",
            Self::Reload { .. } => "reload",
            Self::Ps {} => "ps",
            Self::Tree {} => "tree",
            Self::Ask { .. } => "ask",
            Self::Turn { .. } => "turn",
            Self::Cancel { .. } => "cancel",
            Self::Restart { .. } => "restart",
            Self::Stop { .. } => "stop",
            Self::Start { .. } => "start",
            Self::New { .. } => "new",
            Self::Remove { .. } => "remove",
            Self::Clear { .. } => "clear",
            Self::ClearLost {} => "clear_lost",
            Self::Adopt { .. } => "adopt",
            Self::AdoptLost {} => "adopt_lost",
            Self::Interrupt { .. } => "interrupt",
            Self::Backup { .. } => "backup",
            Self::Events { .. } => "events",
        }
    }

    /// What it takes to ask for this; for a verb without a row, and for a command to the CLI, that is everything.
    pub fn access(&self) -> Access {
        // A command has the CLI read any file that its user can read, whatever the session's permissions let the model do.
        if matches!(self, Self::Ask { command: true, .. }) {
            return Access::Change;
        }
        // A verb without a row needs the highest level: one that was forgotten must not be open to everybody.
        VERBS.iter().find(|(op, _)| *op == self.op()).map_or(Access::Change, |(_, access)| *access)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    /// The verbs that a request can be read from, which only serde knows: it lists them when it knows none of a name.
    fn readable() -> BTreeSet<String> {
        let error =
            serde_json::from_value::<Request>(json!({ "op": "" })).expect_err("it is none").to_string();
        let (_, list) = error.split_once("expected one of ").unwrap_or_else(|| panic!("{error}"));
        list.split(", ").map(|op| op.trim_matches('`').to_owned()).collect()
    }

    #[test]
    fn each_verb_has_a_row() {
        let rows: BTreeSet<String> = VERBS.iter().map(|(op, _)| (*op).to_owned()).collect();
        assert_eq!(rows.len(), VERBS.len(), "a verb has one row");
        assert_eq!(rows, readable());
    }

    #[test]
    fn a_command_takes_more_than_words() {
        let ask = |command: bool| {
            let ask = json!({ "op": "ask", "name": "a", "prompt": "see @/etc/passwd", "command": command });
            serde_json::from_value::<Request>(ask).expect("valid")
        };
        assert!(Caller::with(Access::Talk).may(&ask(false)));
        assert!(!Caller::with(Access::Talk).may(&ask(true)));
        assert!(Caller::with(Access::Change).may(&ask(true)));
    }

    #[test]
    fn a_verb_is_named_as_it_is_read() {
        for (op, access) in VERBS {
            let turn = treewarden::TurnId::new();
            let fields = [
                json!({}),
                json!({ "name": "a" }),
                json!({ "name": "a", "prompt": "x" }),
                json!({ "name": "a", "template": "t" }),
                json!({ "turn": turn }),
                json!({ "name": "a", "session_id": turn }),
                json!({ "to": "/a/folder" }),
            ];
            let request = fields.into_iter().find_map(|mut fields| {
                fields["op"] = json!(op);
                serde_json::from_value::<Request>(fields).ok()
            });
            let request = request.unwrap_or_else(|| panic!("{op} takes other fields"));
            assert_eq!((request.op(), request.access()), (op, access));
        }
    }

    #[test]
    fn whoever_may_only_look_changes_nothing() {
        let stop = Request::Stop { name: "a".into(), force: true };
        let clear = Request::Clear { name: "a".into() };
        let may = |request: &Request| {
            [Access::Look, Access::Talk, Access::Change].map(|level| Caller::with(level).may(request))
        };
        assert_eq!(may(&Request::Ps {}), [true, true, true]);
        assert_eq!(may(&clear), [false, true, true]);
        assert_eq!(may(&stop), [false, false, true]);
    }
}
