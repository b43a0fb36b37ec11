//! Where sessions are measured: a host in a folder of its own, and the fake CLI that it drives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use treewarden::{Durability, Host, Session, SessionOptions, SessionSpec};
use treewarden_testkit::fake_cli::{self, FakeCli};

/// The CLI that is measured with: `TREEWARDEN_BENCH_CLI`, or the bare fake CLI of the test kit.
pub(crate) fn bare_cli() -> Result<PathBuf> {
    Ok(match std::env::var_os("TREEWARDEN_BENCH_CLI") {
        Some(path) => path.into(),
        None => fake_cli::fake_cli_path()?,
    })
}

/// The variables that make the test kit's fake CLI the bare one.
pub(crate) fn bare_env() -> (String, String) {
    FakeCli::new().bare().env()
}

/// A folder with a host, gone with the value.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    pub(crate) host: Host,
    cli: PathBuf,
}

impl Lab {
    /// A host with the default durability.
    pub(crate) fn new() -> Result<Self> {
        Self::with(Durability::default())
    }

    /// A host whose turns survive what this says.
    pub(crate) fn with(durability: Durability) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let host = Host::options().state_dir(dir.path().join("state")).durability(durability).open()?;
        Ok(Self { dir, host, cli: bare_cli()? })
    }

    /// A host whose state directory is there already.
    pub(crate) fn at(dir: tempfile::TempDir) -> Result<Self> {
        let host = Host::options().state_dir(dir.path()).open()?;
        Ok(Self { dir, host, cli: bare_cli()? })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The options of a session on the bare CLI.
    pub(crate) fn bare(&self) -> SessionSpec {
        let (key, value) = bare_env();
        self.spec(&self.cli).env(key, value)
    }

    /// The options of a session on the whole fake CLI, which keeps a transcript and listens while it prints.
    pub(crate) fn whole(&self) -> Result<SessionSpec> {
        Ok(self.spec(&fake_cli::fake_cli_path()?))
    }

    /// The options of a session on this CLI.
    pub(crate) fn spec(&self, cli: &Path) -> SessionSpec {
        SessionSpec::new()
            .cli_path(cli)
            .cwd(self.path())
            .include_partial_messages(true)
            .timeout(Duration::from_secs(600))
            .env("HOME", self.path().display().to_string())
    }

    /// Starts a session, and its CLI with a first turn.
    pub(crate) async fn start(&self, spec: SessionSpec) -> Result<Session> {
        let options = SessionOptions::from(spec).host(&self.host).max_restarts(1_000_000);
        let session = Session::start(options).await?;
        session.query("N=0").await?;
        Ok(session)
    }
}

/// The memory that this process has now.
pub(crate) fn resident() -> u64 {
    memory("VmRSS:")
}

/// The most memory that this process had.
pub(crate) fn peak() -> u64 {
    memory("VmHWM:")
}

fn memory(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}
