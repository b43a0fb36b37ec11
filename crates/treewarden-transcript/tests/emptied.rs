//! A transcript that was emptied, cut off or replaced: put back from a copy, or lost, and never taken for a blank one.

mod support;

use std::fs;

use serde_json::Value;
use support::*;
use treewarden_proto::TurnId;
use treewarden_transcript::{Kept, Known, Resumable, Saved, Settled, keep};

/// Two turns that were answered, and what is known of them.
fn two_turns() -> ([TurnId; 2], Vec<Value>) {
    let turns = [TurnId::new(), TurnId::new()];
    let lines = vec![
        prompt(turns[0], None),
        text("a1", &turns[0].to_string(), "one"),
        prompt(turns[1], Some("a1")),
        text("a2", &turns[1].to_string(), "two"),
    ];
    (turns, lines)
}

fn text_of(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What is known once the first message was seen.
fn seen(settled: &[Settled], first: TurnId) -> Known {
    Known { first: Some(first.to_string()), ..known(settled) }
}

/// Puts another file in the place of the CLI's, as an editor does; the second name goes on standing for the old one.
fn replace(disk: &Disk, text: &str) {
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Linked);
    fs::remove_file(disk.path()).expect("removed");
    disk.write(text);
}

fn put_back(found: &Resumable) -> bool {
    matches!(found, Resumable::At { put_back: Some(_), mended: 0, kept: Kept::Linked, .. })
}

#[test]
fn what_an_editor_emptied_is_put_back_from_the_second_name() {
    let (turns, lines) = two_turns();
    let disk = Disk::new(&lines);
    let whole = disk.text();
    // Empty, and with the beginning alone.
    for left in [String::new(), text_of(&lines[..2])] {
        replace(&disk, &left);
        let known = seen(&[answered(turns[1])], turns[0]);
        let found = disk.prepare_known(&known, None);
        assert!(put_back(&found), "{found:?}");
        assert!(disk.text().starts_with(&whole));
        assert_eq!(disk.holds(&known), Saved::Yes);
        assert_eq!(fs::read(disk.second_name()).expect("there"), disk.bytes());
        let names = fs::read_dir(disk.path().parent().expect("a folder")).expect("readable").count();
        assert_eq!(names, 1, "the name for the moment is gone");
        disk.write(&whole);
        fs::remove_file(disk.second_name()).expect("removed");
    }
}

#[test]
fn what_came_after_is_put_behind_what_was_before() {
    let (turns, lines) = two_turns();
    let disk = Disk::new(&lines[..2]);
    replace(&disk, &text_of(&lines[2..]));
    let known = seen(&[answered(turns[1])], turns[0]);
    assert_eq!(disk.holds(&known), Saved::Cut { first: turns[0].to_string() });
    let found = disk.prepare_known(&known, None);
    assert!(put_back(&found), "{found:?}");
    let text = disk.text();
    let at =
        |word: &str| text.find(&format!("\"uuid\":\"{word}\"")).unwrap_or_else(|| panic!("{word} in {text}"));
    assert!(at("a1") < at("a2"));
    assert!(matches!(found, Resumable::At { first, leaf, .. } if first == known.first && leaf == "a2"));
}

#[test]
fn a_conversation_that_was_emptied_in_place_is_lost() {
    let (turns, lines) = two_turns();
    let only_after = text_of(&lines[2..]);
    for (left, settled) in [
        ("", vec![answered(turns[1])]),
        // Nothing came to an answer, or no journal is kept.
        ("", vec![]),
        ("{\"type\":\"queue-operation\"}\n", vec![]),
        // What a live CLI wrote behind nothing.
        (&*only_after, vec![answered(turns[1])]),
        (&*only_after, vec![]),
    ] {
        let disk = Disk::new(&lines[..2]);
        assert_eq!(keep(disk.config_dir(), disk.id), Kept::Linked);
        disk.write(left);
        let known = seen(&settled, turns[0]);
        let Resumable::Lost { reason } = disk.prepare_known(&known, None) else { panic!("{left} is all") };
        let is_named = [turns[0], turns[1]].iter().any(|turn| reason.contains(&turn.to_string()));
        assert!(is_named && reason.contains(&disk.path().display().to_string()), "{reason}");
        assert_eq!(reason.contains("empty"), left.is_empty(), "{reason}");
        assert_ne!(disk.holds(&known), Saved::Yes, "{left}");
        assert_eq!(disk.text(), left, "nothing is done to it");
    }
}

