//! A conversation is made ready for a resume, or said to be lost.

mod support;

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::{
    Disk, answered, by_the_cli, call, hint, interruption, known, meta, prompt, result, text, woven,
};
use treewarden_proto::TurnId;
use treewarden_transcript::{Kept, OpenPrompt, Resumable, Saved, Settled};

/// A conversation of turns that were each answered by `a1`, `a2`, ….
fn turns(count: usize) -> (Vec<TurnId>, Vec<Value>) {
    let turns: Vec<TurnId> = (0..count).map(|_| TurnId::new()).collect();
    let mut lines = Vec::new();
    for (at, turn) in turns.iter().enumerate() {
        let before = format!("a{at}");
        lines.push(prompt(*turn, (at > 0).then_some(&*before)));
        lines.push(text(&format!("a{}", at + 1), &turn.to_string(), "hi"));
    }
    (turns, lines)
}

#[test]
fn without_a_transcript_nothing_is_persisted() {
    let disk = Disk::empty();
    assert_eq!(disk.prepare(&[], None), Resumable::NothingPersisted);
    assert_eq!(disk.prepare(&[by_the_cli(TurnId::new())], None), Resumable::NothingPersisted);
    assert_eq!(disk.answer(TurnId::new()), None);
    assert_eq!(disk.holds(&known(&[])), Saved::Yes);
}

#[test]
fn a_transcript_without_a_message_is_begun_anew() {
    let disk = Disk::new(&[json!({ "type": "queue-operation" })]);
    assert_eq!(disk.prepare(&[], None), Resumable::NothingPersisted);
}

#[test]
fn a_torn_last_line_is_ended_and_no_line_is_changed() {
    let (turns, lines) = turns(1);
    let disk = Disk::new(&lines);
    let before = disk.text() + "{\"type\":\"assis";
    disk.write(&before);
    assert_eq!(disk.leaf(&[answered(turns[0])], None), "a1");
    assert!(disk.text().starts_with(&before), "what stood there stands there still");
    assert!(disk.text()[before.len()..].starts_with('\n'));
}

#[test]
fn the_hint_is_written_once_and_names_the_true_leaf() {
    let turn = TurnId::new();
    let id = turn.to_string();
    for stale in [Some(hint("dead")), Some(hint("gone")), None] {
        let mut lines = vec![prompt(turn, None), call("dead", &id)];
        lines.extend(stale);
        lines.push(text("a1", &id, "hi"));
        let disk = Disk::new(&lines);
        let first = disk.prepare(&[answered(turn)], Some(turn));
        let leaf = "a1".to_owned();
        let kept = Kept::Linked;
        let (open, path, name) = (OpenPrompt::Own, disk.path(), Some(id.clone()));
        let at = Resumable::At {
            leaf,
            hint_written: true,
            open,
            mended: 0,
            path,
            first: name,
            put_back: None,
            kept,
            written_by: None,
        };
        assert_eq!(first, at);
        let last: Value = serde_json::from_str(disk.text().lines().last().expect("a line")).expect("JSON");
        assert_eq!((&last["leafUuid"], &last["sessionId"]), (&json!("a1"), &json!(disk.id)));
        let again = disk.text();
        let second = disk.prepare(&[answered(turn)], None);
        assert!(
            matches!(second, Resumable::At { hint_written: false, kept: Kept::Already, .. }),
            "{second:?}"
        );
        assert_eq!(disk.text(), again);
    }
}

#[test]
fn the_version_that_wrote_last_is_told_wherever_it_stands() {
    let (turns, mut lines) = turns(2);
    lines[0]["version"] = json!("2.1.332");
    lines[1]["version"] = json!("2.1.330");
    let disk = Disk::new(&lines);
    let found = disk.prepare(&[answered(turns[1])], None);
    assert!(matches!(&found, Resumable::At { written_by: Some(by), .. } if by == "2.1.330"), "{found:?}");
}

