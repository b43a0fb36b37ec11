//! Every key whose values may be secret, held against what can be seen of a session: the arguments of its CLI, which every user of
//! the machine can read, and what `Debug` shows.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::key::{Key, Kind, Whose};
use super::{ChildKind, keys, parse};
use crate::session::SessionOptions;
use crate::{Host, Session};

const SECRET: &str = "SEKRET";

/// A value of the key's that holds a secret.
fn value(key: &Key) -> String {
    match key.kind {
        Kind::Text => format!("\"{SECRET}\""),
        Kind::PathOrTable => format!("{{ s = {{ command = \"x\", env = {{ K = \"{SECRET}\" }} }} }}"),
        Kind::Env => format!("{{ K = \"{SECRET}\", C = {{ command = \"echo {SECRET}\" }} }}"),
        Kind::ExtraArgs => format!("{{ a-flag = \"{SECRET}\" }}"),
        kind => panic!("`{}`: write here what a value of the kind {kind:?} looks like", key.name),
    }
}

fn secret_keys() -> impl Iterator<Item = &'static Key> {
    keys::all().filter(|key| key.secret)
}

/// A session with one such key, whose CLI reads and never answers.
fn options(key: &Key, dir: &Path) -> SessionOptions {
    let cli = dir.join("cli");
    if !cli.exists() {
        std::fs::write(&cli, "#!/bin/sh\nwhile read -r _; do :; done\n").expect("written");
        std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let text = format!(
        "[[child]]\nname = \"a\"\ncli_path = {cli:?}\ncwd = {dir:?}\n{} = {}\n",
        key.name,
        value(key)
    );
    let tree = parse(&text, &dir.join("treewarden.toml")).unwrap_or_else(|error| panic!("{error}"));
    let shown = format!("{tree:?}");
    // The option of the tests alone is a plain text.
    assert!(key.name == "rehearsal" || !shown.contains(SECRET), "`{}`: {shown}", key.name);
    match &tree.root.children[0].kind {
        ChildKind::Session(options) => (**options).clone(),
        other => panic!("{other:?} is no session"),
    }
}

/// The arguments of the session's CLI, as the system shows them to everybody.
async fn arguments(session: &Session) -> String {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(pid) = session.status().await.expect("it is there").pid {
            let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // Between its spawn and its execution it is a copy of this program.
            let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
            if text.contains("--output-format") {
                return text;
            }
        }
        assert!(Instant::now() < until, "its CLI does not come up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_os = "linux")]
async fn no_private_value_stands_in_an_argument_of_a_cli_or_in_debug() {
    for key in secret_keys() {
        let dir = tempfile::tempdir().expect("a folder");
        let host = Host::options().state_dir(dir.path().join("state")).open().expect("a host");
        let options = options(key, dir.path());
        assert!(key.name == "rehearsal" || !format!("{options:?}").contains(SECRET), "`{}`", key.name);
        let session = Session::start(options.host(&host)).await.expect("started");
        let turn = session.stream("hello").await.expect("accepted");
        let shown = arguments(&session).await;
        match (key.whose, key.kind) {
            // There is no other way to give a CLI a flag that nobody here knows: the documentation says so.
            (Whose::Cli, Kind::ExtraArgs) => assert!(shown.contains(SECRET), "{shown}"),
            _ => assert!(!shown.contains(SECRET), "`{}`: {shown}", key.name),
        }
        drop(turn);
        session.stop().await.expect("stopped");
    }
}
