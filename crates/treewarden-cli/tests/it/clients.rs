//! Many clients, slow ones and such that are gone: none of them keeps the next one from `ps`, `interrupt` and `stop`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::support::{World, eventually};

/// So many asks and followers are served at once.
const LASTING: usize = 256;

fn connect(world: &World) -> UnixStream {
    UnixStream::connect(world.socket()).expect("it listens")
}

/// Sends a request on a connection of its own.
fn request(world: &World, request: &Value) -> UnixStream {
    let mut stream = connect(world);
    writeln!(stream, "{request}").expect("it reads");
    stream
}

fn line(stream: &UnixStream) -> Value {
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text).expect("it answers");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text:?}"))
}

/// Whether the daemon has closed the connection.
fn is_hung_up(stream: &UnixStream) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    poll(&mut asked, Some(&Timespec::default())).is_ok() && asked[0].revents().contains(PollFlags::HUP)
}

#[track_caller]
fn succeeds(world: &World, args: &[&str]) {
    let output = world.run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn control_does_not_queue_behind_work() {
    let names = ["a", "b", "c", "d", "e"];
    let children: String = names.iter().map(|name| format!("[[child]]\nname = \"{name}\"\n")).collect();
    let world = World::with(&children);
    let _daemon = world.daemon();
    let ask = |index: usize| {
        request(
            &world,
            &json!({ "op": "ask", "name": names[index % names.len()], "prompt": "x DELAY=600000" }),
        )
    };
    let served: Vec<UnixStream> = (0..LASTING).map(ask).collect();
    for stream in &served {
        assert_eq!(line(stream)["item"]["type"], "opened");
    }
    let waits = ask(0);
    assert_eq!(line(&waits)["item"]["type"], "waiting");
    let follows = request(&world, &json!({ "op": "events", "follow": true }));
    assert_eq!(line(&follows)["item"]["type"], "waiting");
    world.when("a", "busy");
    for verb in [&["ps"][..], &["tree"], &["interrupt", "a"], &["stop", "b", "--force"], &["events"]] {
        succeeds(&world, verb);
    }
    drop(served);
    assert_eq!(line(&waits)["item"]["type"], "opened", "it has the place of one that went");
}

#[test]
fn clients_that_ask_nothing_keep_nobody_out() {
    let world = World::new();
    let _daemon = world.daemon();
    let idle: Vec<UnixStream> = (0..600).map(|_| connect(&world)).collect();
    succeeds(&world, &["ps"]);
    let mut first = BufReader::new(&idle[0]);
    let mut said = String::new();
    first.read_line(&mut said).expect("it is told why");
    assert!(said.contains("busy") && said.contains("no place"), "{said}");
    assert_eq!(first.read(&mut [0]).expect("it is hung up on"), 0);
    let last = idle.last().expect("there are some");
    writeln!({ last }, "{}", json!({ "op": "ps" })).expect("it reads");
    assert!(line(last)["ok"].is_object(), "whoever was idle for the shortest time is still served");
}

#[test]
fn clients_that_take_nothing_of_their_answers_keep_nobody_out() {
    let world = World::new();
    // Six places, which are soon taken.
    let before = ["-c", "ulimit -n 40; exec \"$@\"", "sh"];
    let _daemon = world.start_below("sh", &before, &["run", "--state-dir", "state"]);
    eventually("the daemon answers", || world.run(&["ps"]).status.success().then_some(()));
    // A turn whose report is more than a socket holds.
    let asked = request(&world, &json!({ "op": "ask", "name": "a", "prompt": "x".repeat(200 << 10) }));
    let lines = BufReader::new(&asked).lines().map_while(Result::ok);
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line).expect("it is JSON"));
    let opened = lines.next().expect("it is taken up");
    let ended = lines.find(|line| line["item"].is_null()).expect("it ends");
    assert_eq!(ended["ok"]["outcome"], "completed", "{}", ended["error"]);
    let wanted = json!({ "op": "turn", "turn": opened["item"]["turn"] });
    let mut blocked = Vec::new();
    eventually("one that takes nothing is hung up on for another", || {
        let mut stream = connect(&world);
        // Whoever is turned away is not heard.
        let _turned_away = writeln!(stream, "{wanted}");
        blocked.push(stream);
        // Those that were turned away: this process would have too many open.
        blocked.retain(|stream| !is_hung_up(stream));
        world.log().contains("takes nothing of its answer is hung up on for another").then_some(())
    });
    eventually("`ps` is answered", || world.run(&["ps"]).status.success().then_some(()));
}

#[test]
fn a_request_that_does_not_end_is_given_up_with_words() {
    let world = World::new();
    let _daemon = world.daemon();
    let mut stream = connect(&world);
    stream.write_all(b"{\"op\":").expect("it reads");
    let answer = line(&stream);
    assert_eq!(answer["error"]["code"], "bad_request");
    let said = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(said.contains("did not end within 10 s"), "{said}");
}

