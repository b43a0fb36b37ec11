//! What the examples share: a folder of their own, and the choice between the stand-in and the real CLI.
//!
//! It is not for programs: those name their state directory once, or leave it to [`Host::shared`], and have a
//! `claude` on the PATH.
//!
//! An example runs the test kit's fake CLI unless the environment variable `TREEWARDEN_CLI` names another one:
//! `TREEWARDEN_CLI=claude` is the real one, with the key or login that it finds.

use std::path::Path;

use anyhow::Context;
use treewarden::config::{ChildKind, SupervisorDecl, TreeSpec};
use treewarden::{Host, SessionOptions, SessionSpec};

/// What the stand-in answers to the prompts of the examples; what is not listed it makes up.
const SCRIPT: &str = include_str!("script.json");

/// A folder with a host's state in it, gone with the value.
#[derive(Debug)]
pub struct Stage {
    dir: tempfile::TempDir,
    host: Host,
    cli: Cli,
}

#[derive(Debug)]
enum Cli {
    StandIn(std::path::PathBuf),
    /// `None` is the `claude` on the PATH.
    Real(Option<String>),
}

impl Stage {
    /// Makes the folder, opens a host in it, and lets `RUST_LOG` choose what is logged to stderr.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or the stand-in cannot be built.
    pub fn new() -> anyhow::Result<Self> {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
        // A second stage in one program finds it set.
        let _set = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
        let dir =
            tempfile::Builder::new().prefix("treewarden-example-").tempdir().context("make a folder")?;
        let cli = match std::env::var("TREEWARDEN_CLI") {
            Ok(cli) if cli.contains('/') => Cli::Real(Some(cli)),
            Ok(_) => Cli::Real(None),
            Err(_) => Cli::StandIn(treewarden_testkit::fake_cli::fake_cli_path()?),
        };
        std::fs::write(dir.path().join("script.json"), SCRIPT)?;
        let host = Host::options().state_dir(dir.path().join("state")).open()?;
        Ok(Self { dir, host, cli })
    }

    /// The host that the example's sessions use.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The options of a session, with nothing set but the CLI and where it works.
    pub fn spec(&self) -> SessionSpec {
        self.cast(SessionSpec::new().cwd(self.path()))
    }

    /// These options, on this stage's host.
    pub fn options(&self, spec: SessionSpec) -> SessionOptions {
        SessionOptions::from(spec).host(&self.host)
    }

    /// Puts the stage's CLI into every session of a tree.
    pub fn cast_tree(&self, spec: &mut TreeSpec) {
        self.cast_below(&mut spec.root);
    }

    fn cast_below(&self, supervisor: &mut SupervisorDecl) {
        for child in &mut supervisor.children {
            match &mut child.kind {
                ChildKind::Session(session) => session.spec = self.cast(session.spec.clone()),
                ChildKind::Supervisor(below) => self.cast_below(below),
                ChildKind::Template(template) => {
                    if let ChildKind::Session(session) = &mut template.session.kind {
                        session.spec = self.cast(session.spec.clone());
                    }
                }
                _ => {}
            }
        }
    }

    fn cast(&self, spec: SessionSpec) -> SessionSpec {
        match &self.cli {
            Cli::StandIn(path) => spec
                .cli_path(path)
                .env("CLAUDE_CONFIG_DIR", self.path().join("home").display().to_string())
                .env("TREEWARDEN_FAKE", self.path().join("script.json").display().to_string()),
            Cli::Real(Some(path)) => spec.cli_path(path),
            Cli::Real(None) => spec,
        }
    }
}

/// The program in the README, compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
