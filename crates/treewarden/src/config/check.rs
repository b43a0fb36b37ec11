//! Holds one value against what its key allows.
//!
//! What passes is handed on as JSON in one canonical form: durations as text that parses, paths absolute, choices as
//! they are spelled in the table of keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Number, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use treewarden_core::limits::Size;
use treewarden_proto::spec::is_json_text;
use treewarden_proto::{SessionId, SessionName};

use super::backoff;
use super::error::{Faults, Note};
use super::expansion::{self, Expansion};
use super::key::{Key, Kind};
use crate::suggest::{list, nearest};

/// A value and where it stands.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// Checks values, and notes what is wrong with them.
pub(super) struct Checker<'c, 't> {
    pub(super) faults: &'c mut Faults<'t>,
    /// The folder of the file, to which relative paths belong.
    pub(super) base: &'c Path,
}

impl Checker<'_, '_> {
    /// Returns the value in its canonical form, or notes why there is none.
    pub(super) fn check(&mut self, key: &Key, value: &Value<'_>) -> Option<Json> {
        let name = key.name;
        match key.kind {
            Kind::Text | Kind::Type => self.text(name, value).map(Json::from),
            Kind::Name => self.name(name, value),
            Kind::SessionId => self.session_id(name, value),
            Kind::Bool => self.bool(name, value),
            Kind::Count(least) => self.count(name, value, least),
            Kind::Amount => self.amount(name, value),
            Kind::Duration => self.duration(name, value, false).map(|(text, _)| text.into()),
            Kind::Wait => self.duration(name, value, true).map(|(text, _)| text.into()),
            Kind::Size => self.size(name, value),
            Kind::Shutdown => self.shutdown(name, value),
            Kind::Backoff => backoff::check(self, name, value),
            Kind::Choice(choices) => self.choice(name, value, choices).map(Json::from),
            Kind::Choices(choices) => {
                self.list(name, value, |this, name, item| this.choice(name, item, choices))
            }
            Kind::TextList => self.list(name, value, |this, name, item| this.text(name, item)),
            Kind::Path => self.path(name, value).map(Json::from),
            Kind::Program => self.program(name, value).map(Json::from),
            Kind::PathList => self.list(name, value, |this, name, item| this.path(name, item)),
            Kind::PathOrTable => self.path_or_table(name, value),
            Kind::Env => self.variables(name, value),
            Kind::ExtraArgs => {
                self.text_or(name, value, true, "a string, or true for a flag without a value")
            }
            Kind::InheritEnv => self.inherit_env(name, value),
            Kind::Defaults | Kind::Children | Kind::Templates => None,
        }
    }

