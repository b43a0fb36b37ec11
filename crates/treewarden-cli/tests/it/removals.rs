//! Each file and folder that may be removed under a daemon, at each phase of a turn: what is said, and that no answer is
//! lost or doubled and nobody else can begin.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::Value;

use super::support::{Daemon, World, eventually};

/// What is removed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    StateDir,
    TreeLock,
    Socket,
    SocketLock,
    Database,
    Wal,
    Shm,
    DatabaseLock,
    Commits,
    EarlierLeases,
    Lease,
    ConfigTreewarden,
    Settings,
    HostId,
    Transcript,
    /// The same, and nobody looks before the CLI writes on, and so begins another file.
    TranscriptUnseen,
    SecondName,
    Projects,
}

const ALL: [What; 18] = [
    What::StateDir,
    What::TreeLock,
    What::Socket,
    What::SocketLock,
    What::Database,
    What::Wal,
    What::Shm,
    What::DatabaseLock,
    What::Commits,
    What::EarlierLeases,
    What::Lease,
    What::ConfigTreewarden,
    What::Settings,
    What::HostId,
    What::Transcript,
    What::TranscriptUnseen,
    What::SecondName,
    What::Projects,
];

/// When it is removed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Before,
    Dispatched,
    Answering,
    Tool,
    Result,
    Parked,
}

impl What {
    fn path(self, world: &World, id: &str) -> PathBuf {
        let below = |folder: &str| {
            let projects = fs::read_dir(world.path(folder)).into_iter().flatten().flatten();
            let mut files = projects.map(|project| project.path().join(format!("{id}.jsonl")));
            files.find(|file| file.exists())
        };
        // The daemon looks at the transcript after a turn, and gives it its second name then.
        let below = |folder: &str| eventually(&format!("a transcript below {folder}"), || below(folder));
        world.path(match self {
            Self::StateDir => "state",
            Self::TreeLock => "state/tree.lock",
            Self::Socket => "state/control.sock",
            Self::SocketLock => "state/control.sock.lock",
            Self::Database => "state/treewarden.db",
            Self::Wal => "state/treewarden.db-wal",
            Self::Shm => "state/treewarden.db-shm",
            Self::DatabaseLock => "state/treewarden.db.lock",
            Self::Commits => "state/treewarden.commits",
            Self::EarlierLeases => "state/leases",
            Self::Lease => return world.path(&format!("home/treewarden/leases/{id}.lock")),
            Self::ConfigTreewarden => "home/treewarden",
            Self::Settings => "state/settings",
            Self::HostId => "state/host-id",
            Self::Transcript | Self::TranscriptUnseen => return below("home/projects"),
            Self::SecondName => return below("home/treewarden/transcripts"),
            Self::Projects => "home/projects",
        })
    }

    /// Nothing can be put back, and turns are refused until the daemon is started again.
    fn is_the_end(self) -> bool {
        matches!(self, Self::StateDir | Self::Database | Self::Wal | Self::Shm)
    }

    /// There is nothing to be put back, and nothing to be said: a CLI has read its settings, and a parked session holds no lease.
    fn is_silent(self, phase: Phase) -> bool {
        let is_of_a_cli = matches!(self, Self::EarlierLeases | Self::Lease | Self::ConfigTreewarden);
        // The look at the end of each turn gives a transcript its second name, whether it had one before or not.
        let is_made_after_a_turn = self == Self::SecondName;
        self == Self::Settings
            || (is_of_a_cli && phase == Phase::Parked)
            || (is_made_after_a_turn && !matches!(phase, Phase::Before | Phase::Parked))
    }

    /// What was stored is gone with it.
    fn forgets(self) -> bool {
        matches!(self, Self::StateDir | Self::Database)
    }
}

fn remove(path: &PathBuf) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn look(world: &World, daemon: &Daemon) {
    daemon.signal("-HUP");
    eventually("the socket is there", || UnixStream::connect(world.socket()).ok());
}

