//! Starts a supervised tree of sessions that a file declares.
//!
//! Run with `cargo run -p treewarden-examples --example 07_supervised_tree_from_a_file`. The file is
//! `examples/treewarden.toml`. A session's CLI is killed while it is idle: its supervisor starts the session again,
//! its siblings are not touched, and its conversation goes on.
//!
//! A program that has a `claude` on its PATH writes `Tree::from_file("treewarden.toml")?.start().await?`. This one
//! puts the stand-in into the sessions first.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use treewarden::events::{Happening, SupervisionContext};
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

    let mut events = tree.events().now();
    let pid = tree.session("assistant").status().await?.pid.expect("its CLI waits for the next turn");
    faults::kill(pid)?;
    while let Some(event) = events.next().await {
        let Happening::Supervision { context, child: Some(child), .. } = &event?.what else { continue };
        println!("{} {child}", context.as_str());
        if *context == SupervisionContext::Progress {
            break;
        }
    }
    println!("{}", tree.session("assistant").query("What is my name?").await?);
    let restarts = async |name: &str| anyhow::Ok(tree.session(name).status().await?.restarts);
    println!("restarts: assistant {}, planner {}", restarts("assistant").await?, restarts("planner").await?);

    tree.stop().await;
    Ok(())
}

fn show(node: &Outline, depth: usize) {
    let name = if node.name.is_empty() { "tree" } else { &node.name };
    println!("{:indent$}{name}", "", indent = depth * 2);
    node.children.iter().for_each(|child| show(child, depth + 1));
}
