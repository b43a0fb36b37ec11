//! A valid file held against a machine: the folders, programs, files and variables that it names.
//!
//! What is there and wrong is a fault, as no session with it starts: a `cwd` that is a file, a `cli_path` that nobody may execute,
//! an `mcp_config` that the CLI refuses, one conversation for two sessions. What may be otherwise on another machine, or for
//! another user, is a warning: what is absent, or may not be looked at.
//!
//! It is not for what a file says by itself: that is refused, or warned of, while it is read. It must never start anything, and
//! sees the machine through [`Look`] alone.

mod look;
mod mcp;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use treewarden_proto::SessionId;
use treewarden_proto::spec::{EnvSource, Environment, McpConfig, SessionSpec, Settings};

pub use self::look::{Found, Here, Look};
use super::error::{ConfigError, Faults, Warnings};
use super::read::Fields;
use super::spec::TreeSpec;
use crate::{env_sources, lookup};

/// A file that was read and held against a machine.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checked {
    /// The tree that the file declares, which could be started; `None` if the file is refused.
    pub tree: Option<TreeSpec>,
    /// What the file is refused for, and what keeps sessions of it from starting wherever it is started.
    pub faults: Option<ConfigError>,
    /// What keeps sessions of it from starting here, and what is taken otherwise than it seems to be meant.
    pub warnings: Warnings,
}

/// A session or a template, and where its values stand.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) spec: SessionSpec,
    pub(super) fields: Fields,
}

/// Notes what the machine lacks of what is declared.
pub(super) fn hold(declared: &[Declared], look: &dyn Look, faults: &mut Faults<'_>) {
    let variables = look.variables();
    let mut against = Against { look, faults, variables, seen: HashSet::new(), looked_up: HashSet::new() };
    for one in declared {
        against.session(one);
    }
    one_writer(declared, faults);
}

struct Against<'a, 't> {
    look: &'a dyn Look,
    faults: &'a mut Faults<'t>,
    variables: Vec<(OsString, OsString)>,
    /// What was looked at, by where it stands: what all sessions have by default is looked at once.
    seen: HashSet<(&'static str, usize)>,
    /// Names of programs, each with the `PATH` in which it was looked up.
    looked_up: HashSet<(PathBuf, Option<OsString>)>,
}

impl Against<'_, '_> {
    fn session(&mut self, one: &Declared) {
        let Declared { spec, fields } = one;
        if let Some(cwd) = spec.cwd.as_deref().filter(|_| self.is_new("cwd", fields)) {
            self.folder(fields.span("cwd"), cwd);
        }
        self.program(spec, fields);
        if self.is_new("mcp_config", fields) {
            self.mcp_config(spec, fields);
        }
        if self.is_new("settings", fields) {
            self.settings(spec, fields.span("settings"));
        }
        self.sources(spec, fields);
    }

    fn is_new(&mut self, key: &'static str, fields: &Fields) -> bool {
        fields.known.contains_key(key) && self.seen.insert((key, fields.span(key).start))
    }

    fn folder(&mut self, span: &Range<usize>, cwd: &Path) {
        let Some(found) = self.at("cwd", span, cwd, "folder") else { return };
        if found != Found::Folder {
            self.faults.add(span, format!("`cwd` is {}, which is no folder", cwd.display()));
        } else if let Err(error) = self.look.may_enter(cwd) {
            let message = format!("`cwd` is {}, which this user may not enter: {error}", cwd.display());
            self.faults.warn(span, message);
        }
    }

    fn program(&mut self, spec: &SessionSpec, fields: &Fields) {
        let span = fields.span("cli_path");
        match spec.cli_path.as_deref() {
            Some(place) if lookup::is_place(place) => {
                if self.is_new("cli_path", fields) {
                    self.place(span, place);
                }
            }
            name => self.name(name, &spec.environment(self.variables.iter().cloned()), span),
        }
    }

    fn place(&mut self, span: &Range<usize>, place: &Path) {
        let why = match self.at("cli_path", span, place, "file") {
            None | Some(Found::File { executable: true }) => return,
            Some(Found::File { executable: false }) => "which nobody may execute",
            Some(Found::Folder | Found::Other) => "which is no regular file",
        };
        self.faults.add(span, format!("`cli_path` is {}, {why}", place.display()));
    }

    fn name(&mut self, own: Option<&Path>, environment: &Environment, span: &Range<usize>) {
        let name = own.unwrap_or_else(|| Path::new(lookup::CLI));
        let path = environment.get("PATH");
        if !self.looked_up.insert((name.to_owned(), path.map(OsString::from))) {
            return;
        }
        let runs = |file: &PathBuf| matches!(self.look.at(file), Ok(Found::File { executable: true }));
        if lookup::files(name, path, self.look.folder().as_deref()).iter().any(runs) {
            return;
        }
        let message = format!("no `{}` on the PATH that the CLI would get here", name.display());
        let help = match own {
            Some(_) => "install it, or give `cli_path` its whole path",
            None => "install it (npm install -g @anthropic-ai/claude-code), or set `cli_path`",
        };
        self.faults.warn(span, message).help(help);
    }

    fn mcp_config(&mut self, spec: &SessionSpec, fields: &Fields) {
        match &spec.mcp_config {
            None => {}
            Some(McpConfig::Servers(servers)) => self.servers(fields, servers),
            Some(McpConfig::Path(path)) => {
                let span = fields.span("mcp_config");
                let Some(file) = self.table("mcp_config", span, path) else { return };
                match mcp::servers(&file) {
                    Ok(servers) => self.servers(fields, servers),
                    Err(why) => {
                        let message =
                            format!("`mcp_config` is {}, which the CLI refuses: {why}", path.display());
                        self.faults.add(span, message);
                    }
                }
            }
        }
    }

