//! `chat`, fed by a pipe and typed at a terminal.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::{Daemon, World, eventually};

/// What `chat` said to prompts from a pipe: its exit code, its stdout and its stderr.
fn piped(world: &World, args: &[&str], prompts: &[u8]) -> (Option<i32>, String, String) {
    let mut command = world.command(&[&["chat"], args].concat());
    let chat = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut chat = chat.expect("it runs");
    // One that refuses reads nothing, and may have ended by then.
    drop(chat.stdin.take().expect("it is piped").write_all(prompts));
    let output = chat.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn prompts_of_a_pipe_are_asked_to_its_end_and_blank_lines_are_none() {
    let world = World::new();
    let _daemon = world.daemon();
    let (code, said, _) = piped(&world, &["a"], b"PROMPT-1\n\n  \r\nPROMPT-2");
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "word0 word1 word2 answer to PROMPT-1\nword0 word1 word2 answer to PROMPT-2\n")
    );
    let (code, said, told) = piped(&world, &["a"], b"PROMPT-3 STATUS=400\nPROMPT-4\n");
    assert_eq!(code, Some(1), "a turn failed: {told}");
    assert!(said.ends_with("answer to PROMPT-4\n"), "the others are asked all the same: {said}");
    assert!(told.contains("the turn failed"), "{told}");
    assert_eq!(piped(&world, &["a"], b"").0, Some(0));
}

#[test]
fn a_name_that_no_session_has_is_refused_before_a_prompt_is_read() {
    let world = World::with("[[child]]\nname = \"assistant\"\n");
    let _daemon = world.daemon();
    let mut chat = world.command(&["chat", "assitant"]);
    // Its input never ends: it would be waited for.
    let chat = chat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut chat = Killed(chat.expect("it runs"));
    let code = eventually("it ends", || chat.0.try_wait().expect("it can be waited for")).code();
    let mut told = String::new();
    chat.0.stderr.take().expect("it is piped").read_to_string(&mut told).expect("UTF-8");
    assert_eq!(code, Some(5), "{told}");
    assert!(told.contains("no session is named \"assitant\"; did you mean \"assistant\"?"), "{told}");
}

#[test]
fn tool_calls_and_denials_are_told_beside_the_answer() {
    let world = World::new();
    let _daemon = world.daemon();
    let (code, said, told) = piped(&world, &["a"], b"PROMPT-1 ASK\n");
    assert_eq!((code, said.as_str()), (Some(0), "word0 word1 word2 answer to PROMPT-1 ASK\n"), "{told}");
    let call = "[Bash {\"command\":\"true\",\"description\":\"step\"}]";
    let denied = told.strip_prefix(&format!("{call}\n")).unwrap_or_else(|| panic!("{told}"));
    assert!(denied.starts_with("note: the CLI did not let the model use Bash: "), "{told}");
    assert_eq!(denied.lines().count(), 1, "it is said once: {told}");
}

#[test]
fn a_pipe_whose_tree_ends_ends_with_the_code_of_an_open_turn() {
    let world = World::new();
    let daemon = world.daemon();
    let mut command = world.command(&["chat", "a"]);
    let chat = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut chat = Killed(chat.expect("it runs"));
    let mut input = chat.0.stdin.take().expect("it is piped");
    input.write_all(b"PROMPT-1 TOOL=600000\n").expect("it reads");
    let mut stderr = BufReader::new(chat.0.stderr.take().expect("it is piped"));
    let mut told = String::new();
    // What is shown of the turn is behind its id.
    stderr.read_line(&mut told).expect("UTF-8");
    assert!(told.starts_with("[Bash"), "{told}");
    daemon.signal("-KILL");
    let code = eventually("it ends", || chat.0.try_wait().expect("it can be waited for")).code();
    assert_eq!(code, Some(9));
    stderr.read_to_string(&mut told).expect("UTF-8");
    assert!(told.contains("treewarden turn --wait "), "{told}");
}

/// A process that is killed when the value is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const SKIPPED: &str = "skipped: no `script` is here that makes a terminal";

/// A person at a terminal, in which `chat` runs.
struct Person {
    chat: Killed,
    keys: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
    /// How much of the screen was read.
    seen: usize,
}