#[test]
fn a_hint_at_a_link_behind_the_leaf_is_right_already() {
    let (turns, mut lines) = turns(1);
    lines.push(json!({ "type": "attachment", "uuid": "x", "parentUuid": "a1", "attachment": {} }));
    lines.push(hint("x"));
    let disk = Disk::new(&lines);
    let found = disk.prepare(&[answered(turns[0])], None);
    assert!(matches!(found, Resumable::At { hint_written: false, .. }), "{found:?}");
}

#[test]
fn a_tool_call_without_its_result_is_the_leaf() {
    let turn = TurnId::new();
    let disk = Disk::new(&[prompt(turn, None), call("c1", &turn.to_string())]);
    let found = disk.prepare(&[], Some(turn));
    assert!(matches!(found, Resumable::At { leaf, open: OpenPrompt::Own, .. } if leaf == "c1"));
}

#[test]
fn a_side_chain_is_never_the_leaf() {
    let (turns, mut lines) = turns(1);
    let mut inner = text("s1", &turns[0].to_string(), "inner");
    inner["isSidechain"] = json!(true);
    lines.push(inner);
    assert_eq!(Disk::new(&lines).leaf(&[answered(turns[0])], None), "a1");
}

#[test]
fn a_settled_turn_that_is_not_there_is_a_lost_conversation() {
    let (turns, lines) = turns(2);
    let disk = Disk::new(&lines);
    let gone = TurnId::new();
    let reason = disk.lost(&[answered(gone), answered(turns[1])]);
    assert!(
        reason.contains(&gone.to_string()) && reason.contains(&disk.path().display().to_string()),
        "{reason}"
    );
    let saved = disk.holds(&known(&[by_the_cli(TurnId::new()), answered(gone)]));
    assert_eq!(saved, Saved::No { missing: gone });
}

#[test]
fn a_turn_that_the_cli_wrote_nowhere_is_not_missed() {
    let (turns, lines) = turns(2);
    let disk = Disk::new(&lines);
    let settled = [by_the_cli(TurnId::new()), by_the_cli(TurnId::new()), answered(turns[1])];
    assert_eq!(disk.leaf(&settled, None), "a2");
    assert_eq!(disk.holds(&known(&settled)), Saved::Yes);
    // One that is in the file all the same says where the conversation is.
    let settled = [by_the_cli(turns[1]), answered(TurnId::new())];
    assert_eq!(disk.leaf(&settled, None), "a2");
}

#[test]
fn an_answer_that_a_full_disk_swallowed_is_missed() {
    let (turns, mut lines) = turns(2);
    lines.pop();
    let disk = Disk::new(&lines);
    let reason = disk.lost(&[answered(turns[1])]);
    assert!(reason.contains("answer") && reason.contains(&turns[1].to_string()), "{reason}");
    let saved = disk.holds(&known(&[answered(turns[1])]));
    assert_eq!(saved, Saved::No { missing: turns[1] });
    let silent = Settled { turn: turns[1], written: true, answered: false };
    assert_eq!(disk.leaf(&[silent], None), turns[1].to_string());
}

#[test]
fn a_late_result_on_an_old_call_does_not_make_the_conversation_lost() {
    let first = TurnId::new();
    let second = TurnId::new();
    let lines = [
        prompt(first, None),
        call("c1", &first.to_string()),
        result("r1", "c1"),
        text("a1", "r1", "one"),
        prompt(second, Some("a1")),
        text("a2", &second.to_string(), "two"),
        result("late", "c1"),
    ];
    assert_eq!(Disk::new(&lines).leaf(&[answered(second)], None), "a2");
    // Not even where the old call is the last turn's.
    let own = [&lines[..4], &lines[6..]].concat();
    assert_eq!(Disk::new(&own).leaf(&[answered(first)], None), "a1");
    // The open turn goes on where it was.
    let open = TurnId::new();
    let lines =
        [&lines[..], &[prompt(open, Some("a2")), call("c3", &open.to_string()), result("late2", "c1")]]
            .concat();
    let found = Disk::new(&lines).prepare(&[answered(second)], Some(open));
    assert!(matches!(found, Resumable::At { leaf, open: OpenPrompt::Own, .. } if leaf == "c3"));
}

