//! CLIs that are started ahead: taken once, by whom they fit, never dead, and gone when nobody is left to want them.

use std::time::{Duration, Instant};

use treewarden::session::{Event, SessionState};
use treewarden::{Host, Session, SessionOptions, Tree};
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{Lab, end, eventually, id_of, reaches};
use treewarden_testkit::faults;

async fn start(options: SessionOptions) -> Session {
    Session::start(options).await.expect("started")
}

async fn ready(host: &Host, wanted: usize) {
    let full = async || {
        let warm = host.warm();
        (warm.ready == wanted && warm.wanted == wanted).then_some(())
    };
    eventually("the pool is full", full).await;
}

async fn pid_of(session: &Session) -> u32 {
    session.status().await.expect("status").pid.expect("its CLI lives")
}

async fn restarts(session: &Session) -> u64 {
    session.status().await.expect("status").restarts
}

/// The one CLI that runs in the lab.
fn only(lab: &Lab) -> (u32, String) {
    let clis = lab.clis();
    let [cli] = &clis[..] else { panic!("one CLI runs: {clis:?}") };
    cli.clone()
}

/// Kills a process, and waits until it is dead, whether or not it was reaped.
async fn kill(pid: u32) {
    faults::kill(pid).expect("it can be killed");
    let dead = async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        // The first thread may be gone before the others: then nobody can be told yet that the process is.
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        (matches!(state, None | Some('Z' | 'X')) && threads <= 1).then_some(())
    };
    eventually("it is dead", dead).await;
}

/// Stops the sessions and drops the host, and waits until the CLIs are gone.
async fn leave(lab: Lab, sessions: impl IntoIterator<Item = Session>) {
    for session in sessions {
        end(&session).await;
    }
    lab.reopen().empty().await;
}

#[tokio::test]
async fn the_first_turn_of_a_session_takes_a_warm_cli_and_spawns_nothing() {
    let lab = Lab::new();
    let session = start(lab.options("a").warm(1)).await;
    ready(&lab.host, 1).await;
    let (pid, id) = only(&lab);
    let answer = session.query("PROMPT-1").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!((pid_of(&session).await, id_of(&session).await), (pid, id.clone()));
    assert_eq!(lab.times_in_transcript(&id, "PROMPT-1"), 1);
    let status = session.status().await.expect("status");
    assert_eq!((status.generation, status.restarts), (1, 0));
    ready(&lab.host, 1).await;
    assert_eq!(lab.clis().len(), 2, "the one that was taken is replaced");
    session.query("PROMPT-2").await.expect("answered");
    assert_eq!(pid_of(&session).await, pid, "the same CLI goes on");
    leave(lab, [session]).await;
}

#[tokio::test]
async fn a_warm_cli_is_taken_once() {
    let lab = Lab::new();
    let sessions = [start(lab.options("a").warm(1)).await, start(lab.options("b").warm(1)).await];
    ready(&lab.host, 1).await;
    let (warm, _) = only(&lab);
    let (one, two) = tokio::join!(sessions[0].query("PROMPT-1"), sessions[1].query("PROMPT-2"));
    assert!(one.expect("answered").text.contains("PROMPT-1"));
    assert!(two.expect("answered").text.contains("PROMPT-2"));
    let statuses: Vec<_> = lab.host.sessions();
    let taken = statuses.iter().filter(|status| status.pid == Some(warm)).count();
    assert_eq!(taken, 1);
    assert_ne!(id_of(&sessions[0]).await, id_of(&sessions[1]).await);
    assert!(statuses.iter().all(|status| status.restarts == 0));
    leave(lab, sessions).await;
}

#[tokio::test]
async fn a_warm_cli_that_died_is_not_handed_out_and_is_replaced() {
    let lab = Lab::new();
    let session = start(lab.options("a").warm(1)).await;
    for turn in 1..=5 {
        ready(&lab.host, 1).await;
        let clis = lab.clis();
        let mine = session.status().await.expect("status").pid;
        let (warm, _) = clis.iter().find(|(pid, _)| Some(*pid) != mine).expect("one is warm");
        kill(*warm).await;
        let answer = session.query(format!("PROMPT-{turn}")).await.expect("answered");
        assert!(answer.text.contains(&format!("answer to PROMPT-{turn}")), "{answer}");
        let status = session.status().await.expect("status");
        assert_eq!(answer.interruptions, 0, "turn {turn}: {status:?} {mine:?} {clis:?}");
        assert_ne!(pid_of(&session).await, *warm);
        assert_eq!(status.restarts, 0, "a CLI that nobody had costs nobody a restart: {status:?}");
        session.clear().await.expect("cleared");
    }
    leave(lab, [session]).await;
}