    /// What the CLI does without may be what a tool call waits for, but keeps no session from starting.
    fn servers(&mut self, fields: &Fields, servers: &Map<String, Value>) {
        for (name, server) in servers {
            if let Some(why) = mcp::left_out(server) {
                let message =
                    format!("`mcp_config`: the CLI leaves the server {name:?} out, without a word: {why}");
                self.faults.warn(fields.at("mcp_config", name), message);
            }
        }
    }

    fn settings(&mut self, spec: &SessionSpec, span: &Range<usize>) {
        if let Some(Settings::Path(path)) = &spec.settings {
            // A file that is no object is refused by the session. Which settings there are is the CLI's to know: it ignores what it
            // does not know, and values of a wrong type (2.1.332).
            self.table("settings", span, path);
        }
    }

    /// The variables whose values stand elsewhere; what a command would print is not asked.
    fn sources(&mut self, spec: &SessionSpec, fields: &Fields) {
        for (name, source) in spec.sources() {
            let span = fields.at("env", name);
            // By itself: a session has variables of its own beside those that all have by default.
            if !self.seen.insert(("env", span.start)) {
                continue;
            }
            match source {
                EnvSource::File(path) => self.value_in(path, name, span),
                EnvSource::Var(variable) => self.value_of(variable, name, span),
                _ => {}
            }
        }
    }

    fn value_in(&mut self, path: &Path, name: &str, span: &Range<usize>) {
        let Some(found) = self.at(&format!("env.{name}"), span, path, "file") else { return };
        let shown = path.display();
        if !matches!(found, Found::File { .. }) {
            self.faults.add(span, format!("`env.{name}` is {shown}, which is no regular file"));
            return;
        }
        let why = match self.look.read(path) {
            Ok(value) if value.len() > env_sources::MAX => {
                format!("is larger than {} bytes", env_sources::MAX)
            }
            // It may be filled before the tree is started, so that it is no fault.
            Ok(value) => match env_sources::no_value(&value) {
                Some(why) => format!("{why} here: no session with it starts"),
                None => return,
            },
            Err(error) => format!("cannot be read here: {error}"),
        };
        self.faults.warn(span, format!("`env.{name}` is {shown}, which {why}"));
    }

    fn value_of(&mut self, variable: &str, name: &str, span: &Range<usize>) {
        let value = self.variables.iter().find(|(name, _)| name == variable).map(|(_, value)| value);
        let why = match value.map(|value| env_sources::no_value(value.as_bytes())) {
            None => "is not set here",
            Some(Some(why)) => why,
            Some(None) => return,
        };
        self.faults.warn(span, format!("`env.{name}` is taken from {variable}, which {why}"));
    }

    /// What is at a path; what is not there, or may not be looked at, may be so here alone.
    fn at(&mut self, key: &str, span: &Range<usize>, path: &Path, what: &str) -> Option<Found> {
        let error = match self.look.at(path) {
            Ok(found) => return Some(found),
            Err(error) => error,
        };
        let path = path.display();
        let message = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                format!("`{key}` is {path}: there is no such {what} here")
            }
            _ => format!("`{key}` is {path}, which cannot be looked at here: {error}"),
        };
        self.faults.warn(span, message);
        None
    }

    /// A JSON object in a file; nothing of what stands there is shown, as it may be secret.
    fn table(&mut self, key: &str, span: &Range<usize>, path: &Path) -> Option<Map<String, Value>> {
        match self.at(key, span, path, "file")? {
            Found::File { .. } => {}
            Found::Folder | Found::Other => {
                self.faults.add(span, format!("`{key}` is {}, which is no regular file", path.display()));
                return None;
            }
        }
        let path_shown = path.display();
        let text = match self.look.read(path) {
            Ok(text) => text,
            Err(error) => {
                self.faults
                    .warn(span, format!("`{key}` is {path_shown}, which cannot be read here: {error}"));
                return None;
            }
        };
        // Some editors begin a file with a byte order mark, which is no part of the JSON.
        let json = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
        match serde_json::from_slice(json) {
            Ok(table) => Some(table),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let message = format!(
                    "`{key}` is {path_shown}, which is no JSON object (line {line}, column {column})"
                );
                self.faults.add(span, message);
                None
            }
        }
    }
}

/// A conversation has one writer: the second session of it would not start while the first one has a CLI.
fn one_writer(declared: &[Declared], faults: &mut Faults<'_>) {
    let mut first: HashMap<SessionId, &Range<usize>> = HashMap::new();
    for Declared { spec, fields } in declared {
        let Some((key, id)) = written(spec) else { continue };
        let span = fields.span(key);
        match first.get(&id) {
            None => drop(first.insert(id, span)),
            Some(first) => {
                faults
                    .add(span, format!("two sessions would write the conversation {id}"))
                    .related(first, "it is used here first")
                    .help("a conversation has one writer: leave one out, or have it copied (`fork_session = true`)");
            }
        }
    }
}

/// The conversation that a session writes, if the file names it, and by which key.
fn written(spec: &SessionSpec) -> Option<(&'static str, SessionId)> {
    match spec.resume {
        Some(id) if !spec.fork_session => Some(("resume", id)),
        _ => spec.session_id.map(|id| ("session_id", id)),
    }
}

#[cfg(test)]
mod tests;
