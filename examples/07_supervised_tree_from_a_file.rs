//! Starts a supervised tree of sessions that a file declares.
//!
//! Run with `cargo run -p treewarden-examples --example 07_supervised_tree_from_a_file`. The file is
//! `examples/treewarden.toml`. A session's CLI is killed while it is idle: its supervisor starts the session again,
//! its siblings are not touched, and its conversation goes on.
//!
//! A program that has a `claude` on its PATH writes `Tree::from_file("treewarden.toml")?.start().await?`. This one
//! puts the stand-in into the sessions first.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use treewarden::supervisor::Report;
use treewarden::tree::Outline;
use treewarden::{Tree, config};
use treewarden_examples::Stage;
use treewarden_testkit::faults;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let mut spec = config::load(concat!(env!("CARGO_MANIFEST_DIR"), "/treewarden.toml"))?;
    stage.cast_tree(&mut spec);
    let tree = Tree::builder(spec).state_dir(stage.path().join("tree")).start().await?;
    show(&tree.outline().await, 0);

    println!("{}", tree.session("assistant").query("My name is Alice.").await?);
    println!("{}", tree.session("planner").query("Plan the release.").await?);

    let mut reports = tree.supervisor().subscribe();
    let pid = tree.session("assistant").status()?.pid.expect("its CLI waits for the next turn");
    faults::kill(pid)?;
    loop {
        match reports.next().await?.report {
            Report::Error(context, _, child) => println!("{} {}", context.as_str(), child.id),
            Report::Progress(child) => {
                println!("progress {}", child.id);
                break;
            }
            _ => {}
        }
    }
    println!("{}", tree.session("assistant").query("What is my name?").await?);
    let restarts = |name: &str| anyhow::Ok(tree.session(name).status()?.restarts);
    println!("restarts: assistant {}, planner {}", restarts("assistant")?, restarts("planner")?);

    tree.stop().await;
    Ok(())
}

fn show(node: &Outline, depth: usize) {
    let name = if node.name.is_empty() { "tree" } else { &node.name };
    println!("{:indent$}{name}", "", indent = depth * 2);
    node.children.iter().for_each(|child| show(child, depth + 1));
}