#[test]
fn results_of_tools_that_ran_side_by_side_are_the_leaf() {
    let turn = TurnId::new();
    let lines = [
        prompt(turn, None),
        call("c1", &turn.to_string()),
        call("c2", "c1"),
        result("r1", "c1"),
        result("r2", "c2"),
    ];
    assert_eq!(Disk::new(&lines).leaf(&[], Some(turn)), "r2");
}

#[test]
fn a_prompt_that_was_woven_into_another_turn_is_found_there() {
    let (turns, mut lines) = turns(1);
    let open = TurnId::new();
    lines.extend([
        meta("m", "a1", "<task-notification>"),
        call("c", "m"),
        result("r", "c"),
        woven("w", open, "r"),
    ]);
    let disk = Disk::new(&lines);
    let found = disk.prepare(&[answered(turns[0])], Some(open));
    assert!(
        matches!(&found, Resumable::At { leaf, open: OpenPrompt::Woven, .. } if leaf == "w"),
        "{found:?}"
    );
    lines.push(text("a2", "w", "two"));
    let disk = Disk::new(&lines);
    let found = disk.prepare(&[answered(turns[0])], Some(open));
    assert!(
        matches!(&found, Resumable::At { leaf, open: OpenPrompt::Woven, .. } if leaf == "a2"),
        "{found:?}"
    );
    assert_eq!(disk.leaf(&[answered(open)], None), "a2");
}

#[test]
fn an_open_turn_that_never_reached_the_transcript_is_not_run_again() {
    let (turns, lines) = turns(1);
    let found = Disk::new(&lines).prepare(&[answered(turns[0])], Some(TurnId::new()));
    assert!(matches!(found, Resumable::At { open: OpenPrompt::Absent, .. }));
}

#[test]
fn an_interrupted_turn_behind_the_last_answer_is_gone_on_behind() {
    let (turns, mut lines) = turns(1);
    let stopped = TurnId::new();
    lines.extend([prompt(stopped, Some("a1")), interruption("n", &stopped.to_string())]);
    assert_eq!(Disk::new(&lines).leaf(&[answered(turns[0])], None), "n");
}

#[test]
fn an_old_transcript_is_dated_anew_before_the_cli_that_resumes_it_cleans_up() {
    let (turns, mut lines) = turns(1);
    lines.push(hint("a1"));
    let disk = Disk::new(&lines);
    let old = SystemTime::now() - Duration::from_secs(40 * 24 * 60 * 60);
    let file = std::fs::File::options().append(true).open(disk.path()).expect("it is there");
    file.set_modified(old).expect("dated");
    let before = disk.text();
    disk.leaf(&[answered(turns[0])], None);
    assert_eq!(disk.text(), before);
    assert!(
        disk.path().metadata().expect("there").modified().expect("dated") > old + Duration::from_secs(60)
    );
}

#[test]
fn a_turn_behind_which_another_writer_went_on_is_not_carried_on() {
    let (settled, ours, theirs) = (TurnId::new(), TurnId::new(), TurnId::new());
    let mut lines = vec![
        prompt(settled, None),
        text("a1", &settled.to_string(), "one"),
        prompt(ours, Some("a1")),
        call("c2", &ours.to_string()),
        prompt(theirs, Some("c2")),
        text("a3", &theirs.to_string(), "three"),
    ];
    let opened = |lines: &[Value], known: &[Settled]| match Disk::new(lines).prepare(known, Some(ours)) {
        Resumable::At { leaf, open, .. } => (leaf, open),
        other => panic!("it is there: {other:?}"),
    };
    // The other writer's turn may be known, too: in one state directory.
    for known in [&[answered(settled)][..], &[answered(theirs), answered(settled)]] {
        assert_eq!(opened(&lines, known), ("a3".to_owned(), OpenPrompt::Overtaken));
        assert_eq!(opened(&lines[..5], &known[known.len() - 1..]).1, OpenPrompt::Overtaken);
    }
    assert_eq!(opened(&lines[..4], &[answered(settled)]).1, OpenPrompt::Own);
    // An earlier version asked to go on behind the other's answer.
    lines.push(prompt(ours.nudge(1), Some("a3")));
    assert_eq!(opened(&lines, &[answered(settled)]).1, OpenPrompt::Overtaken);
}