#[tokio::test]
async fn a_warm_cli_that_refuses_to_initialize_is_thrown_away_and_costs_no_turn() {
    let lab = Lab::new();
    let script = lab.path().join("script");
    let write = |text: &str| std::fs::write(&script, text).expect("it can be written");
    write(r#"{"start":"DELAY=200 REFUSE_INITIALIZE=not-yet"}"#);
    let session = start(lab.scripted("a", script.to_str().expect("a plain path")).warm(1)).await;
    let (pid, _) = eventually("one comes up", async || lab.clis().first().cloned()).await;
    eventually("it is gone", async || lab.clis().iter().all(|(other, _)| *other != pid).then_some(())).await;
    write("{}");
    ready(&lab.host, 1).await;
    let answer = session.query("PROMPT-1").await.expect("answered by the one that came after it");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(restarts(&session).await, 0);
    leave(lab, [session]).await;
}

#[tokio::test]
async fn a_cli_that_dies_between_its_taking_and_the_first_prompt_costs_no_turn() {
    let lab = Lab::new();
    let options = lab.scripted("a", r#"{"start":"DELAY=700"}"#).warm(1);
    let session = start(options).await;
    let coming = async || (lab.host.warm().starting == 1).then(|| lab.clis().first().cloned()).flatten();
    let (pid, id) = eventually("a CLI comes up", coming).await;
    let turn = session.stream("PROMPT-1").await.expect("opened");
    eventually("it is taken", async || (session.status().await.ok()?.pid == Some(pid)).then_some(())).await;
    assert_eq!(
        session.status().await.expect("status").state,
        SessionState::Starting,
        "nothing is written yet"
    );
    kill(pid).await;
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!((restarts(&session).await, id_of(&session).await), (0, id.clone()), "it was not up yet");
    assert_ne!(pid_of(&session).await, pid);
    assert_eq!(lab.times_in_transcript(&id, "PROMPT-1"), 1);
    leave(lab, [session]).await;
}

#[tokio::test]
async fn a_warm_cli_that_dies_with_its_first_prompt_unread_costs_no_turn() {
    let lab = Lab::new();
    let session = start(lab.options("a").warm(1)).await;
    ready(&lab.host, 1).await;
    let (pid, id) = only(&lab);
    faults::freeze(pid).expect("it can be frozen");
    let turn = session.stream("PROMPT-1").await.expect("opened");
    reaches(&session, SessionState::Busy).await;
    assert_eq!(pid_of(&session).await, pid);
    kill(pid).await;
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!((answer.interruptions, restarts(&session).await, id_of(&session).await), (1, 1, id.clone()));
    assert_eq!(lab.times_in_transcript(&id, "PROMPT-1"), 1);
    leave(lab, [session]).await;
}

#[tokio::test]
async fn a_session_takes_no_cli_that_was_started_otherwise() {
    let lab = Lab::new();
    let model =
        |name: &str, model: &str| SessionOptions::from(lab.spec(name).model(model)).host(&lab.host).warm(1);
    let sessions = [start(model("a", "opus")).await, start(model("b", "haiku")).await];
    ready(&lab.host, 2).await;
    for (session, model) in sessions.iter().zip(["opus", "haiku"]) {
        session.query("PROMPT-1").await.expect("answered");
        let args =
            std::fs::read_to_string(format!("/proc/{}/cmdline", pid_of(session).await)).expect("it lives");
        assert!(args.contains(&format!("--model={model}")), "{args:?}");
    }
    let other = start(lab.options("c")).await;
    ready(&lab.host, 2).await;
    let before = lab.clis();
    other.query("PROMPT-1").await.expect("answered");
    let own = pid_of(&other).await;
    assert!(before.iter().all(|(pid, _)| *pid != own), "it asked for none, and gets none");
    end(&other).await;
    drop(other);
    leave(lab, sessions).await;
}

#[tokio::test]
async fn the_first_turn_after_a_clear_takes_a_warm_cli() {
    let lab = Lab::new();
    let session = start(lab.options("a").warm(1)).await;
    session.query("My name is Alice").await.expect("answered");
    let first = id_of(&session).await;
    ready(&lab.host, 1).await;
    let clis = lab.clis();
    let (warm, id) = clis.iter().find(|(_, id)| *id != first).expect("one is warm");
    session.clear().await.expect("cleared");
    assert_eq!(id_of(&session).await, *id);
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(!answer.text.contains("Alice"), "{answer}");
    assert_eq!((pid_of(&session).await, id_of(&session).await), (*warm, id.clone()));
    leave(lab, [session]).await;
}

#[tokio::test]
async fn a_session_that_carries_a_conversation_on_takes_no_warm_cli() {
    let lab = Lab::new();
    let session = start(lab.options("a").warm(1)).await;
    session.query("My name is Alice").await.expect("answered");
    let id = id_of(&session).await;
    end(&session).await;
    drop(session);
    let session = start(lab.options("a").warm(1)).await;
    ready(&lab.host, 1).await;
    let warm = lab.clis();
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(id_of(&session).await, id);
    let own = pid_of(&session).await;
    assert!(warm.iter().all(|(pid, _)| *pid != own));
    leave(lab, [session]).await;
}

#[tokio::test]
async fn a_warm_cli_gives_its_place_to_a_session_and_takes_none_from_one() {
    let lab = Lab::new();
    let host = Host::options().state_dir(lab.path().join("crowded")).max_live(1).open().expect("a host");
    let keeper = start(lab.options("keeper").host(&host).warm(1)).await;
    ready(&host, 1).await;
    let (warm, _) = only(&lab);
    let other = start(lab.options("other").host(&host)).await;
    let turn = other.stream("PROMPT-1 STREAM=30:100").await.expect("opened");
    reaches(&other, SessionState::Busy).await;
    assert_eq!(only(&lab).0, pid_of(&other).await, "the warm one is gone before the other is there");
    assert_ne!(pid_of(&other).await, warm);
    let pid = pid_of(&other).await;
    assert!(turn.answer().await.expect("answered").text.contains("answer to PROMPT-1"));
    assert_eq!(pid_of(&other).await, pid, "an idle session is not parked for a pool");
    assert_eq!((host.warm().ready, host.warm().wanted), (0, 1));
    keeper.query("PROMPT-2").await.expect("answered");
    end(&keeper).await;
    end(&other).await;
    ready_or_unwanted(&host).await;
    drop((keeper, other, host));
    lab.empty().await;
}

/// Waits until nothing of a pool is under way that nobody wants.
async fn ready_or_unwanted(host: &Host) {
    eventually("nothing is wanted", async || (host.warm().wanted == 0).then_some(())).await;
}

#[tokio::test]
async fn a_session_waits_for_no_other_sessions_promised_cli() {
    let lab = Lab::new();
    let host = Host::options().state_dir(lab.path().join("crowded")).max_live(1).open().expect("a host");
    let idle = start(lab.options("idle").host(&host).warm(1)).await;
    ready(&host, 1).await;
    // A clear gives it an id, and so a promise, and no turn that would take it.
    idle.clear().await.expect("cleared");
    let (_, promised) = only(&lab);
    assert_eq!(id_of(&idle).await, promised);
    let other = start(lab.options("other").host(&host)).await;
    other.query("PROMPT-1").await.expect("answered, in the place of the promised one");
    idle.query("PROMPT-2").await.expect("answered, by a CLI of its own");
    assert_eq!(id_of(&idle).await, promised, "the id stays");
    end(&idle).await;
    end(&other).await;
    drop((idle, other, host));
    lab.empty().await;
}

#[tokio::test]
async fn a_warm_cli_that_is_too_old_is_replaced() {
    let lab = Lab::new();
    let options = Host::options().state_dir(lab.path().join("young")).warm_age(Duration::from_millis(300));
    let host = options.open().expect("a host");
    let session = start(lab.options("a").host(&host).warm(1)).await;
    ready(&host, 1).await;
    let (old, id) = only(&lab);
    eventually("it is replaced", async || lab.clis().iter().any(|(pid, _)| *pid != old).then_some(())).await;
    assert!(lab.clis().iter().all(|(pid, _)| *pid != old), "it is gone before the next one comes");
    let lease = host.state_dir().join("leases").join(format!("{id}.lock"));
    assert!(!lease.exists(), "nothing is left of an id that was never used");
    session.query("PROMPT-1").await.expect("answered");
    end(&session).await;
    drop((session, host));
    lab.empty().await;
}

#[tokio::test]
async fn a_session_that_is_stopped_before_its_first_turn_leaves_no_cli_under_its_id() {
    let lab = Lab::new();
    let session = start(lab.options("a").warm(1)).await;
    ready(&lab.host, 1).await;
    session.clear().await.expect("cleared");
    assert_eq!(id_of(&session).await, only(&lab).1, "it was promised to this session");
    leave(lab, [session]).await;
}

#[tokio::test]
async fn no_warm_cli_outlives_its_tree() {
    let lab = Lab::new();
    let file = lab.path().join("treewarden.toml");
    let text = format!(
        "[defaults]\nwarm = 2\ncli_path = {:?}\ncwd = \"work\"\nenv = {{ HOME = {:?}, CLAUDE_CONFIG_DIR = {:?} }}\n\
         [[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n",
        treewarden_end_to_end::fake_cli_path(),
        lab.path(),
        lab.path().join("claude"),
    );
    std::fs::write(&file, text).expect("a file can be written");
    let builder = Tree::from_file(&file).expect("a valid file").state_dir(lab.path().join("tree"));
    let tree = builder.start().await.expect("started");
    ready(tree.host(), 2).await;
    assert_eq!(lab.clis().len(), 2, "sessions that are started alike share a pool");
    tree.session("a").query("PROMPT-1").await.expect("answered");
    tree.stop().await;
    assert_eq!(lab.clis(), [], "gone when the stop says so");
    assert_eq!(tree.host().warm().ready, 0);
}

#[tokio::test]
async fn a_pool_whose_clis_cannot_start_keeps_nobody_from_starting() {
    let lab = Lab::new();
    let session = start(lab.scripted("a", r#"{"start":"CRASH=spawn"}"#).warm(3)).await;
    eventually("the pool tries", async || (lab.host.warm().starting > 0).then_some(())).await;
    session.stop().await.expect("stopped");
    drop(session);
    let session = start(lab.options("b").warm(1)).await;
    session.query("PROMPT-1").await.expect("answered");
    assert_eq!(restarts(&session).await, 0);
    leave(lab, [session]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_cli_answers_a_first_turn_that_found_it_warm_and_survives_a_kill_in_it() {
    let Some(real) = RealLab::new().await else { return };
    let spec = real.spec("a").include_partial_messages(true).system_prompt("You are warm");
    let session = start(real.of(spec).warm(1)).await;
    ready(&real.lab.host, 1).await;
    let (warm, id) = only(&real.lab);
    let mut turn = session.stream("PROMPT-1 STREAM=40:50").await.expect("opened");
    while let Some(event) = turn.next().await {
        if matches!(&event, Event::Frame(frame) if frame.text_delta().is_some()) {
            break;
        }
    }
    assert_eq!((pid_of(&session).await, id_of(&session).await), (warm, id.clone()));
    kill(warm).await;
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!((answer.interruptions, restarts(&session).await), (1, 1));
    session.query("PROMPT-2").await.expect("answered");
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-1", "PROMPT-2"]);
    assert_eq!(id_of(&session).await, id);
    leave(real.lab, [session]).await;
}

/// A first turn of the real CLI, cold and warm: from the call to the first text and to the answer.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement; it prints a table"]
async fn measure() {
    let Some(real) = RealLab::new().await else { return };
    for (what, warm) in [("cold", 0), ("warm", 1)] {
        let (mut first, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..12 {
            // Each is a session of its own.
            let mut spec = real.spec("a").include_partial_messages(true);
            spec.name = None;
            let session = start(real.of(spec).warm(warm)).await;
            ready(&real.lab.host, warm).await;
            let began = Instant::now();
            let mut turn = session.stream("PROMPT-1").await.expect("opened");
            let mut seen = None;
            while let Some(event) = turn.next().await {
                if matches!(&event, Event::Frame(frame) if frame.text_delta().is_some()) {
                    seen.get_or_insert_with(|| began.elapsed());
                }
            }
            whole.push(began.elapsed());
            first.push(seen.expect("text came"));
            end(&session).await;
        }
        for (of, times) in [("first text", &mut first), ("answer", &mut whole)] {
            times.sort();
            let ms = |at: usize| times[at].as_millis();
            println!(
                "{what} {of}: median {} ms, {} to {} ms",
                ms(times.len() / 2),
                ms(0),
                ms(times.len() - 1)
            );
        }
    }
    leave(real.lab, []).await;
}
