//! A session whose CLI is slow to end is restarted or removed: nobody else waits for that, and its turns are carried on.
//!
//! A frozen CLI ends when it is killed, seconds after it was asked to. What is to be seen is what others can do before that, so
//! that a round in which the machine was too slow for it says nothing, and is made again.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use treewarden::config::{self, TreeSpec};
use treewarden::session::{Session, SessionState, StartErrorKind};
use treewarden::supervisor::Shutdown;
use treewarden::tree::{NewSessionError, RemoveSessionError, Tree};
use treewarden_end_to_end::{Lab, PATIENCE, end, eventually, fake_cli_path, id_of, nothing_left, reaches};
use treewarden_testkit::faults;

/// A folder for a tree.
struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The tree of a file with these templates; sessions run the fake CLI.
    fn spec(&self, templates: &[(&str, &str)]) -> TreeSpec {
        let (cli, home) = (fake_cli_path(), self.path().join("home"));
        let tables: String = templates
            .iter()
            .map(|(name, lines)| format!("[[template]]\nname = \"{name}\"\n{lines}\n"))
            .collect();
        let text = format!(
            "{tables}\n[defaults]\ncli_path = {cli:?}\ncwd = {:?}\nenv = {{ CLAUDE_CONFIG_DIR = {home:?} }}\n",
            self.path()
        );
        config::parse(&text, &self.path().join("treewarden.toml")).unwrap_or_else(|error| panic!("{error}"))
    }

    async fn start(&self, templates: &[(&str, &str)]) -> Tree {
        let builder = Tree::builder(self.spec(templates)).state_dir(self.path().join("state"));
        builder.start().await.expect("the tree starts")
    }

    async fn apply(&self, tree: &Tree, templates: &[(&str, &str)]) {
        tree.apply(tree.diff(self.spec(templates))).await.expect("it is applied");
    }
}

/// The sessions of each template, in the order of their names.
async fn members(tree: &Tree) -> Vec<String> {
    let outline = tree.outline().await;
    let below = |template: &treewarden::tree::Outline| {
        template.children.iter().map(|child| format!("{}/{}", template.name, child.name)).collect::<Vec<_>>()
    };
    let mut all: Vec<String> = outline.children.iter().flat_map(below).collect();
    all.sort();
    all
}

/// Freezes the CLI of a session, which lives, and returns its process.
async fn freeze(session: &Session) -> u32 {
    let pid = session.status().await.expect("it is there").pid.expect("a CLI lives");
    faults::freeze(pid).expect("frozen");
    pid
}

/// Waits until the CLI is being ended, unless what ends it is over before that was seen.
async fn is_ending<T>(session: &Session, ending: &JoinHandle<T>) {
    let state = async || session.status().await.map(|status| status.state).ok();
    eventually("its CLI is being ended", async || {
        (state().await == Some(SessionState::Stopping) || ending.is_finished()).then_some(())
    })
    .await;
}

/// Whether this CLI is being ended still.
async fn ends_still(session: &Session, pid: u32) -> bool {
    let status = session.status().await.expect("it is there");
    status.state == SessionState::Stopping && status.pid == Some(pid)
}

fn restart(session: &Session) -> JoinHandle<()> {
    let session = session.clone();
    tokio::spawn(async move { session.restart().await.expect("restarted") })
}

