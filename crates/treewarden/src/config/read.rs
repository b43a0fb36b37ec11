//! The first step: every table of the file held against the table of keys.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value as Json};
use toml::de::{DeTable, DeValue};

use super::check::{self, Checker, Value};
use super::custom::ChildTypes;
use super::key::{Key, Kind, Scope, Whose};
use super::keys;
use crate::suggest::{list, nearest};

/// A value that was checked.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) value: Json,
    pub(super) span: Range<usize>,
    /// Where the values of a table stand, by their keys.
    pub(super) parts: BTreeMap<String, Range<usize>>,
}

/// The checked values of one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    /// Where the table begins.
    pub(super) header: Range<usize>,
    pub(super) known: BTreeMap<&'static str, Field>,
    /// Keys that are there with a value that was refused: not missing, and reported already.
    pub(super) refused: Vec<&'static str>,
}

impl Fields {
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.known.get(key)?.value.as_str()
    }

    /// The values of the keys of these owners, for the form that has a field for each.
    pub(super) fn of(&self, owners: &[Whose]) -> Map<String, Json> {
        let theirs = |name: &&str| keys::find(name).is_some_and(|key| owners.contains(&key.whose));
        let known = self.known.iter().filter(|(name, _)| theirs(name));
        known.map(|(name, field)| ((*name).to_owned(), field.value.clone())).collect()
    }

    pub(super) fn span(&self, key: &str) -> &Range<usize> {
        self.known.get(key).map_or(&self.header, |field| &field.span)
    }

    /// Where a value within a table stands, or the table where that is not known, as in a file of its own.
    pub(super) fn at(&self, key: &str, part: &str) -> &Range<usize> {
        let field = self.known.get(key);
        field.and_then(|field| field.parts.get(part)).unwrap_or_else(|| self.span(key))
    }

    /// Where a value within a table stands, such as that of `env.HOME`.
    pub(super) fn part(&self, option: &str) -> Option<&Range<usize>> {
        // The rest is the table's key, whatever stands in it.
        let (key, part) = option.split_once('.')?;
        self.known.get(key)?.parts.get(part)
    }
}

/// A child as the file has it.
#[derive(Debug)]
pub(super) struct RawChild {
    pub(super) fields: Fields,
    pub(super) what: RawKind,
}

/// What a child is.
#[derive(Debug)]
pub(super) enum RawKind {
    Session,
    Supervisor(Vec<RawChild>),
    Template,
    Custom { type_name: String, options: Map<String, Json>, spans: BTreeMap<String, Range<usize>> },
}

/// A file as it was read.
#[derive(Debug)]
pub(super) struct RawTree {
    pub(super) fields: Fields,
    pub(super) defaults: Fields,
    pub(super) children: Vec<RawChild>,
}

/// Reads tables.
pub(super) struct Reader<'r, 't> {
    pub(super) checker: Checker<'r, 't>,
    pub(super) types: &'r ChildTypes,
}

impl Reader<'_, '_> {
    pub(super) fn tree(&mut self, table: &DeTable<'_>) -> RawTree {
        let fields = self.fields(table, 0..0, Scope::Root);
        let defaults = match table.get("defaults") {
            Some(value) => match value.get_ref().as_table() {
                Some(defaults) => self.fields(defaults, value.span(), Scope::Defaults),
                None => {
                    self.checker.expected("defaults", "a table: [defaults]", value);
                    Fields::default()
                }
            },
            None => Fields::default(),
        };
        let mut children = self.children(table);
        children.extend(self.templates(table));
        RawTree { fields, defaults, children }
    }

    fn children(&mut self, table: &DeTable<'_>) -> Vec<RawChild> {
        let help = "write [[child]], with two brackets, once for each child";
        self.tables(table, "child", help, Self::child)
    }

    fn templates(&mut self, table: &DeTable<'_>) -> Vec<RawChild> {
        let help = "write [[template]], with two brackets, once for each template";
        self.tables(table, "template", help, |this, table, value| {
            let fields = this.fields(table, value.span(), Scope::Template);
            Some(RawChild { fields, what: RawKind::Template })
        })
    }