#[test]
fn unfinished_requests_share_the_memory_that_there_is_for_them() {
    let world = World::new();
    let _daemon = world.daemon();
    let part = vec![b' '; 15 << 20];
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let client = || {
            let mut stream = connect(&world);
            // Whoever is refused is not read to the end.
            drop(stream.write_all(&part));
            line(&stream)
        };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().expect("a client is answered")).collect()
    });
    let busy = answers.iter().filter(|answer| answer["error"]["code"] == "busy").count();
    assert!(busy >= 4, "64 MiB hold four of them: {answers:?}");
    succeeds(&world, &["ps"]);
}

#[test]
fn a_request_whose_client_is_gone_is_not_obeyed_later() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.signal("-STOP");
    drop(request(&world, &json!({ "op": "stop", "name": "a", "force": true })));
    let half_closed = request(&world, &json!({ "op": "stop", "name": "b", "force": true }));
    half_closed.shutdown(Shutdown::Write).expect("it can be half closed");
    daemon.signal("-CONT");
    let answered = BufReader::new(half_closed).lines().last().expect("a line").expect("it can be read");
    assert!(answered.starts_with("{\"ok\""), "who only says no more is answered: {answered}");
    assert_eq!(world.session("b")["state"], "stopped");
    assert_ne!(world.session("a")["state"], "stopped");
}

#[test]
fn an_ask_that_waits_for_a_place_is_not_asked_once_its_client_is_gone() {
    let names = ["a", "b", "c", "d", "e", "gone", "next"];
    let children: String = names.iter().map(|name| format!("[[child]]\nname = \"{name}\"\n")).collect();
    let world = World::with(&children);
    let _daemon = world.daemon();
    let ask = |name: &str| request(&world, &json!({ "op": "ask", "name": name, "prompt": "x DELAY=600000" }));
    let mut served: Vec<UnixStream> = (0..LASTING).map(|index| ask(names[index % 5])).collect();
    for stream in &served {
        assert_eq!(line(stream)["item"]["type"], "opened");
    }
    let (gone, next) = (ask("gone"), ask("next"));
    for waits in [&gone, &next] {
        assert_eq!(line(waits)["item"]["type"], "waiting");
    }
    drop(gone);
    drop(served.pop());
    assert_eq!(line(&next)["item"]["type"], "opened", "the place is the next one's");
    let session = world.session("gone");
    assert_eq!((&session["state"], &session["queued"]), (&json!("parked"), &json!(0)), "{session}");
    let events = world.run(&["events", "--json"]);
    let events = String::from_utf8_lossy(&events.stdout);
    let opened = |name: &str| {
        let of =
            |line: &&str| line.contains("\"turn_opened\"") && line.contains(&format!("\"name\":\"{name}\""));
        events.lines().filter(of).count()
    };
    assert_eq!((opened("gone"), opened("next")), (0, 1));
}

#[test]
fn a_verb_gives_up_when_the_tree_says_nothing_and_says_so() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.signal("-STOP");
    let output = world.run(&["stop", "a", "--force"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("says nothing for 10 s"), "{said}");
    daemon.signal("-CONT");
    succeeds(&world, &["ps"]);
    assert_ne!(world.session("a")["state"], "stopped", "it is not done later");
}

#[test]
fn a_client_that_is_hung_up_on_before_it_has_asked_fails_with_what_it_was_told() {
    let world = World::new();
    std::fs::create_dir_all(world.path("state")).expect("it can be made");
    let listener = UnixListener::bind(world.socket()).expect("nobody listens there yet");
    let busy = r#"{"error":{"code":"busy","message":"no place"}}"#;
    for (said, code) in [(String::new(), 1), (format!("{busy}\n"), 8)] {
        let turn_away = |mut stream: UnixStream| {
            // It reads nothing: what the client sends comes to nobody, before or after it is hung up on.
            let _gone = stream.write_all(said.as_bytes());
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20).for_each(|_| turn_away(listener.accept().expect("a client comes").0)));
            for _ in 0..20 {
                let output = world.run(&["ps"]);
                let told = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(code), "{told}");
                assert!(told.contains(if said.is_empty() { "tree" } else { "no place" }), "{told}");
            }
        });
    }
}

#[test]
fn an_empty_file_stops_no_session_unless_that_is_allowed() {
    let world = World::new();
    let daemon = world.daemon();
    let file = world.path("treewarden.toml");
    for text in ["[[template]]\nname = \"chat\"\n", ""] {
        std::fs::write(&file, text).expect("it can be written");
        let output = world.run(&["reload"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text:?}: {said}");
        assert!(said.contains("declares no child") && said.contains("--allow-empty"), "{said}");
    }
    daemon.signal("-HUP");
    eventually("the hangup is refused too", || {
        world.log().contains("the file declares no child").then_some(())
    });
    assert_eq!(world.json(&["ps", "--json"]).as_array().map(Vec::len), Some(2));
    succeeds(&world, &["reload", "--allow-empty"]);
    assert_eq!(world.json(&["ps", "--json"]), json!([]));
}