#[tokio::test]
async fn nobody_waits_for_the_clis_of_sessions_that_are_restarted() {
    let ground = Ground::new();
    let file = |limit: &'static str| [("chat", limit), ("work", "")];
    let tree = ground.start(&file("max_sessions = 99")).await;
    let mut slow = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let session = tree.new_session("chat", name).await.expect("it is made");
        session.query(format!("My name is {name}")).await.expect("answered");
        slow.push(session);
    }
    tree.new_session("chat", "goes-0").await.expect("it is made");
    let until = Instant::now() + PATIENCE;
    for round in 0.. {
        assert!(Instant::now() < until, "others are served only when the CLIs have ended");
        let (mut pids, mut restarts) = (Vec::new(), Vec::new());
        for session in &slow {
            pids.push(freeze(session).await);
            restarts.push(restart(session));
        }
        for (session, restart) in slow.iter().zip(&restarts) {
            is_ending(session, restart).await;
        }
        tree.new_session("chat", &format!("goes-{}", round + 1)).await.expect("it is made");
        tree.remove_session(&format!("goes-{round}")).await.expect("it is removed");
        tree.new_session("work", &format!("works-{round}")).await.expect("it is made");
        ground
            .apply(&tree, &file(if round % 2 == 0 { "max_sessions = 98" } else { "max_sessions = 97" }))
            .await;
        tree.session(&format!("works-{round}"))
            .restart()
            .await
            .expect("one of another template is restarted");
        let mut all_end_still = true;
        for ((session, pid), restart) in slow.iter().zip(pids).zip(&restarts) {
            all_end_still &= ends_still(session, pid).await && !restart.is_finished();
        }
        for restart in restarts {
            restart.await.expect("no panic");
        }
        for session in &slow {
            let answer = session.query("What is my name?").await.expect("answered");
            assert!(answer.text.contains(session.name()), "{answer}");
        }
        if all_end_still {
            break;
        }
    }
    tree.stop().await;
}

#[tokio::test]
async fn the_turns_of_a_session_that_is_restarted_wait_for_its_next_cli() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let running = session.stream("PROMPT-1 STREAM=20:50").await.expect("opened");
    reaches(&session, SessionState::Busy).await;
    freeze(&session).await;
    let waiting = session.stream("PROMPT-2").await.expect("opened");
    let restart = restart(&session);
    is_ending(&session, &restart).await;
    let asked_meanwhile = session.stream("PROMPT-3").await.expect("it takes turns");
    let cancelled = session.stream("PROMPT-4").await.expect("opened").detach();
    session.cancel(cancelled).await.expect("it waits");
    restart.await.expect("no panic");
    for (turn, prompt) in [(running, "PROMPT-1"), (waiting, "PROMPT-2"), (asked_meanwhile, "PROMPT-3")] {
        let answer = turn.answer().await.expect("answered");
        assert!(answer.text.contains(&format!("answer to {prompt}")), "{answer}");
        assert_eq!(answer.interruptions, 0, "a restart is no crash");
        assert_eq!(lab.times_in_transcript(&id_of(&session).await, prompt), 1);
    }
    let outcome = treewarden_end_to_end::outcome_of(&lab.host, cancelled).await;
    assert_eq!(outcome["outcome"], "cancelled");
    assert_eq!(lab.times_in_transcript(&id_of(&session).await, "PROMPT-4"), 0);
    let status = session.status().await.expect("it is there");
    assert_eq!((status.generation, status.restarts), (2, 0), "no CLI was started in between");
    end(&session).await;
}

#[tokio::test]
async fn a_restart_that_is_called_off_leaves_a_session_that_is_served() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("My name is Alice").await.expect("answered");
    freeze(&session).await;
    let restart = restart(&session);
    is_ending(&session, &restart).await;
    let turn = session.stream("What's my name?").await.expect("opened");
    restart.abort();
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    session.restart().await.expect("it can be restarted as before");
    session.query("hello").await.expect("answered");
    end(&session).await;
}

#[tokio::test]
async fn a_restart_kills_what_does_not_end_in_the_time_that_it_may_take() {
    let lab = Lab::new();
    for shutdown in [Shutdown::Timeout(Duration::from_millis(50)), Shutdown::BrutalKill] {
        let options = lab.options("assistant").shutdown(shutdown);
        let session = Session::start(options).await.expect("started");
        let turn = session.stream("PROMPT-1 STREAM=20:50").await.expect("opened");
        reaches(&session, SessionState::Busy).await;
        freeze(&session).await;
        session.restart().await.expect("restarted");
        let answer = turn.answer().await.expect("answered");
        assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
        let id = id_of(&session).await;
        assert_eq!(lab.times_in_transcript(&id, "PROMPT-1"), 1);
        session.clear().await.expect("a new conversation");
        session.stop().await.expect("stopped");
        nothing_left(&id).await;
    }
}