    fn tables(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        help: &str,
        read: impl Fn(&mut Self, &DeTable<'_>, &Value<'_>) -> Option<RawChild>,
    ) -> Vec<RawChild> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.checker.expected(key, "a list of tables", value).help(help);
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in array {
            match item.get_ref().as_table() {
                Some(table) => found.extend(read(self, table, item)),
                None => {
                    self.checker.expected(key, "a table", item).help(help);
                }
            }
        }
        found
    }

    fn child(&mut self, table: &DeTable<'_>, value: &Value<'_>) -> Option<RawChild> {
        let type_name = match table.get("type") {
            Some(value) => self.checker.text("type", value)?,
            None => "session".to_owned(),
        };
        let header = value.span();
        match type_name.as_str() {
            "session" => {
                Some(RawChild { fields: self.fields(table, header, Scope::Session), what: RawKind::Session })
            }
            "supervisor" => {
                let fields = self.fields(table, header, Scope::Supervisor);
                Some(RawChild { fields, what: RawKind::Supervisor(self.children(table)) })
            }
            custom if self.types.contains(custom) => Some(self.custom(table, header, type_name)),
            unknown => {
                let known: Vec<&str> =
                    ["session", "supervisor"].into_iter().chain(self.types.names()).collect();
                let message =
                    format!("unknown type {unknown:?}: expected {}", list(known.iter().copied(), '"'));
                let near = nearest(unknown, known).map(|near| format!("did you mean \"{near}\"?"));
                let span = table.get("type").map_or(header, toml::Spanned::span);
                self.checker.faults.add(&span, message).maybe_help(near);
                None
            }
        }
    }

    fn custom(&mut self, table: &DeTable<'_>, header: Range<usize>, type_name: String) -> RawChild {
        let mut fields = Fields { header, ..Fields::default() };
        let (mut options, mut spans) = (Map::new(), BTreeMap::new());
        for (name, value) in table {
            // A key that the tree has for each child is the tree's. All others are the type's, which alone
            // knows them.
            match keys::find(name.get_ref()).filter(|key| key.is_in(Scope::Custom)) {
                Some(key) => self.field(&mut fields, key, value),
                None => {
                    spans.insert(name.get_ref().to_string(), name.span());
                    options.insert(name.get_ref().to_string(), check::json(value.get_ref()));
                }
            }
        }
        RawChild { fields, what: RawKind::Custom { type_name, options, spans } }
    }

    /// Checks every key of a table of this kind.
    fn fields(&mut self, table: &DeTable<'_>, header: Range<usize>, scope: Scope) -> Fields {
        let mut fields = Fields { header, ..Fields::default() };
        for (name, value) in table {
            match keys::find(name.get_ref()) {
                Some(key) if key.is_in(scope) => self.field(&mut fields, key, value),
                Some(key) => self.misplaced(&name.span(), key, scope),
                None if self.checker.faults.is_full() => {
                    self.hide(value);
                    let message = format!("unknown key `{}` {}", name.get_ref(), scope.place());
                    self.checker.faults.add(&name.span(), message);
                }
                None => {
                    let near =
                        nearest(name.get_ref(), keys::of(scope).map(|key| key.name)).and_then(keys::find);
                    if near.is_none_or(|key| key.secret) {
                        // What the value was meant for is not known, so neither is whether it is secret.
                        self.hide(value);
                    }
                    self.unknown(&name.span(), name.get_ref(), scope);
                }
            }
        }
        fields
    }

    /// Keeps a value out of every report, with all that stands in it: a table that has a head of its own (`[child.env]`) spans no more
    /// than that.
    fn hide(&mut self, value: &Value<'_>) {
        self.checker.faults.source.hide(value.span());
        match value.get_ref() {
            DeValue::Table(table) => table.values().for_each(|value| self.hide(value)),
            DeValue::Array(items) => items.iter().for_each(|item| self.hide(item)),
            _ => {}
        }
    }

    fn field(&mut self, fields: &mut Fields, key: &'static Key, value: &Value<'_>) {
        if key.secret {
            self.hide(value);
        }
        if matches!(key.kind, Kind::Defaults | Kind::Children | Kind::Templates) {
            return;
        }
        match self.checker.check(key, value) {
            Some(json) => {
                fields.known.insert(key.name, Field { value: json, span: value.span(), parts: parts(value) });
            }
            // A value that is refused here is no missing one: it is told once.
            None => fields.refused.push(key.name),
        }
    }

    fn misplaced(&mut self, span: &Range<usize>, key: &Key, scope: Scope) {
        let places = Scope::ALL.into_iter().filter(|other| *other != Scope::Custom && key.is_in(*other));
        let places: Vec<&str> = places.map(Scope::place).collect();
        let help = match (scope, key.is_in(Scope::Defaults), key.is_in(Scope::Session)) {
            (Scope::Root | Scope::Supervisor, true, _) => {
                "write it in [defaults] for every session, or in the [[child]] of one".to_owned()
            }
            (Scope::Defaults, false, true) => "write it in the [[child]] it belongs to".to_owned(),
            _ => format!("it can stand {}", places.join(" or ")),
        };
        let message = format!("`{}` cannot stand {}", key.name, scope.place());
        self.checker.faults.add(span, message).help(help);
    }

    fn unknown(&mut self, span: &Range<usize>, name: &str, scope: Scope) {
        let here = keys::of(scope).map(|key| key.name);
        let help = match nearest(name, here) {
            Some(near) => format!("did you mean `{near}`?"),
            None if name == "children" || name == "sessions" => "did you mean [[child]]?".to_owned(),
            None => match nearest(name, keys::all().map(|key| key.name)) {
                Some(near) => format!("`{near}` is a key, but it cannot stand {}", scope.place()),
                None if scope == Scope::Session => {
                    "a flag of the CLI that has no option here goes to `extra_args`".to_owned()
                }
                None => format!("the keys that can stand {} are {}", scope.place(), all(scope)),
            },
        };
        let message = format!("unknown key `{name}` {}", scope.place());
        self.checker.faults.add(span, message).help(help);
    }
}

fn parts(value: &Value<'_>) -> BTreeMap<String, Range<usize>> {
    let table = value.get_ref().as_table().into_iter().flatten();
    table.map(|(key, value)| (key.get_ref().to_string(), value.span())).collect()
}

fn all(scope: Scope) -> String {
    keys::of(scope).map(|key| key.name).collect::<Vec<_>>().join(", ")
}
