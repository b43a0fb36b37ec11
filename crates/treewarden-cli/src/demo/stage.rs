//! What the demo stands on: a temporary folder with a config file, a state directory and a stand-in CLI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use treewarden::{SessionId, Tree};

/// The name under which this program is the stand-in.
const NAME: &str = "claude-stand-in";

/// Marks every process of one demo in its environment.
const MARK: &str = "TREEWARDEN_DEMO";

const CONFIG: &str = r#"strategy = "one_for_one"

[defaults]
cli_path = @CLI
cwd = "."

  [defaults.env]
  CLAUDE_CONFIG_DIR = @HOME
  TREEWARDEN_FAKE = @SCRIPT
  TREEWARDEN_DEMO = @MARK

[[child]]
name = "assistant"

[[child]]
name = "team"
type = "supervisor"
strategy = "rest_for_one"

  [[child.child]]
  name = "researcher"

  [[child.child]]
  name = "writer"
"#;

/// What the stand-in says, and how fast.
fn script() -> serde_json::Value {
    let ownership = "Every value has one owner. When the owner goes out of scope, the value is dropped. You can lend \
        a value out: to many readers, or to a single writer, but never to both at once. The compiler checks all of \
        that before the program runs, so nothing is freed twice, and nothing is used after it is gone.";
    json!({ "prompts": [
        { "contains": "My name is", "do": "SPEAK=40", "answer": "Nice to meet you, Alice." },
        { "contains": "ownership", "do": "SPEAK=45", "answer": ownership },
        { "contains": "my name", "do": "SPEAK=40" },
    ] })
}

/// Plays the stand-in, if that is the name under which this program was started.
pub(crate) fn stand_in() -> Option<ExitCode> {
    // The stand-in is told by the name under which the program was called, which is that of the link.
    let mut args = std::env::args();
    let name = args.next()?;
    let is_stand_in = Path::new(&name).file_name().is_some_and(|name| name == NAME);
    is_stand_in.then(|| treewarden_testkit::fake_cli::main(args))
}

/// The folder of one demo; dropping it removes it.
#[derive(Debug)]
pub(super) struct Stage {
    dir: tempfile::TempDir,
    mark: String,
}

impl Stage {
    pub(super) fn new() -> anyhow::Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("treewarden-demo-").tempdir().context("cannot make a folder")?;
        let mark = SessionId::random().to_string();
        let this = std::env::current_exe().context("cannot find this program")?;
        let cli = dir.path().join(NAME);
        std::os::unix::fs::symlink(this, &cli).context("cannot make the stand-in")?;
        let script_file = dir.path().join("script.json");
        fs::write(&script_file, script().to_string())?;
        let quoted = |path: &Path| json!(path).to_string();
        let config = CONFIG
            .replace("@CLI", &quoted(&cli))
            .replace("@HOME", &quoted(&dir.path().join("home")))
            .replace("@SCRIPT", &quoted(&script_file))
            .replace("@MARK", &json!(mark).to_string());
        fs::write(dir.path().join("treewarden.toml"), config)?;
        Ok(Self { dir, mark })
    }

    /// Starts the tree of the config file.
    pub(super) async fn start(&self) -> anyhow::Result<Tree> {
        let builder = Tree::from_file(self.file())?;
        Ok(builder.state_dir(self.dir.path().join("state")).start().await?)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("treewarden.toml")
    }

    /// How often a prompt stands in the transcripts that the stand-in wrote.
    pub(super) fn times_in_transcript(&self, prompt: &str) -> usize {
        let projects =
            fs::read_dir(self.dir.path().join("home").join("projects")).into_iter().flatten().flatten();
        let files = projects.flat_map(|project| fs::read_dir(project.path()).into_iter().flatten().flatten());
        let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        let is_prompt = |line: &str| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            entry["type"] == "user" && entry["message"]["content"].to_string().contains(prompt)
        };
        texts.map(|text| text.lines().filter(|line| is_prompt(line)).count()).sum()
    }

    /// Every process of this demo that lives.
    pub(super) fn processes(&self) -> Vec<u32> {
        // Processes are found by a mark of this run: another demo beside it has CLIs of the same name.
        let wanted = format!("{MARK}={}", self.mark);
        let entries = fs::read_dir("/proc").into_iter().flatten();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let marked = |pid: &u32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        };
        pids.filter(marked).collect()
    }

    /// Waits until no process of the demo lives, and says which do when that takes too long.
    pub(super) async fn clear(&self) -> anyhow::Result<()> {
        // Each was told to end; this is how long the system may take to take them away.
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.processes();
            if left.is_empty() {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "processes of the demo are left: {left:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
