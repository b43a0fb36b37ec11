//! The process: where it runs, for how long, and flags that have no option.

use std::path::PathBuf;
use std::time::Duration;

use super::argv::{self, Args};
use super::error::Faults;
use super::{EnvValue, ExtraArg, InheritEnv, SessionSpec};

impl SessionSpec {
    /// Sets how long one turn may take, all retries included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets whether the answer is streamed as it is made; it is by default.
    ///
    /// Without, each message comes whole, in a seventh of the bytes.
    #[must_use]
    pub fn include_partial_messages(mut self, include: bool) -> Self {
        self.include_partial_messages = include;
        self
    }

    /// Sets the CLI to run.
    #[must_use]
    pub fn cli_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.cli_path = Some(path.into());
        self
    }

    /// Sets the directory in which the CLI works.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Sets more directories that its tools may use.
    #[must_use]
    pub fn add_dirs<T: Into<PathBuf>>(mut self, dirs: impl IntoIterator<Item = T>) -> Self {
        self.add_dirs = dirs.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a variable to the CLI's environment: its value, where that stands ([`EnvSource`](super::EnvSource)), or
    /// [`EnvValue::Unset`] to leave one out.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<EnvValue>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets which variables of this process the CLI inherits.
    #[must_use]
    pub fn inherit_env(mut self, inherit: InheritEnv) -> Self {
        self.inherit_env = inherit;
        self
    }

    /// Adds a flag that has no option here, without its leading `--`.
    ///
    /// Its value is an argument of the CLI, which every user of the machine can read.
    #[must_use]
    pub fn extra_arg(mut self, flag: impl Into<String>, value: impl Into<ExtraArg>) -> Self {
        self.extra_args.insert(flag.into(), value.into());
        self
    }
}

pub(super) fn check(spec: &SessionSpec, faults: &mut Faults) {
    if spec.timeout.is_zero() {
        faults.add(&["timeout"], "`timeout` is 0: no turn could end in time");
    }
    for (option, path) in [("cli_path", &spec.cli_path), ("cwd", &spec.cwd)] {
        // No argument: the system takes both as they are.
        if let Some(path) = path {
            faults.path(option, path);
        }
    }
    for dir in &spec.add_dirs {
        faults.path_in_text("add_dirs", dir);
    }
    for (flag, value) in &spec.extra_args {
        argv::check_extra(flag, value, faults);
    }
}

pub(super) fn args(spec: &SessionSpec, args: &mut Args) {
    for dir in &spec.add_dirs {
        args.value("--add-dir", dir.display());
    }
    if spec.include_partial_messages {
        args.flag("--include-partial-messages");
    }
    // Left out here as well, for whoever did not ask `validate`: a second `--resume` would be another
    // conversation.
    for (flag, value) in spec.extra_args.iter().filter(|(flag, _)| !argv::is_owned(flag)) {
        match value {
            ExtraArg::Flag => args.flag(&format!("--{flag}")),
            ExtraArg::Value(value) => args.value(&format!("--{flag}"), value),
        }
    }
}
