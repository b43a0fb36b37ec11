//! What the tests on the real CLI share: a lab, a mock API for a model, and the CLI at the pinned version.

use std::path::PathBuf;

use treewarden::{SessionOptions, SessionSpec};
use treewarden_proto::spec::{InheritEnv, PermissionMode};
use treewarden_testkit::mock_api::{MockApi, MockApiBuilder, Reply, Request};

use crate::shapes::ANSWER;
use crate::{Lab, real_cli};

/// A lab whose sessions run the real CLI, at home in the lab's folder, and ask a mock API.
#[derive(Debug)]
pub struct RealLab {
    /// The folder and the host.
    pub lab: Lab,
    /// The model.
    pub api: MockApi,
    cli: PathBuf,
}

impl RealLab {
    /// Makes one whose model does as the words of a prompt say; `None` if the real CLI is to be skipped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing but an installation under way.
    pub async fn new() -> Option<Self> {
        Self::of_model(MockApi::builder()).await
    }

    /// Makes one whose model answers so; `None` if the real CLI is to be skipped.
    ///
    /// # Cancel safety
    ///
    /// As [`RealLab::new`].
    pub async fn replying(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Option<Self> {
        Self::of_model(MockApi::builder().reply(reply)).await
    }

    async fn of_model(api: MockApiBuilder) -> Option<Self> {
        // The first test that comes here installs it, which takes longer than a runtime may be kept from its tasks.
        let cli = tokio::task::spawn_blocking(real_cli).await.expect("it can be installed")?;
        Some(Self::with(cli, api).await)
    }

    /// Makes one with this program, whatever its version.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing.
    pub async fn with(cli: PathBuf, api: MockApiBuilder) -> Self {
        let api = api.start().await.expect("the mock API starts");
        Self { lab: Lab::new(), api, cli }
    }

    /// The options of a session that may use every tool and inherits nothing but `PATH`.
    pub fn spec(&self, name: &str) -> SessionSpec {
        let spec = SessionSpec::new()
            .name(name.parse().expect("a valid name"))
            .cli_path(&self.cli)
            .cwd(self.work())
            .permission_mode(PermissionMode::BypassPermissions)
            .inherit_env(InheritEnv::Only(["PATH".to_owned()].into()))
            .timeout(ANSWER)
            .env("HOME", self.lab.path().display().to_string());
        self.api.env().into_iter().fold(spec, |spec, (name, value)| spec.env(name, value))
    }

    /// The same, for the lab's host.
    pub fn options(&self, name: &str) -> SessionOptions {
        self.of(self.spec(name))
    }

    /// These options, for the lab's host.
    pub fn of(&self, spec: SessionSpec) -> SessionOptions {
        SessionOptions::from(spec).host(&self.lab.host)
    }

    /// The working directory of its CLIs.
    pub fn work(&self) -> PathBuf {
        self.lab.path().join("work")
    }

    /// The configuration folder of its CLIs.
    pub fn config_dir(&self) -> PathBuf {
        self.lab.path().join(".claude")
    }

    /// Has a hook refuse the prompts with `refuse-this` in them.
    ///
    /// # Panics
    ///
    /// If the settings cannot be written.
    pub fn refuse_some(&self) {
        std::fs::create_dir_all(self.config_dir()).expect("a folder can be made");
        let settings = crate::shapes::refusing_settings().to_string();
        std::fs::write(self.config_dir().join("settings.json"), settings)
            .expect("the settings can be written");
    }

    /// The text of a conversation's transcript; empty if there is none yet.
    pub fn transcript(&self, session_id: &str) -> String {
        let projects = std::fs::read_dir(self.config_dir().join("projects")).into_iter().flatten().flatten();
        let files = projects.map(|project| project.path().join(format!("{session_id}.jsonl")));
        files.filter_map(|file| std::fs::read_to_string(file).ok()).collect()
    }
}