#[test]
fn a_copy_in_another_folder_is_put_back_if_it_is_the_whole() {
    let (turns, lines) = two_turns();
    let disk = Disk::new(&lines);
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Linked);
    let copy = disk.config_dir().join("projects/-moved").join(disk.path().file_name().expect("a name"));
    fs::create_dir_all(copy.parent().expect("a folder")).expect("made");
    disk.write("");
    let known = seen(&[answered(turns[1])], turns[0]);
    fs::write(&copy, text_of(&lines[..2])).expect("an old copy");
    assert!(matches!(disk.prepare_known(&known, None), Resumable::Lost { .. }));
    fs::write(&copy, text_of(&lines)).expect("a whole copy");
    let Resumable::At { put_back, path, .. } = disk.prepare_known(&known, None) else {
        panic!("it is there")
    };
    assert_eq!((put_back, path), (Some(copy), disk.path()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_copy_that_cannot_be_read_does_not_keep_the_next_one_from_being_found() {
    let (turns, lines) = two_turns();
    let disk = Disk::new(&lines);
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Linked);
    let projects = disk.config_dir().join("projects");
    for folder in ["-one", "-two"] {
        fs::create_dir(projects.join(folder)).expect("made");
    }
    disk.write(text_of(&lines[..2]));
    let file = disk.path();
    let name = file.file_name().expect("a name");
    // In the order in which they are looked at.
    let folders = fs::read_dir(&projects).expect("listed").map(|entry| entry.expect("an entry").path());
    let copies: Vec<_> = folders.map(|folder| folder.join(name)).filter(|copy| *copy != file).collect();
    // A plain file whose beginning nobody can read, whoever asks.
    std::os::unix::fs::symlink("/proc/self/mem", &copies[0]).expect("linked");
    let known = seen(&[answered(turns[1])], turns[0]);
    let error = treewarden_transcript::prepare(disk.config_dir(), disk.id, &known, None);
    assert!(error.is_err(), "there is no other: {error:?}");
    fs::write(&copies[1], text_of(&lines)).expect("a whole copy");
    let Resumable::At { put_back, .. } = disk.prepare_known(&known, None) else { panic!("it is there") };
    assert_eq!(put_back.as_ref(), Some(&copies[1]));
}

#[test]
fn a_conversation_that_was_seen_and_is_gone_is_lost_though_nothing_in_it_was_answered() {
    let first = TurnId::new();
    let disk = Disk::empty();
    let Resumable::Lost { reason } = disk.prepare_known(&seen(&[], first), None) else {
        panic!("it was there")
    };
    assert!(reason.contains(&first.to_string()) && reason.contains("cleanupPeriodDays"), "{reason}");
    assert_eq!(disk.holds(&seen(&[], first)), Saved::Cut { first: first.to_string() });
}

#[test]
fn a_file_that_was_cut_by_hand_and_is_whole_for_itself_goes_on() {
    let (turns, mut lines) = two_turns();
    lines[2]["parentUuid"] = Value::Null;
    let disk = Disk::new(&lines[2..]);
    let known = seen(&[answered(turns[1])], turns[0]);
    assert_eq!(disk.holds(&known), Saved::Yes);
    let found = disk.prepare_known(&known, None);
    assert!(
        matches!(&found, Resumable::At { first, .. } if *first == Some(turns[1].to_string())),
        "{found:?}"
    );
}
