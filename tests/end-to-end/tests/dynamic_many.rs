//! Many sessions that are made of a template, used once and removed: nothing is left of them but their conversations, each with its
//! record, its transcript and its leases.

#![expect(clippy::print_stdout, reason = "the figures are what the run is for")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use treewarden::tree::Tree;
use treewarden_end_to_end::fleet::{children, heap, memory};
use treewarden_end_to_end::{eventually, fake_cli_path};

/// So many are used at once.
const AT_ONCE: usize = 8;

/// What this process has of the system.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    names: usize,
    children_of_the_tree: usize,
    files: BTreeSet<String>,
    descriptors: usize,
    children: usize,
    cgroups: usize,
    tasks: usize,
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The files below a folder, without the number of the journal's segment, which goes up, and the leases, of which each
/// conversation has one: they stay with it.
fn files(dir: &Path, below: &str, found: &mut BTreeSet<String>) {
    for name in entries(dir) {
        let path = dir.join(&name);
        let shown = format!("{below}/{}", name.replace(|c: char| c.is_ascii_digit(), ""));
        if path.is_dir() && name != "leases" {
            files(&path, &shown, found);
        }
        found.insert(shown);
    }
}

/// The cgroups that this process made for its sessions.
fn cgroups() -> usize {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let id = std::process::id().to_string();
    let dir = Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/'));
    let is_ours = |name: &&String| {
        name.starts_with("treewarden-") && name.split(['-', '.', '_']).any(|part| part == id)
    };
    entries(&dir).iter().filter(is_ours).count()
}

async fn holdings(tree: &Tree) -> Holdings {
    let mut below = BTreeSet::new();
    files(tree.host().state_dir(), "", &mut below);
    let outline = tree.outline().await;
    Holdings {
        names: tree.host().sessions().len(),
        children_of_the_tree: outline.children.iter().map(|child| child.children.len()).sum(),
        files: below,
        descriptors: entries(Path::new("/proc/self/fd")).len(),
        children: children(),
        cgroups: cgroups(),
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
    }
}

/// Makes sessions of these numbers, asks each once, and removes them; so many at a time.
async fn come_and_go(tree: &Tree, from: usize, count: usize) {
    for batch in (from..from + count).collect::<Vec<_>>().chunks(AT_ONCE) {
        let of_batch: Vec<_> = batch
            .iter()
            .map(|n| {
                let (tree, name) = (tree.clone(), format!("user-{n}"));
                tokio::spawn(async move {
                    let session = tree.new_session("chat", &name).await.expect("it is made");
                    let answer = session.query("hello").await.expect("answered");
                    assert!(answer.text.contains("hello"), "{answer}");
                    tree.remove_session(&name).await.expect("it is removed");
                })
            })
            .collect();
        for one in of_batch {
            one.await.expect("it does not panic");
        }
    }
}

/// Lets so many sessions come and go, and checks that nothing is left of them.
async fn nothing_is_left(count: usize) {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let (cli, home) = (fake_cli_path(), dir.path().join("home"));
    let file = format!(
        "[[template]]\nname = \"chat\"\nmax_sessions = {AT_ONCE}\nremove_idle = \"1h\"\n[defaults]\ncli_path = {cli:?}\ncwd = \
         {:?}\nenv = {{ CLAUDE_CONFIG_DIR = {home:?} }}\n",
        dir.path()
    );
    let path = dir.path().join("treewarden.toml");
    std::fs::write(&path, file).expect("a file can be written");
    let builder = Tree::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
    let tree = builder.state_dir(dir.path().join("state")).start().await.expect("the tree starts");
    // What is made once for all sessions is there after the first ones.
    come_and_go(&tree, 0, 2 * AT_ONCE).await;
    let mut before = holdings(&tree).await;
    for _ in 0..200 {
        // A task may be on its last steps.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let now = holdings(&tree).await;
        if now == before {
            break;
        }
        before = now;
    }
    let (rss, allocated) = (memory(), heap());
    let began = Instant::now();
    come_and_go(&tree, 2 * AT_ONCE, count).await;
    let took = began.elapsed();
    assert_eq!((before.names, before.children_of_the_tree, before.children), (0, 0, 0), "{before:?}");
    let until = Instant::now() + treewarden_end_to_end::PATIENCE;
    loop {
        let now = holdings(&tree).await;
        if now.tasks <= before.tasks && (Holdings { tasks: before.tasks, ..now }) == before {
            break;
        }
        assert!(Instant::now() < until, "{:?} was {before:?}", holdings(&tree).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let leases = entries(&tree.host().state_dir().join("leases")).len();
    assert_eq!(leases, 2 * AT_ONCE + count, "a conversation has one lease");
    println!(
        "{count} sessions came and went in {took:.1?}; memory {rss} KiB before, {} KiB after; allocated {allocated:?} KiB \
         before, {:?} KiB after",
        memory(),
        heap()
    );
    tree.stop().await;
    eventually("no process is left", async || (children() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_hundred_sessions_that_came_and_went() {
    nothing_is_left(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long: `just soak-dynamic`"]
async fn soak_nothing_is_left_of_thousands_of_sessions_that_came_and_went() {
    let count = std::env::var("TREEWARDEN_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    nothing_is_left(count).await;
}
