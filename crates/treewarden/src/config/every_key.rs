//! What holds for every row of the table of keys, and what follows from one more: the option `rehearsal`, which only the
//! tests have. Its two edits are a field of `SessionOptions` and a row of the table, and nothing else in the crate knows it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use treewarden_otp_core::supervisor::Flags;
use treewarden_proto::SessionSpec;

use super::error::ConfigError;
use super::forms::{self, FlagsForm, Settings, SupervisionForm, TreeForm};
use super::key::{Key, Kind, Scope, Whose};
use super::{ChildKind, Effect, TemplateLimits, TreeSpec, keys, parse, reference, schema};
use crate::session::{SessionOptions, Timing};
use crate::supervision::Supervision;
use crate::tree::TreeDiff;

fn read(text: &str) -> Result<TreeSpec, ConfigError> {
    parse(text, Path::new("/srv/treewarden.toml"))
}

/// The keys that a form says it has, when it refuses one.
fn fields<T: DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
    let error = T::deserialize(json!({ "no such key": 1 })).expect_err("unknown keys are refused");
    expected(&error)
}

/// What a message of serde says was expected.
fn expected(error: &serde_json::Error) -> BTreeSet<String> {
    let text = error.to_string();
    let (_, listed) = text.split_once("expected ").expect("serde lists what it knows");
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rows(whose: Whose) -> BTreeSet<String> {
    keys::all().filter(|key| key.whose == whose).map(|key| key.name.to_owned()).collect()
}

fn names(settings: Settings) -> BTreeSet<String> {
    settings.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn every_field_of_a_form_is_a_row_and_the_other_way_round() {
    assert_eq!(rows(Whose::Tree), names(forms::of_tree(&TreeSpec::default())));
    assert_eq!(rows(Whose::Supervisor), names(forms::of_flags(&Flags::default())));
    assert_eq!(rows(Whose::Template), names(forms::of_limits(&TemplateLimits::default())));
    assert_eq!(rows(Whose::Child), names(forms::of_supervision(&Supervision::default())));
    let mut spec = fields::<SessionSpec>();
    let written = names(forms::of_session(&SessionOptions::default()));
    let ours: BTreeSet<String> = written.difference(&spec).cloned().chain(fields::<Timing>()).collect();
    assert_eq!(rows(Whose::Session), ours);
    assert!(spec.remove("name"), "a session has a name");
    assert_eq!(rows(Whose::Cli), spec);
}

#[test]
fn a_name_is_one_row_only() {
    let mut seen = BTreeSet::new();
    for key in keys::all() {
        assert!(seen.insert(key.name), "`{}` stands twice in the table", key.name);
    }
}

/// Reads one key into its form.
fn form(key: &Key, value: Value) -> Result<(), serde_json::Error> {
    let table = Value::Object(Map::from_iter([(key.name.to_owned(), value)]));
    match key.whose {
        Whose::File => Ok(()),
        Whose::Tree => TreeForm::deserialize(table).map(drop),
        Whose::Supervisor => FlagsForm::deserialize(table).map(drop),
        Whose::Template => TemplateLimits::deserialize(table).map(drop),
        Whose::Child => SupervisionForm::deserialize(table).map(drop),
        Whose::Session | Whose::Cli => SessionOptions::deserialize(table).map(drop),
    }
}

#[test]
fn the_choices_of_a_row_are_those_of_its_form() {
    for key in keys::all() {
        let (choices, list) = match key.kind {
            Kind::Choice(choices) => (choices, false),
            Kind::Choices(choices) => (choices, true),
            _ => continue,
        };
        let value = |choice: &str| if list { json!([choice]) } else { json!(choice) };
        for choice in choices {
            form(key, value(choice)).unwrap_or_else(|error| panic!("`{}`: {error}", key.name));
        }
        let error = form(key, value("no such choice")).expect_err("it is no choice");
        // Aliases are how a file may spell a choice, and no choices of their own.
        let aliases = ["accept_edits", "bypass_permissions", "dont_ask"];
        let known: BTreeSet<String> =
            expected(&error).into_iter().filter(|known| !aliases.contains(&known.as_str())).collect();
        assert_eq!(choices.iter().copied().map(str::to_owned).collect::<BTreeSet<_>>(), known);
    }
}

/// The head of a table of this kind, and the line on which its keys begin.
fn head(scope: Scope) -> Option<(&'static str, usize)> {
    match scope {
        Scope::Root => Some(("", 1)),
        Scope::Defaults => Some(("[defaults]\n", 2)),
        Scope::Session => Some(("[[child]]\n", 2)),
        Scope::Template => Some(("[[template]]\n", 2)),
        Scope::Supervisor => Some(("[[child]]\ntype = \"supervisor\"\n", 3)),
        // It needs a registered type; the keys are those of the other children.
        Scope::Custom => None,
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_at_its_place_in_every_table() {
    for (scope, (head, line)) in Scope::ALL.into_iter().filter_map(|scope| Some((scope, head(scope)?))) {
        for key in keys::of(scope).filter(|key| scope != Scope::Supervisor || key.name != "type") {
            // No key takes a date.
            let name = key.name;
            let error = read(&format!("{head}{name} = 1979-05-27")).expect_err("it is refused");
            let place = (line, name.len() + 4);
            let fault = error.faults().iter().find(|fault| {
                fault.place.as_ref().is_some_and(|place_of| (place_of.line, place_of.column) == place)
            });
            let fault = fault.unwrap_or_else(|| panic!("`{name}` {} is taken: {error}", scope.place()));
            assert!(fault.message.contains(&format!("`{name}`")), "{error}");
        }
    }
}

#[test]
fn a_key_that_may_not_stand_in_a_table_is_refused_there() {
    for (scope, (head, line)) in Scope::ALL.into_iter().filter_map(|scope| Some((scope, head(scope)?))) {
        for key in keys::all().filter(|key| !key.is_in(scope)) {
            let error = read(&format!("{head}{} = 1", key.name)).expect_err("it is refused");
            let message = format!("`{}` cannot stand {}", key.name, scope.place());
            let told = error.faults().iter().any(|fault| {
                fault.message == message && fault.place.as_ref().is_some_and(|place| place.line == line)
            });
            assert!(told, "{error}");
        }
    }
}

#[test]
fn a_value_of_a_secret_key_stands_in_no_report_and_no_diff() {
    let secret: Vec<&Key> = keys::all().filter(|key| key.secret).collect();
    assert!(secret.len() > 1, "some keys are secret");
    for key in secret {
        for value in ["\"hush\"", "{ A = \"hush\" }", "{ A = \"hush\", B = 1 }", "[\"hush\"]"] {
            let file = |line: String| read(&format!("[[child]]\nname = \"a\"\n{line}"));
            let shown = match file(format!("{} = {value}", key.name)) {
                Ok(tree) => {
                    let diff = TreeDiff::between(&file(String::new()).expect("it is a file"), &tree);
                    assert_eq!(diff.nodes[1].keys[0].key, key.name);
                    format!("{diff}{}", serde_json::to_string(&diff.nodes).expect("a diff is JSON"))
                }
                Err(error) => error.to_string(),
            };
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}

#[test]
fn an_option_more_is_read_refused_explained_and_compared_for_a_field_and_a_row() {
    // It is read, from the defaults too.
    let file = |value: &str| format!("[defaults]\nrehearsal = \"d\"\n[[child]]\nname = \"a\"\n{value}");
    let tree = |value: &str| read(&file(value)).unwrap_or_else(|error| panic!("{error}"));
    let of = |tree: &TreeSpec| match &tree.root.children[0].kind {
        ChildKind::Session(options) => options.rehearsal.clone(),
        other => panic!("{other:?} is no session"),
    };
    assert_eq!(of(&tree("")).as_deref(), Some("d"));
    assert_eq!(of(&tree("rehearsal = \"own\"")).as_deref(), Some("own"));

    // What is wrong with it is told at its place.
    let told = |text: &str| read(text).expect_err("it is wrong").to_string();
    let expected = "\
/srv/treewarden.toml:5:13: `rehearsal` must be a string, found an integer
5 | rehearsal = ·
  |             ^
  = help: put it in quotes: \"7\"";
    assert_eq!(told(&file("rehearsal = 7")), expected);
    assert!(told(&file("rehearsl = \"x\"")).contains("did you mean `rehearsal`?"));
    assert!(told("rehearsal = \"x\"").contains("`rehearsal` cannot stand at the top level"));

    // The schema and the documentation have it.
    let property = json!({ "type": "string", "description": "An option of the tests alone." });
    for table in ["session", "defaults", "template"] {
        assert_eq!(schema()["definitions"][table]["properties"]["rehearsal"], property);
    }
    let row = "| `rehearsal` | text |  | session, defaults, template | for the next turn | An option of the tests alone. |";
    assert!(reference().lines().any(|line| line == row), "{}", reference());

    // A reload says what it means, and not what it says.
    let diff = TreeDiff::between(&tree(""), &tree("rehearsal = \"own\""));
    let key = &diff.nodes[1].keys[0];
    assert_eq!((key.key.as_str(), key.effect), ("rehearsal", Effect::NextTurn));
    assert_eq!((&key.from, &key.to), (&Value::Null, &Value::Null));
}