impl Person {
    /// Sits down at a terminal; `None` where no `script` is that makes one.
    fn new(world: &World, args: &[&str]) -> Option<Self> {
        let own = world.command(&[&["chat"], args].concat());
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().expect("UTF-8"));
        let words: Vec<String> =
            std::iter::once(own.get_program()).chain(own.get_args()).map(quoted).collect();
        let mut command = Command::new("script");
        // Without `exec` a shell may stay between (dash does), which the first Ctrl-C ends, with 130 as the code of all.
        command
            .args(["-qefc", &format!("exec {}", words.join(" ")), "/dev/null"])
            .current_dir(world.path(""));
        command.env("TREEWARDEN_SOCKET", world.socket()).env("NO_COLOR", "1").env("TERM", "xterm");
        command.env("XDG_STATE_HOME", world.path("person"));
        let chat = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut chat = chat.ok()?;
        let (keys, mut shown) = (chat.stdin.take().expect("piped"), chat.stdout.take().expect("piped"));
        let screen = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length) = shown.read(&mut part)
                && length > 0
            {
                copy.lock().expect("no panic").extend_from_slice(&part[..length]);
            }
        });
        Some(Self { chat: Killed(chat), keys, screen, seen: 0 })
    }

    /// Presses keys.
    #[track_caller]
    fn types(&mut self, keys: &str) {
        let typed = self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush());
        assert!(typed.is_ok(), "nobody reads {keys:?}: {typed:?} {}", self.screen());
    }

    /// Waits until this is on the screen, behind all that was waited for before.
    #[track_caller]
    fn sees(&mut self, what: &str) {
        let (screen, seen) = (Arc::clone(&self.screen), self.seen);
        let found = || {
            let screen = screen.lock().expect("no panic");
            let new = &screen[seen..];
            new.windows(what.len()).position(|part| part == what.as_bytes()).map(|at| seen + at + what.len())
        };
        let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
        self.seen = loop {
            if let Some(end) = found() {
                break end;
            }
            assert!(
                std::time::Instant::now() < until,
                "{what:?} is not behind byte {seen} of:\n{}",
                self.screen()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
    }

    /// Waits until a prompt may be typed.
    #[track_caller]
    fn may_type(&mut self) {
        // What the editor writes before it reads: typed earlier, keys would be echoed by the terminal itself.
        self.sees("\u{1b}[?2004h");
    }

    /// What was shown until now.
    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic")).into_owned()
    }

    /// Waits until the chat has ended, in order.
    #[track_caller]
    fn leaves(&mut self) {
        let status = eventually("the chat ends", || self.chat.0.try_wait().expect("it can be waited for"));
        assert_eq!(status.code(), Some(0), "{status}: {}", self.screen());
    }
}

/// The session has had so many turns. Whoever waits for a turn may hear of its end before the session has counted it.
#[track_caller]
fn has_turns(world: &World, count: u64, why: &str) {
    let turns = eventually("the turns are counted", || {
        world.session("a")["turns"].as_u64().filter(|turns| *turns >= count)
    });
    assert_eq!(turns, count, "{why}");
}

fn chatting(args: &[&str]) -> Option<(World, Daemon, Person)> {
    let world = World::new();
    let daemon = world.daemon();
    let mut person = Person::new(&world, args)?;
    person.sees("Ctrl-D ends the chat");
    person.may_type();
    Some((world, daemon, person))
}

#[test]
fn a_line_is_edited_before_it_is_asked_and_a_paste_of_many_lines_is_one_prompt() {
    let Some((world, _daemon, mut person)) = chatting(&["a"]) else {
        println!("{SKIPPED}");
        return;
    };
    // Three steps back, a letter, and to the end.
    person.types("PROMT-1\u{1b}[D\u{1b}[D\u{1b}[DP\u{5}\r");
    person.sees("answer to PROMPT-1");
    person.may_type();
    person.types("\u{1b}[200~PROMPT-2\rPROMPT-3\u{1b}[201~\r");
    person.sees("answer to PROMPT-2");
    person.sees("PROMPT-3");
    person.may_type();
    // Blank lines are no prompts, and no end.
    person.types("\r");
    person.may_type();
    person.types("  \r");
    person.may_type();
    person.types("\u{4}");
    person.leaves();
    has_turns(&world, 2, "a paste is one prompt");
}

