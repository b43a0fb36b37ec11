//! A hundred thousand children: started one by one, crashed among, stopped; and the memory that each costs.
//!
//! Each side runs in a process of its own: what one had left free, another would use again.

use std::process::Command;
use std::time::Instant;

use ractor::Actor;
use tokio::sync::mpsc::channel;
use treewarden_otp::supervisor::{ChildSpec, ExitReason, Supervisor};

use crate::bare::{Parent, Trivial};
use crate::crash::{CrashLoop, child};
use crate::figures::Figures;
use crate::runtimes::{on, runtimes};

/// The argument that makes this program one side of the measure.
pub(crate) const SIDE: &str = "--side";

const MANY: usize = 100_000;
const FEW: usize = 10_000;
const CRASHES: usize = 2_000;

pub(crate) fn many(figures: &mut Figures) {
    let program = std::env::current_exe().expect("this program");
    for (name, _) in runtimes() {
        for side in ["bare", "ours"] {
            let output = Command::new(&program).args([SIDE, side, name]).output().expect("this program runs");
            figures.add_printed(&format!("{name} {side}"), &output.stdout);
        }
    }
}

/// Runs one side, and prints its figures as OTP's program does.
pub(crate) fn print(arguments: &mut impl Iterator<Item = String>) {
    let (side, name) = (arguments.next().expect("a side"), arguments.next().expect("a runtime"));
    let mut runtimes = runtimes().into_iter();
    let (_, runtime) = runtimes.find(|(known, _)| *known == name).expect("a runtime that there is");
    if side == "bare" {
        on(&runtime, bare());
    } else {
        on(&runtime, ours());
    }
}

/// Children that are spawned one by one and linked to one parent.
async fn bare() {
    let (parent, parent_task) = Parent::spawn(None, Parent, ()).await.expect("a parent");
    let mut children = Vec::with_capacity(MANY);
    let (before, begin) = (resident(), Instant::now());
    for _ in 0..MANY {
        let spawned = Trivial::spawn_linked(None, Trivial(None), (), parent.get_cell()).await;
        children.push(spawned.expect("a child"));
    }
    print_filled(before, begin).await;
    for (child, task) in children {
        child.stop(None);
        let _ = task.await;
    }
    parent.stop(None);
    let _ = parent_task.await;
}

async fn ours() {
    let supervisor = dynamic().await;
    let (before, begin) = (resident(), Instant::now());
    fill(&supervisor, MANY).await;
    print_filled(before, begin).await;
    println!("siblings_100000 {}", crash_among(&supervisor).await);
    let all = shutdown(supervisor).await;
    println!("shutdown {all}");

    let few = dynamic().await;
    fill(&few, 10).await;
    println!("siblings_10 {}", crash_among(&few).await);
    shutdown(few).await;

    let tenth = dynamic().await;
    fill(&tenth, FEW).await;
    println!("shutdown_linear {}", all / shutdown(tenth).await);
}

async fn dynamic() -> Supervisor {
    let builder = Supervisor::builder().dynamic(None).max_restarts(u32::MAX).max_seconds(3600);
    builder.start().await.expect("ours")
}

async fn fill(supervisor: &Supervisor, count: usize) {
    for _ in 0..count {
        let spec = ChildSpec::actor("child", || (Trivial(None), ()));
        supervisor.start_child(spec).await.expect("a child");
    }
}

/// Prints the children per second, and the memory of each once it has had its turn.
async fn print_filled(before: usize, begin: Instant) {
    println!("start_child {}", MANY as f64 / begin.elapsed().as_secs_f64());
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    println!("memory {}", (resident() - before) / MANY);
}

async fn crash_among(supervisor: &Supervisor) -> f64 {
    let (sender, born) = channel(64);
    supervisor.start_child(child("child", Some(sender))).await.expect("the one that fails");
    CrashLoop::new(born).await.run(CRASHES).await.0
}

/// Stops the supervisor; how long that took, in nanoseconds.
async fn shutdown(supervisor: Supervisor) -> f64 {
    let begin = Instant::now();
    supervisor.stop(ExitReason::Shutdown).await;
    begin.elapsed().as_nanos() as f64
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
