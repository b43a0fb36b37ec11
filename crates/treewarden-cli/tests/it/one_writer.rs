//! Whole daemons that come by one conversation, from wherever: the second is refused in words, and the first goes on.
#![cfg(target_os = "linux")]

use serde_json::Value;

use super::hosts::{AS_NOBODY, EARLIER_TIMES, OTHER_IDS, OTHER_TIMES, Shared, Site, can_have, machine};
use super::support::eventually;

type Words = &'static [&'static str];

/// What a daemon was told about a turn that did not come to its answer.
#[track_caller]
fn refusal(site: &Site, prompt: &str) -> String {
    let output = site.run(&["ask", "b", prompt]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it is answered: {}", String::from_utf8_lossy(&output.stdout));
    said
}

/// The second daemon comes while a turn of the first one runs.
fn scene(first: Words, second: Words, named: &[&str]) -> (Shared, Site) {
    let shared = Shared::new();
    let one = shared.daemon("a", first, "");
    assert_eq!(one.json(&["ask", "a", "My name is Alice", "--json"])["outcome"], "completed");
    let before = one.session();
    let id = before["session_id"].as_str().expect("an id").to_owned();
    let detached = one.run(&["ask", "a", "PROMPT-1 STREAM=200:50", "--detach"]);
    let turn = String::from_utf8_lossy(&detached.stdout).trim().to_owned();
    eventually("the turn runs", || (one.session()["state"] == "busy").then_some(()));
    let two = shared.daemon("b", second, &format!("resume = \"{id}\""));
    let said = refusal(&two, "PROMPT-2");
    let pid = format!("process {}", one.own_pid());
    let named = if named.is_empty() { vec!["is held by", "a of ", &pid] } else { named.to_vec() };
    assert!(named.iter().all(|name| said.contains(name)), "{named:?}: {said}");
    assert_eq!(one.session()["state"], "busy", "the turn was to run on while the second came");
    let settled = one.json(&["turn", &turn, "--wait", "--json"]);
    assert_eq!(
        (&settled["outcome"], &settled["interruptions"]),
        (&"completed".into(), &0.into()),
        "{settled}"
    );
    assert_eq!(one.json(&["ask", "a", "What is my name?", "--json"])["text"], "Your name is Alice.");
    let after = one.session();
    assert_eq!((&after["pid"], &after["restarts"]), (&before["pid"], &0.into()), "its CLI was left alone");
    assert_eq!(shared.context(&id), ["My name is Alice", "PROMPT-1 STREAM=200:50", "What is my name?"]);
    assert_eq!(shared.prompts(&id).len(), 3);
    one.end("-TERM");
    (shared, two)
}

/// When the first one is gone, the second has the whole conversation.
fn scene_of_one_user(first: Words, second: Words) {
    if !can_have(&[first, second]) {
        return;
    }
    let (machine, user) = (machine(), format!("of user {}", rustix::process::geteuid().as_raw()));
    let is_far = (first == OTHER_IDS) != (second == OTHER_IDS);
    let pid = if first == OTHER_IDS { "a of process 1 " } else { "a of process " };
    let container = if is_far { "(as another container counts)" } else { "" };
    let (_shared, two) = scene(first, second, &["is held by", pid, container, &user, &machine, "state-a"]);
    let answer = two.json(&["ask", "b", "What is my name?", "--json"]);
    assert_eq!(answer["text"], "Your name is Alice.", "{answer}");
    two.end("-TERM");
}

#[test]
fn a_second_state_directory_is_refused_while_a_turn_runs_and_has_the_conversation_afterwards() {
    let (_shared, two) = scene(&[], &[], &[]);
    assert_eq!(two.json(&["ask", "b", "What is my name?", "--json"])["text"], "Your name is Alice.");
}

#[test]
fn a_daemon_that_counts_processes_otherwise_is_refused_by_one_that_does_not() {
    scene_of_one_user(&[], OTHER_IDS);
}

#[test]
fn a_daemon_is_refused_by_one_that_counts_processes_otherwise() {
    scene_of_one_user(OTHER_IDS, &[]);
}

#[test]
fn a_daemon_that_counts_time_otherwise_is_refused_by_one_that_does_not() {
    scene_of_one_user(&[], OTHER_TIMES);
}

#[test]
fn a_daemon_is_refused_by_one_that_counts_time_otherwise() {
    scene_of_one_user(OTHER_TIMES, EARLIER_TIMES);
}

#[test]
fn a_daemon_of_another_user_is_refused_by_that_of_root_whose_lease_it_may_not_read() {
    if !rustix::process::geteuid().is_root() || !can_have(&[AS_NOBODY]) {
        return;
    }
    let (_shared, two) = scene(&[], AS_NOBODY, &["is held by", "process ", "of user 0"]);
    let said = refusal(&two, "PROMPT-3");
    assert!(
        said.contains("belongs to user 0") && said.contains("chown -R 65534"),
        "nobody holds it now: {said}"
    );
}

#[test]
fn a_daemon_of_root_is_refused_by_that_of_another_user_and_named_it() {
    if !rustix::process::geteuid().is_root() || !can_have(&[AS_NOBODY]) {
        return;
    }
    let machine = machine();
    let named = ["is held by", "a of process ", "of user 65534", &machine, "state-a"];
    let (_shared, two) = scene(AS_NOBODY, &[], &named);
    let said = refusal(&two, "PROMPT-3");
    assert!(said.contains("belongs to user 65534") && said.contains("run it as that user"), "{said}");
}

/// Three daemons ask for one conversation at once, again and again; whoever has it is stopped, or killed, for the next race.
#[expect(clippy::print_stdout, reason = "a soak tells what it did")]
fn races(races: usize, words: [Words; 3], kill: bool) {
    let shared = Shared::new();
    let names = ["a", "b", "c"];
    let first = shared.daemon("a", words[0], "");
    assert_eq!(first.json(&["ask", "a", "My name is Alice", "--json"])["outcome"], "completed");
    let id = first.session()["session_id"].as_str().expect("an id").to_owned();
    drop(first.end("-TERM"));
    let resume = format!("resume = \"{id}\"");
    let mut sites: Vec<Site> =
        names.iter().zip(words).map(|(name, words)| shared.daemon(name, words, &resume)).collect();
    let (mut wanted, mut wins) = (vec!["My name is Alice".to_owned()], [0; 3]);
    for race in 0..races {
        let prompt = |name: &str| format!("RACE-{race}-{name}");
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let ask = |(site, name): (&Site, &'static str)| {
                let output = site.run(&["ask", name, &prompt(name), "--json"]);
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{name}: {text}"))
            };
            let asking: Vec<_> = sites.iter().zip(names).map(|pair| scope.spawn(move || ask(pair))).collect();
            asking.into_iter().map(|asking| asking.join().expect("it ends")).collect()
        });
        let won: Vec<usize> = (0..3).filter(|at| answers[*at]["outcome"] == "completed").collect();
        assert_eq!(won.len(), 1, "race {race}: {answers:?}");
        for answer in answers.iter().filter(|answer| answer["outcome"] != "completed") {
            let said = answer["message"].as_str().unwrap_or_default();
            assert!(said.contains("is held by"), "race {race}: {answer}");
        }
        let winner = won[0];
        wins[winner] += 1;
        wanted.push(prompt(names[winner]));
        if kill && race % 2 == 1 {
            let site = sites.remove(winner).end("-KILL").run_again();
            sites.insert(winner, site);
        } else {
            let stop = sites[winner].run(&["stop", names[winner]]);
            assert!(stop.status.success(), "{}", String::from_utf8_lossy(&stop.stderr));
            let start = sites[winner].run(&["start", names[winner]]);
            assert!(start.status.success(), "{}", String::from_utf8_lossy(&start.stderr));
        }
    }
    assert_eq!(shared.context(&id), wanted, "every answer that was given is in the one conversation");
    assert_eq!(shared.prompts(&id), wanted, "and nothing else is");
    println!("{races} races of three daemons, won {wins:?} times");
}

#[test]
fn of_three_daemons_that_ask_at_once_one_has_the_conversation() {
    races(8, [&[]; 3], true);
}

#[test]
#[ignore = "a soak: TREEWARDEN_SOAK races, in two ways"]
fn soak() {
    let count = std::env::var("TREEWARDEN_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    races(count, [&[]; 3], true);
    if can_have(&[OTHER_IDS, OTHER_TIMES]) {
        races(count, [&[], OTHER_IDS, OTHER_TIMES], false);
    }
}