    /// Notes that a value is of the wrong type.
    pub(super) fn expected(&mut self, what: &str, expected: &str, value: &Value<'_>) -> Note<'_> {
        let found = describe(value.get_ref());
        self.faults.add(&value.span(), format!("`{what}` must be {expected}, found {found}"))
    }

    pub(super) fn text(&mut self, name: &str, value: &Value<'_>) -> Option<String> {
        if let Some(text) = value.get_ref().as_str() {
            return Some(text.to_owned());
        }
        let quoted = value.get_ref().as_integer().map(|number| format!("put it in quotes: \"{number}\""));
        self.expected(name, "a string", value).maybe_help(quoted);
        None
    }

    fn name(&mut self, name: &str, value: &Value<'_>) -> Option<Json> {
        let text = self.text(name, value)?;
        match SessionName::new(&text) {
            Ok(_) => Some(text.into()),
            Err(_) => {
                let help = "use segments of A-Z a-z 0-9 . _ - joined by /, none empty or beginning with a dot, at most \
                            128 bytes, such as tenant-7/reviewer";
                self.faults.add(&value.span(), format!("invalid name {text:?}")).help(help);
                None
            }
        }
    }

    fn session_id(&mut self, name: &str, value: &Value<'_>) -> Option<Json> {
        let text = self.text(name, value)?;
        if text.parse::<SessionId>().is_ok() {
            return Some(text.into());
        }
        let help = "a session id looks like 11111111-2222-4333-8444-555555555555";
        self.faults.add(&value.span(), format!("`{name}` must be a UUID, found {text:?}")).help(help);
        None
    }

    pub(super) fn bool(&mut self, name: &str, value: &Value<'_>) -> Option<Json> {
        if let Some(value) = value.get_ref().as_bool() {
            return Some(value.into());
        }
        let text = value.get_ref().as_str().filter(|text| matches!(*text, "true" | "false"));
        let bare = text.map(|text| format!("write {text} without quotes"));
        self.expected(name, "true or false", value).maybe_help(bare);
        None
    }

    fn count(&mut self, name: &str, value: &Value<'_>, least: u32) -> Option<Json> {
        let expected = format!("a whole number from {least} to {}", u32::MAX);
        let Some(number) = value.get_ref().as_integer() else {
            let text = value.get_ref().as_str().filter(|text| text.parse::<u32>().is_ok());
            let bare = text.map(|text| format!("write {text} without quotes"));
            self.expected(name, &expected, value).maybe_help(bare);
            return None;
        };
        // The file may write it in hexadecimal or with `_`: the digits alone are no number yet.
        let parsed = u32::from_str_radix(number.as_str(), number.radix()).ok();
        match parsed.filter(|number| *number >= least) {
            Some(number) => Some(number.into()),
            None => {
                self.faults.add(&value.span(), format!("`{name}` must be {expected}, found {number}"));
                None
            }
        }
    }

    fn amount(&mut self, name: &str, value: &Value<'_>) -> Option<Json> {
        let Some(number) = number(value.get_ref()) else {
            self.expected(name, "an amount above 0, such as 2.5", value);
            return None;
        };
        // Neither infinity nor a value that is no number can be written as JSON, nor be spent.
        let amount = Number::from_f64(number).filter(|_| number > 0.0);
        if amount.is_none() {
            self.faults.add(&value.span(), format!("`{name}` must be an amount above 0, found {number}"));
        }
        amount.map(Json::Number)
    }

    fn size(&mut self, name: &str, value: &Value<'_>) -> Option<Json> {
        let Some(text) = value.get_ref().as_str() else {
            let bytes = value.get_ref().as_integer().map(|n| format!("write \"{n} B\" for {n} bytes"));
            self.expected(name, "an amount of memory such as \"512 MiB\"", value).maybe_help(bytes);
            return None;
        };
        match text.parse::<Size>() {
            Ok(size) => Some(size.to_string().into()),
            Err(no_size) => {
                let message = format!("`{name}` must be an amount of memory, found {text:?}");
                self.faults.add(&value.span(), message).help(no_size.to_string());
                None
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        name: &str,
        value: &Value<'_>,
        zero: bool,
    ) -> Option<(String, Duration)> {
        let Some(text) = value.get_ref().as_str() else {
            let seconds = value.get_ref().as_integer().map(|n| format!("write \"{n}s\" for {n} seconds"));
            self.expected(name, "a duration such as \"90s\" or \"2m\"", value).maybe_help(seconds);
            return None;
        };
        match humantime::parse_duration(text) {
            Ok(duration) if zero || !duration.is_zero() => Some((text.to_owned(), duration)),
            Ok(_) => {
                let help = "leave it out for the default";
                self.faults.add(&value.span(), format!("`{name}` must be longer than {text:?}")).help(help);
                None
            }
            Err(_) => {
                let bare = text.trim().parse::<f64>().ok().map(|_| format!("write \"{}s\"", text.trim()));
                let help = "write a number with its unit, such as \"500ms\", \"90s\", \"2m\" or \"1h 30m\"";
                self.faults
                    .add(&value.span(), format!("`{name}` must be a duration, found {text:?}"))
                    .help(bare.unwrap_or_else(|| help.into()));
                None
            }
        }
    }

    fn shutdown(&mut self, name: &str, value: &Value<'_>) -> Option<Json> {
        match value.get_ref().as_str() {
            Some(text @ ("brutal_kill" | "infinity")) => Some(text.into()),
            // What begins with a letter is no duration; told as a misspelt word, it gets a suggestion.
            Some(text) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let near = nearest(text, ["brutal_kill", "infinity"]);
                let help = near.map(|near| format!("did you mean \"{near}\"?"));
                let message =
                    format!("`{name}` must be a duration, \"brutal_kill\" or \"infinity\", found {text:?}");
                self.faults.add(&value.span(), message).maybe_help(help);
                None
            }
            _ => self.duration(name, value, true).map(|(text, _)| text.into()),
        }
    }

    fn choice(&mut self, name: &str, value: &Value<'_>, choices: &[&'static str]) -> Option<String> {
        let allowed = list(choices.iter().copied(), '"');
        let Some(text) = value.get_ref().as_str() else {
            self.expected(name, &allowed, value);
            return None;
        };
        // The CLI spells some choices in camel case, and the file may use its own style for them.
        let same = |choice: &&&str| **choice == text || snake(choice) == text;
        if let Some(choice) = choices.iter().find(same) {
            return Some((*choice).to_owned());
        }
        let near = nearest(text, choices.iter().copied()).map(|near| format!("did you mean \"{near}\"?"));
        let message = format!("`{name}` must be {allowed}, found {text:?}");
        self.faults.add(&value.span(), message).maybe_help(near);
        None
    }

    fn list(
        &mut self,
        name: &str,
        value: &Value<'_>,
        mut item: impl FnMut(&mut Self, &str, &Value<'_>) -> Option<String>,
    ) -> Option<Json> {
        let Some(array) = value.get_ref().as_array() else {
            let one = value.get_ref().as_str().map(|text| format!("write [{text:?}]"));
            self.expected(name, "a list of strings", value).maybe_help(one);
            return None;
        };
        // All are looked at, also behind one that is refused: a file is to be mended in one go.
        let items: Vec<Option<String>> =
            array.iter().enumerate().map(|(i, value)| item(self, &format!("{name}[{i}]"), value)).collect();
        items.into_iter().map(|item| item.map(Json::from)).collect()
    }

    fn path(&mut self, name: &str, value: &Value<'_>) -> Option<String> {
        let text = self.text(name, value)?;
        if text.is_empty() || text.contains('\0') {
            self.faults.add(&value.span(), format!("`{name}` must be a path, found {text:?}"));
            return None;
        }
        // A shell expands it, and nothing here does: it would be a folder named `~`.
        if text == "~" || text.starts_with("~/") {
            let help = "write the whole path, or one that is relative to this file";
            self.faults.add(&value.span(), format!("`{name}` is {text:?}: `~` is not expanded")).help(help);
            return None;
        }
        self.literal_path(name, value, &text);
        // What is made here goes on as JSON, which has no other texts.
        match self.base.join(&text).into_os_string().into_string() {
            Ok(path) => Some(path),
            Err(path) => {
                let path = PathBuf::from(path);
                self.faults.add(&value.span(), format!("`{name}` is no UTF-8: {}", path.display()));
                None
            }
        }
    }

    /// Says that a path is taken as it stands, where another one seems to be meant. It may be named so, and so is no fault.
    fn literal_path(&mut self, name: &str, value: &Value<'_>, text: &str) {
        if let Some(meant) = expansion::of_path(text) {
            let help = "write the whole path, or one that is relative to this file";
            let message = format!("`{name}` is {text:?}: `{meant}` is not expanded");
            self.faults.warn(&value.span(), message).help(help);
        }
    }

    /// A name without a slash is looked up in `PATH` later; anything else is a path.
    fn program(&mut self, name: &str, value: &Value<'_>) -> Option<String> {
        match value.get_ref().as_str() {
            // A name without a slash is looked up in the PATH; joined to the file's folder it would be a
            // path.
            Some(text) if !text.is_empty() && !text.contains(['/', '~', '\0']) => {
                self.literal_path(name, value, text);
                Some(text.to_owned())
            }
            _ => self.path(name, value),
        }
    }

    fn path_or_table(&mut self, name: &str, value: &Value<'_>) -> Option<Json> {
        match value.get_ref() {
            // The CLI's own flag takes JSON there. Taken for a path, it would be quoted in errors, with its secrets.
            DeValue::String(text) if is_json_text(Path::new(text.as_ref())) => {
                let help = "write a table, or the path of a file";
                self.faults
                    .add(&value.span(), format!("`{name}` is JSON text, which is not read here"))
                    .help(help);
                None
            }
            DeValue::String(_) => self.path(name, value).map(Json::from),
            DeValue::Table(table) => Some(Json::Object(object(table))),
            _ => {
                self.expected(name, "a path or a table", value);
                None
            }
        }
    }

    fn text_or(&mut self, name: &str, value: &Value<'_>, boolean: bool, expected: &str) -> Option<Json> {
        let Some(table) = value.get_ref().as_table() else {
            self.expected(name, &format!("a table, each value {expected}"), value);
            return None;
        };
        let mut whole = true;
        for (variable, value) in table {
            let fits =
                value.get_ref().is_str() || value.get_ref().as_bool().is_some_and(|value| value == boolean);
            if !fits {
                let number = value.get_ref().is_integer() || value.get_ref().is_float();
                let help = number.then(|| "put the value in quotes".to_owned());
                self.expected(&format!("{name}.{}", variable.get_ref()), expected, value).maybe_help(help);
                whole = false;
            }
        }
        whole.then(|| Json::Object(object(table)))
    }

    /// Variables: what is no table is as in every other table of texts.
    fn variables(&mut self, name: &str, value: &Value<'_>) -> Option<Json> {
        const EXPECTED: &str =
            "a string, a table with file, command or var, or false to leave the variable out";
        let Some(table) = value.get_ref().as_table() else {
            self.expected(name, &format!("a table, each value {EXPECTED}"), value);
            return None;
        };
        let mut found = Map::new();
        let mut whole = true;
        for (variable, value) in table {
            let name = format!("{name}.{}", variable.get_ref());
            match self.variable(&name, value, EXPECTED) {
                Some(value) => drop(found.insert(variable.get_ref().to_string(), value)),
                None => whole = false,
            }
        }
        whole.then_some(Json::Object(found))
    }

    fn variable(&mut self, name: &str, value: &Value<'_>, expected: &str) -> Option<Json> {
        match value.get_ref() {
            DeValue::String(text) => {
                self.literal(name, value, text);
                return Some(json(value.get_ref()));
            }
            DeValue::Boolean(false) => return Some(json(value.get_ref())),
            DeValue::Table(table) if table.len() == 1 => {
                let (key, text) = table.iter().next().expect("it has one");
                let key = key.get_ref().as_ref();
                match key {
                    "file" => return self.path(&format!("{name}.file"), text).map(|path| source(key, path)),
                    "command" | "var" => {
                        return self.text(&format!("{name}.{key}"), text).map(|text| source(key, text));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        let number = value.get_ref().is_integer() || value.get_ref().is_float();
        let help = number.then(|| "put the value in quotes".to_owned());
        self.expected(name, expected, value).maybe_help(help);
        None
    }

    /// Says that a text is taken as it stands, where another one seems to be meant; what is meant may be secret.
    fn literal(&mut self, name: &str, value: &Value<'_>, text: &str) {
        let Some(expansion) = expansion::of_value(text) else { return };
        let shown = |variable| if expansion::is_plainly_a_name(variable) { variable } else { "NAME" };
        let help = match expansion {
            Expansion::Variable { name: variable, whole: true } => {
                format!("for a variable of the daemon write {name} = {{ var = \"{}\" }}", shown(variable))
            }
            Expansion::Variable { name: variable, whole: false } => format!(
                "a variable of the daemon is taken whole, by {name} = {{ var = \"{}\" }}; a text around it is made by \
                 {name} = {{ command = \"…\" }}",
                shown(variable)
            ),
            Expansion::Command(_) => {
                format!("for what a command prints write {name} = {{ command = \"…\" }}")
            }
        };
        let message = format!("`{name}` is taken as it stands: nothing is put in the place of `$…`");
        self.faults.warn(&value.span(), message).help(help);
    }

    fn inherit_env(&mut self, name: &str, value: &Value<'_>) -> Option<Json> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Some((*flag).into()),
            DeValue::Array(_) => self.list(name, value, |this, name, item| this.text(name, item)),
            _ => {
                self.expected(name, "true, false or a list of variable names", value);
                None
            }
        }
    }
}

/// Where a variable's value stands, as a file says it.
fn source(key: &str, what: String) -> Json {
    Json::Object([(key.to_owned(), Json::String(what))].into_iter().collect())
}

/// A value's type with its article.
fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

pub(super) fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n as f64)
        }
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    }
}

fn snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 2);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Any TOML as JSON: dates become text, and a float that JSON cannot write becomes null.
pub(super) fn json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => Json::from(number.as_str()),
        },
        // Infinity has no JSON: it stands as null, which a registered type may refuse.
        DeValue::Float(float) => {
            float.as_str().parse().ok().and_then(Number::from_f64).map_or(Json::Null, Json::Number)
        }
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => Json::Object(object(table)),
    }
}

fn object(table: &DeTable<'_>) -> Map<String, Json> {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()
}
