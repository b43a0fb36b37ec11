//! What a CLI that could not write leaves behind: lines that go on from one that is nowhere.

mod support;

use serde_json::{Value, json};
use support::*;
use treewarden_proto::TurnId;
use treewarden_transcript::{OpenPrompt, Resumable, Saved, prepare};

const GONE: &str = "5b7d3a52-0000-4000-8000-00000000dead";

/// Two turns, of which the second follows a line that was never written.
fn with_a_hole(padding: usize) -> (TurnId, TurnId, Vec<Value>) {
    let (first, second) = (TurnId::new(), TurnId::new());
    let id = first.to_string();
    let answer = "5b7d3a52-0000-4000-8000-00000000000a";
    let mut lines = vec![prompt(first, None), text(answer, &id, "one")];
    let mut after = prompt(second, Some(GONE));
    after["filler"] = json!("x".repeat(padding));
    lines.push(after);
    lines.push(text("5b7d3a52-0000-4000-8000-00000000000b", &second.to_string(), "two"));
    (first, second, lines)
}

#[test]
fn what_is_before_a_hole_is_joined_to_what_is_behind_it() {
    let (_, second, lines) = with_a_hole(0);
    let disk = Disk::new(&lines);
    let settled = [answered(second)];
    assert_eq!(disk.holds(&known(&settled)), Saved::Incomplete { missing: GONE.to_owned() });
    let Resumable::At { mended, .. } = disk.prepare(&settled, None) else { panic!("it is there") };
    assert_eq!(mended, 1);
    let note = disk
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .find(|line| line["uuid"] == GONE);
    let note = note.expect("a note has the name of the line that is missing");
    assert_eq!(note["parentUuid"], "5b7d3a52-0000-4000-8000-00000000000a");
    // It is whole from now on, and nothing is added again.
    assert_eq!(disk.holds(&known(&settled)), Saved::Yes);
    let before = disk.bytes();
    assert!(matches!(disk.prepare(&settled, None), Resumable::At { mended: 0, hint_written: false, .. }));
    assert_eq!(disk.bytes(), before);
}

#[test]
fn a_line_that_stands_before_the_end_that_was_read_is_no_hole() {
    let (first, second) = (TurnId::new(), TurnId::new());
    let answer = "5b7d3a52-0000-4000-8000-00000000000a";
    let mut long = text(answer, &first.to_string(), "one");
    long["filler"] = json!("x".repeat(100_000));
    let lines = [
        prompt(first, None),
        long,
        prompt(second, Some(answer)),
        text("5b7d3a52-0000-4000-8000-00000000000b", &second.to_string(), "two"),
    ];
    let disk = Disk::new(&lines);
    assert_eq!(disk.holds(&known(&[answered(second)])), Saved::Yes);
    // The same with the line gone, which a look at the end alone does not show.
    let mut lines = lines.to_vec();
    lines.insert(1, meta("5b7d3a52-0000-4000-8000-00000000000c", &first.to_string(), &"y".repeat(100_000)));
    lines.remove(2);
    let disk = Disk::new(&lines);
    let found = disk.holds(&known(&[answered(second)]));
    assert_eq!(found, Saved::Incomplete { missing: answer.to_owned() });
}

#[test]
fn a_file_that_begins_amid_is_put_behind_the_one_that_has_the_second_name() {
    let (_, second, lines) = with_a_hole(0);
    let disk = Disk::new(&lines[..2]);
    assert!(matches!(disk.prepare(&[], None), Resumable::At { .. }), "it has a second name from now on");
    // The first name was taken away, and a CLI that lived on began another file.
    std::fs::remove_file(disk.path()).expect("removed");
    disk.write(lines[2..].iter().map(|line| format!("{line}\n")).collect::<String>());
    let found = disk.prepare(&[answered(second)], None);
    // Behind the whole one, and the line that is nowhere has its note.
    assert!(matches!(found, Resumable::At { put_back: Some(_), mended: 1, .. }), "{found:?}");
    let both = disk.text();
    let at = |word: &str| both.find(word).unwrap_or_else(|| panic!("{word} in {both}"));
    assert!(at("\"one\"") < at("\"two\""));
    assert_eq!(std::fs::read_to_string(disk.second_name()).expect("it is there"), both);
}

