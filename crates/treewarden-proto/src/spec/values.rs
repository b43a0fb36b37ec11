//! The types of single options, as a file and as code write them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// What happens to a tool call that no rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum PermissionMode {
    /// Ask the host; without one, refuse.
    Default,
    /// Allow edits in the working directories.
    #[serde(alias = "accept_edits")]
    AcceptEdits,
    /// Allow everything.
    #[serde(alias = "bypass_permissions")]
    BypassPermissions,
    /// Read and plan, change nothing.
    Plan,
    /// Refuse instead of asking.
    #[serde(alias = "dont_ask")]
    DontAsk,
    /// Let the CLI's classifier decide.
    Auto,
}

impl PermissionMode {
    /// The mode as the CLI spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::AcceptEdits => "acceptEdits",
            Self::BypassPermissions => "bypassPermissions",
            Self::Plan => "plan",
            Self::DontAsk => "dontAsk",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for PermissionMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A place from which the CLI reads settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SettingSource {
    /// The user's own settings.
    User,
    /// The project's settings, shared with others.
    Project,
    /// The project's settings on this machine.
    Local,
}

impl SettingSource {
    /// The source as the CLI spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
            Self::Local => "local",
        }
    }
}

/// Settings for one session: a file's path, or a table.
///
/// `Debug` shows a path and nothing else: settings hold keys and tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the path of a settings file, or a table of settings")]
pub enum Settings {
    /// The path of a settings file.
    Path(PathBuf),
    /// The settings themselves.
    Inline(Map<String, Value>),
}

/// MCP servers: a file's path, or a table of servers by name.
///
/// `Debug` shows a path and nothing else: servers are started with keys and tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the path of an MCP config file, or a table of servers by name")]
pub enum McpConfig {
    /// The path of a config file.
    Path(PathBuf),
    /// The servers, each under its name.
    Servers(Map<String, Value>),
}

impl<T: Into<PathBuf>> From<T> for Settings {
    fn from(path: T) -> Self {
        Self::Path(path.into())
    }
}

impl<T: Into<PathBuf>> From<T> for McpConfig {
    fn from(path: T) -> Self {
        Self::Path(path.into())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path_or_hidden(path, f),
            Self::Inline(_) => f.write_str("Inline(hidden)"),
        }
    }
}

impl fmt::Debug for McpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path_or_hidden(path, f),
            Self::Servers(_) => f.write_str("Servers(hidden)"),
        }
    }
}

/// Whether what was given for the path of `settings` or `mcp_config` is JSON, which the CLI takes in the place of one.
///
/// It may be secret, and so is neither shown nor given as an argument.
pub fn is_json_text(path: &Path) -> bool {
    // What is no UTF-8 behind the brace was meant for JSON as well.
    let text = path.to_string_lossy();
    text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').starts_with('{')
}

fn path_or_hidden(path: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if is_json_text(path) {
        return f.write_str("Path(hidden)");
    }
    f.debug_tuple("Path").field(&path).finish()
}

/// A variable of the CLI's environment: a value, where that stands, or a request to leave it out.
#[derive(Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// The variable's value.
    Set(String),
    /// Where the value stands; it is read at each start of a CLI.
    From(EnvSource),
    /// The variable is not there, even if it would be inherited.
    Unset,
}

/// Where the value of a variable stands, so that it needs not be written in a config file.
///
/// In a file it is a table with one key: `{ file = "/run/secrets/token" }`, `{ command = "pass show token" }` or
/// `{ var = "TOKEN" }`. It is read at each start of a CLI, and one line end at its end is cut off. Where it cannot be read the
/// session does not start, and says so without the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "SourceTable")]
#[non_exhaustive]
pub enum EnvSource {
    /// A regular file, of 1 MiB at most.
    File(PathBuf),
    /// What a command of the shell prints, within 10 s and 1 MiB. It runs with this process's environment and folder.
    Command(String),
    /// A variable of this process, whatever the CLI inherits.
    Var(String),
}

/// What a file may say of it; of two keys an enum would take the first, and drop the other without a word.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SourceTable {
    file: Option<PathBuf>,
    command: Option<String>,
    var: Option<String>,
}

impl TryFrom<SourceTable> for EnvSource {
    type Error = &'static str;

