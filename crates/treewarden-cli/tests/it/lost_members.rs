//! Sessions of templates whose records are lost with the database: shown, taken over and members still.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::support::{World, eventually};

const CHAT: &str = "[[template]]\nname = \"chat\"\n";

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a verb that is to end with this code, and returns what it said.
#[track_caller]
fn code(world: &World, args: &[&str], code: i32) -> String {
    let output = world.run(args);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}\n{}", world.log());
    told
}

/// The sessions of the template, as the tree has them.
fn members(world: &World) -> Vec<String> {
    let tree = world.json(&["tree", "--json"]);
    let chat = tree["children"].as_array().into_iter().flatten().find(|child| child["name"] == "chat");
    let below = chat.and_then(|chat| chat["children"].as_array().cloned()).unwrap_or_default();
    let mut names: Vec<String> =
        below.iter().filter_map(|child| child["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

/// Makes a session of the template that knows its name; returns the id of its conversation.
fn make(world: &World, name: &str) -> String {
    code(world, &["new", "chat", name], 0);
    let answer = world.json(&["ask", name, &format!("My name is {name}"), "--json"]);
    answer["session_id"].as_str().expect("an id").to_owned()
}

/// Makes sessions of the template, has each know its name, removes the last, and ends the daemon and its database; returns
/// the ids of the conversations.
fn without_its_database<const N: usize>(world: &World, names: [&str; N]) -> [String; N] {
    let mut daemon = world.daemon();
    let ids = names.map(|name| make(world, name));
    code(world, &["remove", names[N - 1]], 0);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    fs::remove_file(world.path("state/treewarden.db")).expect("removed");
    ids
}

#[test]
fn a_member_of_a_template_whose_record_is_lost_is_shown_and_is_one_still_when_it_was_taken_over() {
    let world = World::with(CHAT);
    let [alice, bob, gone] = without_its_database(&world, ["Alice", "Bob", "Gone"]);
    let mut daemon = world.daemon();
    assert_eq!(members(&world), ["Alice", "Bob"], "one that was removed does not come back");
    for name in ["Alice", "Bob"] {
        let lost = world.session(name)["lost"].to_string();
        assert!(lost.contains("database that held its record was removed"), "{name}: {lost}");
    }
    let shown = code(&world, &["ps"], 0);
    assert!(shown.contains(&format!("`treewarden adopt Alice {alice}`")), "{shown}");
    assert!(shown.contains("`treewarden clear Alice`"), "{shown}");
    assert!(shown.contains("Gone: its conversation is lost, and no session has the name"), "{shown}");
    let event = eventually("it is an event", || {
        let events = code(&world, &["events", "--json"], 0);
        events
            .lines()
            .find(|line| line.contains("\"store_problem\"") && line.contains("Alice"))
            .map(str::to_owned)
    });
    assert!(event.contains("Bob"), "it names whose records are lost: {event}");
    // A slip of the hand would have two names ask in one conversation, and nothing leads back.
    for of_another in [&bob, &gone] {
        let refused = code(&world, &["adopt", "Alice", of_another], 1);
        assert!(refused.contains("it is the conversation of "), "{refused}");
    }
    let refused = code(&world, &["ask", "Alice", "What is my name?"], 1);
    assert!(refused.contains("the conversation of Alice is lost"), "{refused}");
    let refused = code(&world, &["remove", "Alice"], 1);
    assert!(
        refused.contains("its record is lost") && refused.contains("treewarden clear Alice"),
        "{refused}"
    );
    let adopted = world.run(&["adopt", "--all-lost"]);
    let said = told(&adopted);
    assert!(said.contains(&format!("Alice has the conversation {alice}")), "{said}");
    // Nobody has it, and the daemon's own config directory has no transcript of it.
    assert!(
        said.contains("Gone is lost still") && said.contains("2 of 3 lost sessions taken over"),
        "{said}"
    );
    assert_eq!(adopted.status.code(), Some(1), "{said}");
    assert!(code(&world, &["ask", "Alice", "What is my name?"], 0).contains("Alice"));
    // As a member, however the daemon ends.
    daemon.signal("-KILL");
    daemon.wait();
    let mut daemon = world.daemon();
    assert_eq!(members(&world), ["Alice", "Bob"]);
    assert!(code(&world, &["ask", "Bob", "What is my name?"], 0).contains("Bob"));
    assert_eq!(code(&world, &["remove", "Bob"], 0), "Bob is removed\n");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn a_lost_name_that_no_session_has_is_made_again_or_cleared_as_ps_says() {
    let world = World::with(CHAT);
    let [_alice, bob] = without_its_database(&world, ["Alice", "Bob"]);
    // As an earlier version left it: nothing says of which template they were.
    for lease in fs::read_dir(world.path("state/leases")).expect("listed") {
        let path = lease.expect("listed").path();
        let mut holder: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
        holder.as_object_mut().expect("an object").remove("template");
        fs::write(&path, holder.to_string()).expect("written");
    }
    let mut daemon = world.daemon();
    assert_eq!(members(&world), [""; 0]);
    let shown = code(&world, &["ps"], 0);
    for words in ["`treewarden new TEMPLATE Bob`".to_owned(), format!("`treewarden adopt Bob {bob}`")] {
        assert!(shown.contains(&words), "{words}: {shown}");
    }
    let refused = code(&world, &["adopt", "Bob", &bob], 1);
    assert!(refused.contains("no transcript of it is in"), "{refused}");
    // Its template's CLIs have another config directory, and there it is.
    assert_eq!(code(&world, &["new", "chat", "Bob"], 0), "Bob is made\n");
    assert!(code(&world, &["ask", "Bob", "What is my name?"], 1).contains("is lost"));
    code(&world, &["adopt", "Bob", &bob], 0);
    assert!(code(&world, &["ask", "Bob", "What is my name?"], 0).contains("Bob"));
    assert_eq!(code(&world, &["clear", "Alice"], 0), "Alice has a new conversation\n");
    let shown = code(&world, &["ps"], 0);
    assert!(!shown.contains("is lost") && !shown.contains("store:"), "{shown}");
    code(&world, &["new", "chat", "Alice"], 0);
    let answer = code(&world, &["ask", "Alice", "What is my name?"], 0);
    assert!(!answer.contains("Alice"), "it begins anew: {answer}");
    assert_eq!(code(&world, &["adopt", "--all-lost"], 0), "no session is lost\n");
    daemon.signal("-KILL");
    daemon.wait();
    let _daemon = world.daemon();
    assert_eq!(members(&world), ["Alice", "Bob"]);
    assert!(code(&world, &["ask", "Bob", "What is my name?"], 0).contains("Bob"));
}

#[test]
fn members_that_begin_anew_together_are_named_and_stay_members() {
    let world = World::with(CHAT);
    let _ids = without_its_database(&world, ["Alice", "Gone"]);
    let mut daemon = world.daemon();
    let said = code(&world, &["clear", "--all-lost"], 0);
    assert_eq!(said, "Alice begins anew\nGone begins anew\n2 lost sessions begin anew\n");
    assert!(code(&world, &["clear", "--all-lost"], 0).starts_with("no session is known to be lost"));
    assert!(!code(&world, &["ask", "Alice", "What is my name?"], 0).contains("Alice"));
    daemon.signal("-KILL");
    daemon.wait();
    let _daemon = world.daemon();
    assert_eq!(members(&world), ["Alice"]);
    assert_eq!(world.session("Alice")["lost"], Value::Null);
}

/// Changes a text of the same length wherever it stands in a file.
fn exchange(path: &Path, from: &str, to: &str) {
    let mut bytes = fs::read(path).expect("read");
    let is_here = |window: &(usize, &[u8])| window.1 == from.as_bytes();
    let places: Vec<_> = bytes.windows(from.len()).enumerate().filter(is_here).map(|(at, _)| at).collect();
    assert!(!places.is_empty() && from.len() == to.len(), "{from} is not there");
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to.as_bytes()));
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_member_whose_record_is_damaged_in_a_copy_comes_back_with_the_conversation_that_its_lease_names() {
    let world = World::with(CHAT);
    let mut daemon = world.daemon();
    let [alice, bob] = ["Alice", "Bob"].map(|name| make(&world, name));
    code(&world, &["backup", "copy"], 0);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    // Of one the id is another one, and of one nothing can be read.
    let copy = world.path("copy/treewarden.db");
    let wrong = "0".repeat(8) + &alice[8..];
    let key = |name: &str, key: &str, id: &str| format!(r#""name":"{name}","{key}":"{id}"#);
    exchange(&copy, &key("Alice", "session_id", &alice), &key("Alice", "session_id", &wrong));
    exchange(&copy, &key("Bob", "session_id", &bob), &key("Bob", "session_ie", &bob));
    let said = code(&world, &["restore", "copy", "--state-dir", "state", "--force", "--damaged"], 0);
    assert!(said.contains("2 of 2 names and 0 of 2 turns are damaged") && !said.contains(&wrong), "{said}");
    let mut daemon = world.daemon();
    assert_eq!(members(&world), ["Alice", "Bob"]);
    let shown = code(&world, &["ps"], 0);
    for (name, id) in [("Alice", &alice), ("Bob", &bob)] {
        assert!(shown.contains(&format!("`treewarden adopt {name} {id}`")), "{shown}");
    }
    assert!(!shown.contains(&wrong), "{shown}");
    assert!(code(&world, &["adopt", "--all-lost"], 0).contains("2 of 2 lost sessions taken over"));
    assert!(code(&world, &["ask", "Bob", "What is my name?"], 0).contains("Bob"));
    daemon.signal("-KILL");
    daemon.wait();
    let _daemon = world.daemon();
    assert_eq!(members(&world), ["Alice", "Bob"], "they are members still");
    assert!(code(&world, &["ask", "Alice", "What is my name?"], 0).contains("Alice"));
}

#[test]
fn of_an_adoption_and_a_clear_of_one_name_at_once_one_is_done_and_the_other_says_what_happened() {
    let names: Vec<String> = (0..24).map(|n| format!("s{n}")).collect();
    let world = World::with(CHAT);
    let mut daemon = world.daemon();
    let ids: Vec<String> = names.iter().map(|name| make(&world, name)).collect();
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    fs::remove_file(world.path("state/treewarden.db")).expect("removed");
    world.rewrite("[[child]]\nname = \"lobby\"\n");
    // Where the daemon's own CLIs would have their transcripts is where those of the template had them.
    let mut command = world.command(&[]);
    command.env("CLAUDE_CONFIG_DIR", world.path("home"));
    let log = fs::File::options().create(true).append(true).open(world.path("log")).expect("opened");
    let mut daemon = world.daemon_with(command, log);
    let shown = code(&world, &["ps"], 0);
    assert!(shown.contains("s3: its conversation is lost, and no session has the name"), "{shown}");
    assert!(
        shown.contains("the tree has no template chat now; declare that")
            && !shown.contains("treewarden new"),
        "{shown}"
    );
    let mut adopted = Vec::new();
    for (name, id) in names.iter().zip(&ids) {
        let [adopt, clear] = std::thread::scope(|scope| {
            let verbs: [Vec<&str>; 2] = [vec!["adopt", name, id], vec!["clear", name]];
            let world = &world;
            let asked =
                verbs.map(|args| scope.spawn(move || world.command(&args).output().expect("it runs")));
            asked.map(|asked| asked.join().expect("no panic"))
        });
        let said = [told(&adopt), told(&clear)];
        let is_done = [&adopt, &clear].map(|output| output.status.success());
        assert_eq!(is_done.iter().filter(|done| **done).count(), 1, "{name}: {said:?}");
        let [winner, loser] = if is_done[0] { [0, 1] } else { [1, 0] };
        assert!(
            said[loser].contains("its record is not lost any more, or never was: it has the conversation"),
            "{name}: {said:?}"
        );
        assert!(
            !said[loser].contains("another process") && !said[winner].contains("its record is"),
            "{said:?}"
        );
        if is_done[0] {
            assert!(said[0].contains("the tree has no template chat now"), "{said:?}");
            assert!(said[1].contains(id), "it says which one: {said:?}");
        }
        adopted.push(is_done[0]);
    }
    daemon.signal("-KILL");
    daemon.wait();
    world.rewrite(CHAT);
    let _daemon = world.daemon();
    assert_eq!(members(&world).len(), names.len(), "they come back with their template");
    for ((name, id), adopted) in names.iter().zip(&ids).zip(adopted) {
        let session = world.session(name);
        assert_eq!(session["session_id"] == **id, adopted, "{name}: {session}");
        assert_eq!(session["lost"], Value::Null, "{name}");
    }
}

#[test]
fn what_a_damaged_record_says_is_told_as_what_may_be_wrong_where_no_lease_file_names_its_session() {
    let world = World::with(CHAT);
    let mut daemon = world.daemon();
    let alice = make(&world, "Alice");
    code(&world, &["backup", "copy"], 0);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    let wrong = "0".repeat(8) + &alice[8..];
    let record = |id: &str| format!(r#""name":"Alice","session_id":"{id}"#);
    exchange(&world.path("copy/treewarden.db"), &record(&alice), &record(&wrong));
    fs::remove_dir_all(world.path("state/leases")).expect("removed");
    let doubtful = format!(
        "the damaged record says, and may be wrong, that its conversation was {wrong}, and its template chat"
    );
    let said = code(&world, &["restore", "copy", "--state-dir", "state", "--force", "--damaged"], 0);
    assert!(said.contains(&doubtful), "{said}");
    let _daemon = world.daemon();
    assert_eq!(members(&world), [""; 0], "nothing that is believed says of which template it was");
    let shown = code(&world, &["ps"], 0);
    assert!(shown.contains(&doubtful) && shown.contains("`treewarden adopt Alice ID`"), "{shown}");
    assert!(!shown.contains(&format!("adopt Alice {wrong}")), "it is not offered: {shown}");
    let said = code(&world, &["adopt", "--all-lost"], 1);
    assert!(
        said.contains("no lease file says which conversation it had") && said.contains(&doubtful),
        "{said}"
    );
    // By hand it can be tried, and its transcript decides.
    code(&world, &["new", "chat", "Alice"], 0);
    assert!(code(&world, &["adopt", "Alice", &wrong], 1).contains("no transcript of it is in"));
    code(&world, &["adopt", "Alice", &alice], 0);
    assert!(code(&world, &["ask", "Alice", "What is my name?"], 0).contains("Alice"));
}