#[test]
fn ctrl_c_ends_the_turn_that_runs_and_not_the_chat() {
    let Some((world, _daemon, mut person)) = chatting(&["a"]) else {
        println!("{SKIPPED}");
        return;
    };
    person.types("PROMPT-1 TOOL=600000\r");
    // What is shown of the turn is behind its id, by which it is ended.
    person.sees("[Bash");
    person.types("\u{3}");
    person.sees("the turn was interrupted");
    person.may_type();
    person.types("PROMPT-2\r");
    person.sees("answer to PROMPT-2");
    person.may_type();
    // A line that was begun is dropped; only where nothing is typed does a second one end the chat.
    person.types("PROMPT-3\u{3}");
    person.may_type();
    person.types("\u{3}");
    person.sees("ends the chat");
    person.may_type();
    person.types("\u{3}");
    person.leaves();
    has_turns(&world, 2, "the line that was dropped was not asked");
}

#[test]
fn what_was_typed_is_kept_for_the_next_chat_in_a_file_of_ones_own() {
    let Some((world, _daemon, mut person)) = chatting(&["a"]) else {
        println!("{SKIPPED}");
        return;
    };
    person.types("PROMPT-1\r");
    person.sees("answer to PROMPT-1");
    person.may_type();
    person.types(" PROMPT-2\r");
    person.sees("answer to PROMPT-2");
    person.may_type();
    person.types("\u{4}");
    person.leaves();
    let path = world.path("person/treewarden/chat-history");
    let mode = fs::metadata(&path).expect("it is kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = || fs::read_to_string(&path).expect("it can be read");
    assert!(kept().contains("PROMPT-1") && !kept().contains("PROMPT-2"), "{}", kept());

    let mut person = Person::new(&world, &["a"]).expect("there was a terminal before");
    person.sees("Ctrl-D ends the chat");
    person.may_type();
    // One step up, and a letter behind it.
    person.types("\u{1b}[A0\r");
    person.sees("answer to PROMPT-10");
    person.may_type();
    person.types("\u{4}");
    person.leaves();
    let before = kept();

    let mut person = Person::new(&world, &["a", "--no-history"]).expect("there was a terminal before");
    person.sees("Ctrl-D ends the chat");
    person.may_type();
    person.types("PROMPT-4\r");
    person.sees("answer to PROMPT-4");
    person.may_type();
    person.types("\u{4}");
    person.leaves();
    assert_eq!(kept(), before);
}

#[test]
fn a_chat_whose_tree_is_killed_waits_for_the_next_one_and_shows_the_answer() {
    let Some((world, daemon, mut person)) = chatting(&["a"]) else {
        println!("{SKIPPED}");
        return;
    };
    person.types("PROMPT-1 TOOL=600000 ONCE=1\r");
    person.sees("[Bash");
    daemon.signal("-KILL");
    drop(daemon);
    person.sees("the tree ended");
    let _daemon = world.daemon();
    person.sees("answer to PROMPT-1");
    person.may_type();
    person.types("PROMPT-2\r");
    person.sees("answer to PROMPT-2");
    person.may_type();
    person.types("\u{4}");
    person.leaves();
}

#[test]
fn words_of_a_tool_and_of_the_model_are_shown_and_not_obeyed() {
    let Some((_world, _daemon, mut person)) = chatting(&["a"]) else {
        println!("{SKIPPED}");
        return;
    };
    // Typed as a quoted insert, as a paste takes no escapes.
    person.types("PROMPT-1 \u{16}\u{1b}]0;owned\u{16}\u{7} ASK\r");
    person.sees("did not let the model use Bash");
    person.may_type();
    let screen = String::from_utf8_lossy(&person.screen.lock().expect("no panic")).into_owned();
    let answer =
        screen.split("answer to ").nth(1).expect("it was answered").lines().next().unwrap_or_default();
    assert!(answer.contains("\\u{1b}]0;owned\\u{7}"), "{answer:?}");
    person.types("\u{4}");
    person.leaves();
}