    fn try_from(table: SourceTable) -> Result<Self, Self::Error> {
        match table {
            SourceTable { file: Some(file), command: None, var: None } => Ok(Self::File(file)),
            SourceTable { file: None, command: Some(command), var: None } => Ok(Self::Command(command)),
            SourceTable { file: None, command: None, var: Some(var) } => Ok(Self::Var(var)),
            _ => Err("expected one of file, command and var"),
        }
    }
}

impl fmt::Debug for EnvSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // Its words may hold what opens the safe.
            Self::Command(_) => f.write_str("Command(hidden)"),
            Self::Var(name) => f.debug_tuple("Var").field(name).finish(),
        }
    }
}

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Whoever prints a spec would print tokens and keys.
            Self::Set(_) => f.write_str("Set(hidden)"),
            Self::From(source) => f.debug_tuple("From").field(source).finish(),
            Self::Unset => f.write_str("Unset"),
        }
    }
}

impl<T: Into<String>> From<T> for EnvValue {
    fn from(value: T) -> Self {
        Self::Set(value.into())
    }
}

impl From<EnvSource> for EnvValue {
    fn from(source: EnvSource) -> Self {
        Self::From(source)
    }
}

/// The value of a flag that has no option of its own.
///
/// It is an argument, which every user of the machine can read: nothing secret belongs here. `Debug` hides it all the same, as
/// nobody knows what it is.
#[derive(Clone, PartialEq, Eq)]
pub enum ExtraArg {
    /// `--flag`.
    Flag,
    /// `--flag=value`.
    Value(String),
}

impl fmt::Debug for ExtraArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "Flag",
            Self::Value(_) => "Value(hidden)",
        })
    }
}

impl<T: Into<String>> From<T> for ExtraArg {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// Either a text or one particular boolean.
struct TextOr {
    boolean: bool,
    expected: &'static str,
}

impl Visitor<'_> for TextOr {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        // `true` for a variable, or `false` for a flag, would be read as the opposite of what whoever wrote
        // it meant.
        if value == self.boolean { Ok(None) } else { Err(E::invalid_value(Unexpected::Bool(value), &self)) }
    }
}

/// What a file may say of a variable.
struct Variable(TextOr);

impl<'de> Visitor<'de> for Variable {
    type Value = EnvValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EnvValue, E> {
        Ok(EnvValue::Set(text.to_owned()))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<EnvValue, E> {
        self.0.visit_bool(value).map(|_| EnvValue::Unset)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnvValue, A::Error> {
        EnvSource::deserialize(MapAccessDeserializer::new(map)).map(EnvValue::From)
    }
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a string, a table with file, command or var, or false to leave the variable out";
        deserializer.deserialize_any(Variable(TextOr { boolean: false, expected }))
    }
}

impl Serialize for EnvValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Set(value) => serializer.serialize_str(value),
            Self::From(source) => source.serialize(serializer),
            Self::Unset => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for ExtraArg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = TextOr { boolean: true, expected: "a string, or true for a flag without a value" };
        Ok(deserializer.deserialize_any(expected)?.map_or(Self::Flag, Self::Value))
    }
}

impl Serialize for ExtraArg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Flag => serializer.serialize_bool(true),
            Self::Value(value) => serializer.serialize_str(value),
        }
    }
}

/// Which variables of this process the CLI inherits.
///
/// In a file: `true` for all that are safe to pass on, `false` for none, or a list of names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum InheritEnv {
    /// All but those that would make the CLI take itself for a part of something else.
    #[default]
    Safe,
    /// Only these.
    Only(BTreeSet<String>),
}

impl InheritEnv {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::Safe
    }
}

impl Serialize for InheritEnv {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Safe => serializer.serialize_bool(true),
            // As people write it; an empty list would read back as the same.
            Self::Only(names) if names.is_empty() => serializer.serialize_bool(false),
            Self::Only(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for InheritEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Flag(bool),
            Names(BTreeSet<String>),
        }
        match Form::deserialize(deserializer) {
            Ok(Form::Flag(true)) => Ok(Self::Safe),
            Ok(Form::Flag(false)) => Ok(Self::Only(BTreeSet::new())),
            Ok(Form::Names(names)) => Ok(Self::Only(names)),
            // serde's own text for an untagged enum names neither the forms nor the value.
            Err(_) => Err(D::Error::custom("expected true, false or a list of variable names")),
        }
    }
}