#[tokio::test]
async fn a_session_that_is_being_removed_is_not_started_and_the_refusal_says_why() {
    let ground = Ground::new();
    let tree = ground.start(&[("chat", "")]).await;
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "the removal was over before it was seen, each time");
        let session = tree.new_session("chat", "alice").await.expect("it is made");
        session.query("My name is Alice").await.expect("answered");
        let pid = freeze(&session).await;
        let removal = tokio::spawn({
            let tree = tree.clone();
            async move { tree.remove_session("alice").await }
        });
        is_ending(&session, &removal).await;
        let refusals = [session.restart().await, session.start_again().await];
        let new = tree.new_session("chat", "alice").await;
        let in_time = session.status().await.is_ok_and(|status| status.pid == Some(pid));
        for refusal in refusals {
            let error = refusal.expect_err("nobody starts it again");
            assert_eq!(error.kind(), StartErrorKind::NoSuchSession, "{error}");
            assert!(!in_time || error.to_string().contains("is being removed"), "{error}");
        }
        removal.await.expect("no panic").expect("it is removed");
        if in_time {
            assert!(matches!(new, Err(NewSessionError::Taken(_))), "its name is its own to the end");
            break;
        }
    }
    assert!(tree.host().session("alice").is_none());
    let again = tree.new_session("chat", "alice").await.expect("it is made again");
    let answer = again.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    tree.stop().await;
}

/// Makes and removes sessions of a few names, and returns how often something was done.
async fn come_and_go(tree: Tree, seed: usize) -> usize {
    let mut done = 0;
    for n in 0..150 {
        let x = (seed * 150 + n) * 2_654_435_761 % 1_000_003;
        let (name, template) = (["a", "b", "c", "d", "e"][x % 5], ["chat", "work"][x / 5 % 2]);
        if (x / 10).is_multiple_of(2) {
            match tree.new_session(template, name).await {
                Ok(_) => done += 1,
                Err(
                    NewSessionError::Taken(_)
                    | NewSessionError::Limit { .. }
                    | NewSessionError::NoSuchTemplate { .. }
                    | NewSessionError::Down(_),
                ) => {}
                Err(error) => panic!("{error}"),
            }
        } else {
            match tree.remove_session(name).await {
                Ok(()) => done += 1,
                // `Declared`: a reload that brings its template back is under way.
                Err(
                    RemoveSessionError::NotFound(_)
                    | RemoveSessionError::Busy(_)
                    | RemoveSessionError::Declared(_),
                ) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_made_removed_and_reloaded_at_once_what_runs_is_what_comes_back() {
    let ground = Ground::new();
    let both = [("chat", "max_sessions = 3"), ("work", "")];
    let tree = ground.start(&both).await;
    let going: Vec<_> = (0..4).map(|seed| tokio::spawn(come_and_go(tree.clone(), seed))).collect();
    for n in 0.. {
        // Another supervision, other options, and a template that goes and comes.
        let file: &[_] = match n % 4 {
            0 => &[("chat", "max_sessions = 3\nrestart = \"transient\""), ("work", "model = \"opus\"")],
            1 => &[("chat", "max_sessions = 3\nmodel = \"opus\"")],
            2 => &[("work", "restart = \"transient\""), ("chat", "max_sessions = 3")],
            _ => &both,
        };
        ground.apply(&tree, file).await;
        tree.restart_supervisor("chat").await.expect("it is restarted");
        assert!(members(&tree).await.iter().filter(|path| path.starts_with("chat/")).count() <= 3);
        if going.iter().all(JoinHandle::is_finished) {
            break;
        }
    }
    let mut done = 0;
    for one in going {
        done += one.await.expect("no panic");
    }
    assert!(done > 0, "nothing was made");
    ground.apply(&tree, &both).await;
    let there = members(&tree).await;
    let mut names: Vec<String> =
        tree.host().sessions().iter().map(|session| session.name.to_string()).collect();
    names.sort();
    let mut of_paths: Vec<&str> = there.iter().filter_map(|path| path.split('/').next_back()).collect();
    of_paths.sort_unstable();
    assert_eq!(names, of_paths, "who has a name is a child, and the other way round");
    tree.stop().await;

    let tree = ground.start(&both).await;
    assert_eq!(members(&tree).await, there, "what runs is what is noted");
    for name in names {
        tree.remove_session(&name).await.expect("it is removed");
    }
    assert_eq!(members(&tree).await, Vec::<String>::new());
    for n in 0..3 {
        tree.new_session("chat", &format!("s{n}")).await.expect("every place is free");
    }
    tree.new_session("chat", "s3").await.expect_err("and no more than that");
    tree.stop().await;
}