/// What was said of it: by the events that tell of nothing else, and by `ps`.
fn said(world: &World) -> Vec<String> {
    let output = world.run(&["events", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut said: Vec<String> = events
        .filter(|event| ["removed", "incomplete", "unsaved"].iter().any(|kind| event["event"] == *kind))
        .map(|event| {
            let mended = if event["mended"] == false { ", not mended" } else { "" };
            format!("{}{mended}: {}", event["event"], event["what"].as_str().unwrap_or_default())
        })
        .collect();
    said.sort();
    said.dedup();
    said
}

#[derive(Debug)]
struct Row {
    said: Vec<String>,
    turn: String,
    next: String,
}

/// Removes it in that phase, and looks at all that must hold.
fn row(what: What, phase: Phase) -> Row {
    let at = format!("{what:?} {phase:?}");
    let world = World::new();
    if phase == Phase::Parked {
        world.rewrite_all("", "idle_timeout = \"200ms\"", "[[child]]\nname = \"a\"\n");
    }
    let mut daemon = world.daemon();
    let first = world.json(&["ask", "a", "My name is Alice", "--json"]);
    let id = first["session_id"].as_str().expect("an id").to_owned();
    if phase == Phase::Parked {
        world.when("a", "parked");
    }
    let pid = world.session("a")["pid"].clone();
    // Its second name is the last thing that a conversation gets.
    What::SecondName.path(&world, &id);
    let remove = || remove(&what.path(&world, &id));
    let ask = |prompt: &str| {
        let output = world.run(&["ask", "a", prompt, "--json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let during = |prompt: &str| {
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(prompt));
            // Where this machine is slow it may be over before that is seen; then all holds as well.
            eventually("the turn runs", || {
                (asking.is_finished() || world.session("a")["state"] == "busy").then_some(())
            });
            if phase != Phase::Dispatched {
                eventually("the tool was called", || world.path("count").exists().then_some(()));
            }
            remove();
            if what != What::TranscriptUnseen {
                look(&world, &daemon);
            }
            asking.join().expect("it ends")
        })
    };
    let prompt = match phase {
        Phase::Dispatched => "PROMPT-1 DELAY=700",
        Phase::Answering => "PROMPT-1 TOOL=1 COUNT=count STREAM=15:50",
        Phase::Tool => "PROMPT-1 TOOL=700 COUNT=count",
        Phase::Before | Phase::Result | Phase::Parked => "PROMPT-1",
    };
    let turn = match phase {
        Phase::Dispatched | Phase::Answering | Phase::Tool => during(prompt),
        Phase::Before | Phase::Parked => {
            remove();
            look(&world, &daemon);
            ask(prompt)
        }
        Phase::Result => {
            let turn = ask(prompt);
            remove();
            turn
        }
    };
    let is_before = matches!(phase, Phase::Before | Phase::Parked);
    let answered = |turn: &Value| {
        (turn["outcome"] == "completed").then(|| turn["text"].as_str().unwrap_or_default().to_owned())
    };
    if is_before && what.is_the_end() {
        assert_eq!(answered(&turn), None, "{at}: acknowledged into nothing: {turn}");
    } else {
        assert_eq!(answered(&turn), Some(format!("answer to {prompt}")), "{at}: {turn}");
        assert_eq!(turn["interruptions"], 0, "{at}: {turn}");
    }
    if phase == Phase::Result && matches!(what, What::StateDir | What::Socket) {
        look(&world, &daemon);
    }
    let next = world.run(&["ask", "a", "what is my name"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&next.stdout), String::from_utf8_lossy(&next.stderr));
    if what.is_the_end() {
        assert_eq!(next.status.code(), Some(8), "{at}: {stdout}{stderr}");
        assert!(stderr.contains("start it again"), "{at}: it says what to do: {stderr}");
    } else {
        assert_eq!(stdout.trim(), "Your name is Alice.", "{at}: {stderr}");
    }
    let second = world.command(&["run", "--state-dir", "state", "--socket", "other.sock"]);
    let second = { second }.env_remove("TREEWARDEN_SOCKET").output().expect("it runs");
    assert_eq!(second.status.code(), Some(6), "{at}: {}", String::from_utf8_lossy(&second.stderr));
    if phase != Phase::Parked {
        let session = world.session("a");
        assert_eq!(
            (&session["pid"], &session["restarts"]),
            (&pid, &0.into()),
            "{at}: its CLI was left alone"
        );
        refuses_another_state_directory(&world, &id, &at);
    }
    look(&world, &daemon);
    let said = eventually(&format!("{at}: it is said"), || {
        Some(said(&world)).filter(|said| !said.is_empty() || what.is_silent(phase))
    });
    if what.is_the_end() {
        let ps = world.run(&["ps"]);
        assert!(String::from_utf8_lossy(&ps.stdout).contains("no turn is taken"), "{at}: {ps:?}");
    }
    comes_back(&world, &mut daemon, (what, &id), &at, answered(&turn).map(|text| (turn, text)));
    let later = fs::read_to_string(world.path("log")).expect("there is one");
    // Not by what was said above, since that may come later than the first word of it. On a slow machine the daemon is killed
    // before it said so, and the next one joins the two all the same.
    if later.contains("which began another") {
        assert!(later.contains("was put together again from"), "{at}");
    }
    let of = |text: &str| text.replace(&world.path("").display().to_string(), "").trim().to_owned();
    Row {
        said: said.iter().map(|line| of(line)).collect(),
        turn: if is_before && what.is_the_end() { "refused".into() } else { "answered once".into() },
        next: if what.is_the_end() { of(&stderr) } else { "answered".into() },
    }
}

/// A daemon on another state directory that would carry the conversation on.
fn refuses_another_state_directory(world: &World, id: &str, at: &str) {
    let text = fs::read_to_string(world.path("treewarden.toml")).expect("it is there");
    let (head, _) = text.split_once("[[child]]").expect("it has children");
    let text = format!("{head}[[child]]\nname = \"two\"\nresume = \"{id}\"\n");
    fs::write(world.path("two.toml"), text).expect("written");
    let mut second = world.start(&["run", "two.toml", "--state-dir", "two"]);
    let socket = world.path("two/control.sock");
    eventually("the second listens", || UnixStream::connect(&socket).ok());
    let output = world.command(&["ask", "two", "PROMPT-2"]).env("TREEWARDEN_SOCKET", &socket).output();
    let stderr = String::from_utf8_lossy(&output.expect("it runs").stderr).into_owned();
    assert!(stderr.contains("is held by"), "{at}: {stderr}");
    second.signal("-TERM");
    second.wait();
}

/// After the worst end of the daemon the next one knows all that it acknowledged, or says that it is lost.
fn comes_back(
    world: &World,
    daemon: &mut Daemon,
    (what, id): (What, &str),
    at: &str,
    turn: Option<(Value, String)>,
) {
    daemon.signal("-KILL");
    daemon.wait();
    world.nothing_is_left();
    let mut next = world.daemon();
    if what.forgets() {
        is_lost_until_it_is_adopted(world, id, at);
    } else if let Some((turn, text)) = turn {
        let id = turn["turn"].as_str().expect("a turn has an id");
        // What was told with `stored: false` is open after a kill, and is found in the conversation.
        let wait = (turn["stored"] == false).then_some("--wait");
        let again = world.json(&["turn", id, "--json"].into_iter().chain(wait).collect::<Vec<_>>());
        assert_eq!(again["text"], text.as_str(), "{at}: an answer is lost: {again}");
    }
    if let Ok(calls) = fs::read_to_string(world.path("count")) {
        assert_eq!(calls.lines().count(), 1, "{at}: the tool ran once");
    }
    let answer = world.json_of(&["ask", "a", "what is my name", "--json"]);
    assert_eq!(answer["outcome"], "completed", "{at}: {answer}");
    assert_eq!(answer["text"], "Your name is Alice.", "{at}: the conversation is lost: {answer}");
    assert_eq!(answer["session_id"], id, "{at}: another conversation: {answer}");
    next.signal("-TERM");
    assert_eq!(next.wait(), Some(0), "{at}: {}", world.log());
    world.nothing_is_left();
}

/// What is left of the directory is not taken for one that nobody has used: no name begins blank without a word.
fn is_lost_until_it_is_adopted(world: &World, id: &str, at: &str) {
    let refused = world.run(&["ask", "a", "what is my name"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{at}: {refused:?}");
    for words in ["the conversation of a is lost", "treewarden adopt a", "treewarden clear a"] {
        assert!(said.contains(words), "{at}: what happened, and what to do: {said}");
    }
    let lost = world.session("a")["lost"].to_string();
    assert!(lost.contains("the state database that held its record was removed"), "{at}: {lost}");
    let adopted = world.run(&["adopt", "a", id]);
    assert!(adopted.status.success(), "{at}: {adopted:?}");
    assert_eq!(world.session("a")["lost"], Value::Null, "{at}");
}

/// Every file is tried, and what failed is told at the end.
#[expect(clippy::print_stdout, reason = "what was said is the point")]
fn table(phase: Phase) {
    let (next, done) = (Mutex::new(ALL.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(what) = next.lock().expect("no panic").next() else { return };
                    let tried = std::panic::catch_unwind(|| row(*what, phase));
                    done.lock().expect("no panic").push((*what, tried.ok()));
                }
            });
        }
    });
    let mut failed = Vec::new();
    println!("| removed | phase | that turn | said | the next turn |");
    for (what, row) in done.into_inner().expect("no panic") {
        match row {
            Some(Row { said, turn, next }) => {
                println!("| {what:?} | {phase:?} | {turn} | {} | {next} |", said.join("; "));
            }
            None => failed.push(what),
        }
    }
    assert!(failed.is_empty(), "{phase:?}: {failed:?}");
}

#[test]
fn whatever_is_removed_before_a_prompt_is_said_and_no_answer_is_lost_or_doubled() {
    table(Phase::Before);
}

#[test]
fn whatever_is_removed_after_a_prompt_was_sent_is_said_and_no_answer_is_lost_or_doubled() {
    table(Phase::Dispatched);
}

#[test]
fn whatever_is_removed_while_an_answer_is_made_is_said_and_no_answer_is_lost_or_doubled() {
    table(Phase::Answering);
}

#[test]
fn whatever_is_removed_while_a_tool_runs_is_said_and_no_answer_is_lost_or_doubled() {
    table(Phase::Tool);
}

#[test]
fn whatever_is_removed_right_after_a_result_is_said_and_no_answer_is_lost_or_doubled() {
    table(Phase::Result);
}

#[test]
fn whatever_is_removed_while_a_session_is_parked_is_said_and_no_answer_is_lost_or_doubled() {
    table(Phase::Parked);
}
