//! The CLI's environment: what it inherits, what the spec says, and what a supervised CLI needs.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

use super::error::Faults;
use super::{EnvSource, EnvValue, InheritEnv, SessionSpec};

/// What a supervised CLI is always told, unless the spec says otherwise.
const ALWAYS: [(&str, &str); 5] = [
    // Who drives the CLI: it shows in the user agent. Measured with CLI 2.1.330 and 2.1.197: an unknown name does
    // not change the model, the tools or the mode.
    ("CLAUDE_CODE_ENTRYPOINT", "sdk-rs"),
    // A prompt that was interrupted by a crash, sent again under its uuid, runs once and stands once.
    ("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1"),
    // The frames that say when a turn is over.
    ("CLAUDE_CODE_SDK_READS_SESSION_STATE", "1"),
    // A start that cannot succeed ends in a result frame that says why.
    ("CLAUDE_CODE_STARTUP_FAILURE_RESULTS", "1"),
    // A CLI that updates itself takes the program away under every other session of the machine, and the next restart goes on
    // with a version that nobody chose. 2.1.332 also knows `DISABLE_UPDATES`, which refuses `claude update` by hand as well.
    ("DISABLE_AUTOUPDATER", "1"),
];

/// Set to `0`, it leaves the CLI without the socket on which other processes could begin turns (2.1.250 to 2.1.332).
const PEER_MESSAGES: &str = "CLAUDE_CODE_HARBOR_KITE";

/// The environment of one CLI process, in full: nothing else is inherited.
///
/// Its `Debug` output names the variables and hides their values.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Every variable, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The value of a variable.
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// Sets a variable.
    pub fn insert(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// What a child of this process may have of `inherited`: all but what would make a CLI take itself for a part of something
    /// else, and what concerns this process alone.
    pub fn passed_on(inherited: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(inherited.into_iter().filter(|(name, _)| !is_unsafe(name)).collect())
    }

    /// Takes a variable out.
    pub fn remove(&mut self, name: impl AsRef<OsStr>) {
        self.0.remove(name.as_ref());
    }
}

impl IntoIterator for Environment {
    type Item = (OsString, OsString);
    type IntoIter = std::collections::btree_map::IntoIter<OsString, OsString>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment ")?;
        // The names alone: values are tokens and keys, and a log would have them for ever.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl SessionSpec {
    /// The environment for the CLI, made from what this process has and from the spec.
    ///
    /// It is whole but for the variables that [`sources`](Self::sources) names, which have to be read first; one that is named
    /// like a variable of this process is among them only if that is not set.
    pub fn environment(&self, inherited: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let mut environment = Environment::default();
        let mut asked: BTreeMap<&str, Option<OsString>> = self.variables().map(|name| (name, None)).collect();
        for (name, value) in inherited {
            // Whatever is inherited besides: the file names it.
            if let Some(asked) = name.to_str().and_then(|name| asked.get_mut(name)) {
                *asked = Some(value.clone());
            }
            let keep = match &self.inherit_env {
                InheritEnv::Safe => !is_unsafe(&name),
                // A name that is no UTF-8 cannot be written in a list, and so is in none.
                InheritEnv::Only(names) => name.to_str().is_some_and(|name| names.contains(name)),
            };
            if keep {
                environment.insert(name, value);
            }
        }
        // After what is inherited, before what the spec says: a shell's leftover must not turn this off, and
        // the user may.
        for (name, value) in ALWAYS {
            environment.insert(name, value);
        }
        if !self.peer_messages {
            environment.insert(PEER_MESSAGES, "0");
        }
        for (name, value) in &self.env {
            match value {
                EnvValue::Set(value) => environment.insert(name, value),
                EnvValue::From(EnvSource::Var(from)) => match asked.get(from.as_str()) {
                    Some(Some(value)) => environment.insert(name, value),
                    _ => environment.remove(name),
                },
                // An inherited value in the place of one that is still to be read would be used without a word.
                EnvValue::Unset | EnvValue::From(_) => environment.remove(name),
            }
        }
        environment
    }

