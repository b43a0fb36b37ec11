//! The CLI's settings: this session's own, and which of the machine's are read.

use serde_json::json;

use super::argv::Args;
use super::error::Faults;
use super::{SessionSpec, SettingSource, Settings};

impl SessionSpec {
    /// Sets settings for this session: a file's path, or a table.
    #[must_use]
    pub fn settings(mut self, settings: impl Into<Settings>) -> Self {
        self.settings = Some(settings.into());
        self
    }

    /// Lets other processes of the user send the CLI messages, each of which begins a turn that this session did not send;
    /// not by default.
    ///
    /// What such a turn prints is told as [`Unsolicited`] frames; it is in no journal.
    ///
    /// [`Unsolicited`]: https://docs.rs/treewarden/latest/treewarden/events/enum.Happening.html
    #[must_use]
    pub fn peer_messages(mut self, peer_messages: bool) -> Self {
        self.peer_messages = peer_messages;
        self
    }

    /// Sets which of the machine's settings files are read; none if `sources` is empty.
    #[must_use]
    pub fn setting_sources(mut self, sources: impl IntoIterator<Item = SettingSource>) -> Self {
        self.setting_sources = Some(sources.into_iter().collect());
        self
    }
}

pub(super) fn check(spec: &SessionSpec, faults: &mut Faults) {
    if let Some(Settings::Path(path)) = &spec.settings {
        faults.path_in_text("settings", path);
    }
}

pub(super) fn args(spec: &SessionSpec, args: &mut Args) {
    match &spec.settings {
        Some(Settings::Path(path)) => args.value("--settings", path.display()),
        Some(Settings::Inline(table)) => args.value("--settings", json!(table)),
        None => {}
    }
    if let Some(sources) = &spec.setting_sources {
        let names: Vec<&str> = sources.iter().map(|source| source.as_str()).collect();
        // Also when it is empty, which means none; without the flag the CLI reads those that it does by
        // default.
        args.value("--setting-sources", names.join(","));
    }
}
