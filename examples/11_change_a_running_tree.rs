//! Changes a tree while it runs, as its file says now.
//!
//! Run with `cargo run -p treewarden-examples --example 11_change_a_running_tree`. A session gets another model and keeps
//! its conversation, one is new, one is gone, and one is not touched. The command does the same: `treewarden reload`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use treewarden::config::{self, TreeSpec};
use treewarden::{ExitReason, Tree};
use treewarden_examples::Stage;

const BEFORE: &str = r#"
[[child]]
name = "assistant"

[[child]]
name = "reviewer"

[[child]]
name = "planner"
"#;

const AFTER: &str = r#"
[[child]]
name = "assistant"
model = "opus"

[[child]]
name = "reviewer"

[[child]]
name = "team"
type = "supervisor"

  [[child.child]]
  name = "writer"
"#;

fn read(stage: &Stage, text: &str) -> anyhow::Result<TreeSpec> {
    let mut spec = config::parse(text, &stage.path().join("treewarden.toml"))?;
    stage.cast_tree(&mut spec);
    Ok(spec)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let builder = Tree::builder(read(&stage, BEFORE)?).state_dir(stage.path().join("tree"));
    let tree = builder.start().await?;
    println!("{}", tree.session("assistant").query("My name is Alice.").await?);
    println!("{}", tree.session("reviewer").query("My name is Bob.").await?);
    let reviewers_cli = tree.session("reviewer").status().await?.pid;

    // What it would mean can be looked at before it is done.
    let diff = tree.diff(read(&stage, AFTER)?);
    println!("{diff}");
    tree.apply(diff).await?;

    println!("{}", tree.session("assistant").query("What is my name?").await?);
    println!("{}", tree.session("writer").query("Write a word.").await?);
    println!(
        "the reviewer's CLI is the same: {}",
        tree.session("reviewer").status().await?.pid == reviewers_cli
    );
    println!("the planner is there: {}", tree.session("planner").is_alive().await);

    let reason = tree.stop().await;
    println!("stopped in good order: {}", matches!(reason, ExitReason::Shutdown));
    Ok(())
}