    /// The variables of `env` whose values stand elsewhere, each with where.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &EnvSource)> {
        self.env.iter().filter_map(|(name, value)| match value {
            EnvValue::From(source) => Some((name.as_str(), source)),
            _ => None,
        })
    }

    /// The variables of this process that `env` names.
    fn variables(&self) -> impl Iterator<Item = &str> {
        self.sources().filter_map(|(_, source)| match source {
            EnvSource::Var(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// Whether a variable concerns this process alone: what a service manager, a tracer or the command line told it.
///
/// A tool that has it could tell the manager in this process's name that it is up or alive, take the sockets that were passed
/// to it for its own, read its credentials, or hang its spans under one that ended long ago. What marks a tree's processes
/// begins with `TREEWARDEN_` as well, and is set when they are spawned.
fn is_own(name: &str) -> bool {
    ["LISTEN_", "WATCHDOG_", "TREEWARDEN_"].iter().any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "NOTIFY_SOCKET"
                | "JOURNAL_STREAM"
                | "INVOCATION_ID"
                | "CREDENTIALS_DIRECTORY"
                | "TRACEPARENT"
                | "TRACESTATE"
        )
}

/// Whether a variable would make the CLI take itself for a part of this process, or change how it runs.
fn is_unsafe(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    // The CLI's guard against sessions within sessions: a program that a CLI has started has it, and the CLIs
    // of that program must not.
    name.starts_with("CLAUDECODE")
        || is_own(&name)
        || matches!(
            &*name,
            // It may hold a debugger's port or a script to load, which are this program's and not the CLI's;
            // the TypeScript SDK drops it too.
            "NODE_OPTIONS"
                | "CLAUDE_CODE_ENTRYPOINT"
                | "CLAUDE_CODE_SESSION_ID"
                | "CLAUDE_CODE_SSE_PORT"
                | "CLAUDE_AGENT_SDK_VERSION"
                | "CLAUDE_AGENT_SDK_CLIENT_APP"
                // The CLI would keep the transcripts of all working directories in one folder of this name.
                | "CLAUDE_CODE_PROJECT_DIR_NAME"
                | NO_TRANSCRIPT
        )
}

/// Has the CLI write no transcript, so that no crash could be survived (2.1.332).
const NO_TRANSCRIPT: &str = "CLAUDE_CODE_SKIP_PROMPT_HISTORY";

pub(super) fn check(spec: &SessionSpec, faults: &mut Faults) {
    for (name, value) in &spec.env {
        let option = format!("env.{name}");
        // Whoever reads the environment ends a name at the first `=`: another variable would be set than the
        // one that is named.
        if name.is_empty() || name.contains(['=', '\0']) {
            faults.add(&[&option], format_args!("`env` has {name:?}, which cannot be a variable's name"));
        }
        if let EnvValue::From(source) = value {
            check_source(name, &option, source, faults);
        }
        if let EnvValue::Set(value) = value {
            faults.nul(&option, value);
        }
        if *value != EnvValue::Unset && name == NO_TRANSCRIPT {
            faults.add(
                &[&option],
                format_args!(
                    "`env` has {name}: the CLI would write no transcript to resume from; leave it out"
                ),
            );
        }
    }
}

/// By these it is known which CLI is run and where it keeps its conversations, also where none is started.
const LOOKED_UP: [&str; 3] = ["HOME", "CLAUDE_CONFIG_DIR", "PATH"];

fn check_source(name: &str, option: &str, source: &EnvSource, faults: &mut Faults) {
    match source {
        EnvSource::File(path) => faults.path(option, path),
        EnvSource::Command(command) => {
            faults.empty(option, Some(command));
            faults.nul(option, command);
        }
        EnvSource::Var(variable) => {
            if variable.is_empty() || variable.contains(['=', '\0']) {
                let text = format_args!("`{option}` names {variable:?}, which cannot be a variable's name");
                faults.add(&[option], text);
            }
            return;
        }
    }
    if LOOKED_UP.contains(&name) {
        let text = format_args!(
            "`{option}` comes from a file or a command: where conversations lie must be known before a CLI is started; write \
             the value, or `{{ var = … }}`"
        );
        faults.add(&[option], text);
    }
}