#[test]
fn a_file_that_a_cli_began_anew_is_joined_to_what_was_taken_away_from_it() {
    let (first, second, third) = (TurnId::new(), TurnId::new(), TurnId::new());
    let answer = |n: u8| format!("5b7d3a52-0000-4000-8000-00000000000{n}");
    let lines = [
        prompt(first, None),
        text(&answer(1), &first.to_string(), "one"),
        prompt(second, Some(&answer(1))),
        text(&answer(2), &second.to_string(), "two"),
        prompt(third, Some(&answer(2))),
    ];
    let settled = [answered(second), answered(first)];
    // The line in which it was taken away may be torn.
    for (taken, torn) in [(1, ""), (2, ""), (3, "{\"torn"), (4, "")] {
        let disk = Disk::new(&lines[..taken]);
        assert!(matches!(disk.prepare(&[], None), Resumable::At { .. }), "it has a second name from now on");
        let whole = std::fs::read_to_string(disk.path()).expect("it is there") + torn;
        std::fs::write(disk.path(), whole).expect("written");
        std::fs::remove_file(disk.path()).expect("removed");
        disk.write(lines[taken..].iter().map(|line| format!("{line}\n")).collect::<String>());
        let before = disk.bytes();
        let found = disk.prepare(&settled, Some(third));
        let Resumable::At { leaf, mended: 0, put_back: Some(_), open: OpenPrompt::Own, .. } = &found else {
            panic!("{taken}: {found:?}")
        };
        assert_eq!(*leaf, third.to_string());
        let whole: Vec<Value> =
            disk.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let messages: Vec<&Value> = whole.iter().filter(|line| line.get("message").is_some()).collect();
        assert_eq!(messages, lines.iter().collect::<Vec<_>>(), "each line once, in order");
        assert!(
            disk.bytes().windows(before.len()).any(|piece| piece == before),
            "what the CLI wrote is there"
        );
        assert_eq!(
            std::fs::read(disk.second_name()).expect("it is there"),
            disk.bytes(),
            "one file, two names"
        );
        let after = disk.bytes();
        assert!(matches!(disk.prepare(&settled, Some(third)), Resumable::At { .. }));
        assert_eq!(disk.bytes(), after, "it is joined once");
    }
}

#[test]
fn a_beginning_that_nobody_knows_of_is_no_loss() {
    let (_, second, lines) = with_a_hole(0);
    let disk = Disk::new(&lines[2..]);
    assert_eq!(disk.holds(&known(&[answered(second)])), Saved::Yes);
    assert!(matches!(disk.prepare(&[answered(second)], None), Resumable::At { mended: 0, .. }));
}

#[test]
fn a_copy_that_is_newer_is_not_taken_for_the_conversation() {
    let (first, second) = (TurnId::new(), TurnId::new());
    let answer = "5b7d3a52-0000-4000-8000-00000000000a";
    let mut lines = vec![prompt(first, None), text(answer, &first.to_string(), "one")];
    let disk = Disk::new(&lines);
    assert!(matches!(disk.prepare(&[answered(first)], None), Resumable::At { .. }));
    let copy = disk.config_dir().join("projects/-moved").join(disk.path().file_name().expect("a name"));
    std::fs::create_dir_all(copy.parent().expect("a folder")).expect("made");
    std::fs::copy(disk.path(), &copy).expect("copied");
    lines.push(prompt(second, Some(answer)));
    lines.push(text("5b7d3a52-0000-4000-8000-00000000000b", &second.to_string(), "two"));
    let more: String = lines[2..].iter().map(|line| format!("{line}\n")).collect();
    let whole = disk.text() + &more;
    std::fs::File::options()
        .append(true)
        .open(disk.path())
        .and_then(|mut file| std::io::Write::write_all(&mut file, more.as_bytes()))
        .expect("a CLI appends");
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options()
        .append(true)
        .open(&copy)
        .and_then(|file| file.set_modified(later))
        .expect("dated");
    let Resumable::At { path, .. } = disk.prepare(&[answered(second)], None) else { panic!("it is there") };
    assert_eq!((path, disk.text().starts_with(&whole)), (disk.path(), true));
}

#[test]
fn a_prompt_in_words_of_the_clis_is_not_sent_again() {
    for words in ["[Request interrupted by user] is what it said", "<local-command-stdout> what is that?"] {
        let turn = TurnId::new();
        let mut line = prompt(turn, None);
        line["message"]["content"] = json!(words);
        let Resumable::At { open, .. } = Disk::new(&[line]).prepare(&[], Some(turn)) else {
            panic!("it is there")
        };
        assert_eq!(open, OpenPrompt::Woven, "{words}");
    }
}

#[test]
fn a_file_that_was_joined_is_resumed_where_the_next_start_resumes_it() {
    // Found at random: behind the hole stands a prompt that was woven into a branch which had no beginning before.
    let disk = Disk::of(include_bytes!("../../../tests/fuzz/seeds/transcripts/joined"));
    let turn = |id: &str| id.parse::<TurnId>().expect("an id");
    let settled = [answered(turn("11111111-1111-4111-8111-111111111111"))];
    let open = turn("22222222-2222-4222-8222-222222222222");
    let start = || match prepare(disk.config_dir(), disk.id, &known(&settled), Some(open)) {
        Ok(Resumable::At { leaf, open, mended, hint_written, .. }) => (leaf, open, mended, hint_written),
        other => panic!("{other:?}"),
    };
    let (leaf, open, mended, _) = start();
    assert_eq!(mended, 1);
    assert_eq!(start(), (leaf, open, 0, false), "what is ready stays as it is");
}
