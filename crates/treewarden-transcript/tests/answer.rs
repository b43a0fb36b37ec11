//! The answer to a turn is its own.

mod support;

use serde_json::json;
use support::{Disk, call, interruption, meta, notification, printed, prompt, result, text, woven};
use treewarden_proto::TurnId;

fn id(turn: TurnId) -> String {
    turn.to_string()
}

#[test]
fn an_answer_belongs_to_the_last_prompt_before_it() {
    let (first, second) = (TurnId::new(), TurnId::new());
    let lines = [
        prompt(first, None),
        text("a1", &id(first), "one"),
        prompt(second, Some("a1")),
        call("c2", &id(second)),
    ];
    let disk = Disk::new(&lines);
    let answer = |turn| disk.answer(turn).expect("on disk");
    assert!(!answer(second).complete, "a tool call is no answer");
    assert_eq!((answer(first).text.as_str(), answer(first).complete), ("one", true));
    // A prompt that was not answered has not the answer of the next one.
    let lines = [prompt(first, None), prompt(second, Some(&id(first))), text("a2", &id(second), "two")];
    let disk = Disk::new(&lines);
    assert_eq!(disk.answer(first).map(|answer| (answer.text, answer.complete)), Some((String::new(), false)));
    assert_eq!(disk.answer(second).expect("on disk").text, "two");
}

#[test]
fn a_failure_of_the_model_api_is_no_answer_and_what_is_said_behind_it_is() {
    let turn = TurnId::new();
    let mut failure = text("f", &id(turn), "API Error: 529 Overloaded");
    failure["isApiErrorMessage"] = json!(true);
    let mut lines = vec![prompt(turn, None), failure];
    assert!(!Disk::new(&lines).answer(turn).expect("on disk").complete);
    let go = turn.nudge(33);
    lines.extend([prompt(go, Some("f")), text("a", &id(go), "at last")]);
    let answer = Disk::new(&lines).answer(turn).expect("on disk");
    assert_eq!((answer.text.as_str(), answer.complete), ("at last", true));
}

#[test]
fn the_answer_to_the_end_of_a_task_is_nobodys() {
    let turn = TurnId::new();
    let lines = [prompt(turn, None), notification("n", &id(turn)), text("a", "n", "noted")];
    assert!(!Disk::new(&lines).answer(turn).expect("on disk").complete);
}

#[test]
fn a_woven_prompt_has_the_answer_below_it() {
    let (first, second) = (TurnId::new(), TurnId::new());
    let lines = [
        prompt(first, None),
        text("a1", &id(first), "one"),
        notification("n", "a1"),
        call("c", "n"),
        result("r", "c"),
        woven("w", second, "r"),
        text("a2", "w", "two"),
    ];
    let disk = Disk::new(&lines);
    assert_eq!(disk.answer(first).expect("on disk").text, "one");
    assert_eq!(disk.answer(second).expect("on disk").text, "two");
}

#[test]
fn an_answer_below_a_nudge_is_the_turns_own() {
    let turn = TurnId::new();
    let lines = [
        prompt(turn, None),
        call("c", &id(turn)),
        meta("m", "c", "Continue from where you left off."),
        text("no", "m", "No response requested."),
        prompt(turn.nudge(3), Some("no")),
        text("a", &id(turn.nudge(3)), "at last"),
    ];
    for (count, expected) in [
        (3, ("", false)),
        (4, ("No response requested.", false)),
        (5, ("No response requested.", false)),
        (6, ("at last", true)),
    ] {
        let answer = Disk::new(&lines[..count]).answer(turn).expect("on disk");
        assert_eq!((answer.text.as_str(), answer.complete), expected, "{count}");
    }
}

#[test]
fn parts_of_one_message_are_put_together() {
    let turn = TurnId::new();
    let part = |uuid: &str, parent: &str, words: &str| {
        let mut part = text(uuid, parent, words);
        part["message"]["id"] = json!("one");
        part
    };
    let lines = [
        prompt(turn, None),
        text("a0", &id(turn), "before the tool"),
        call("c", "a0"),
        result("r", "c"),
        part("a1", "r", "to "),
        json!({ "type": "attachment", "uuid": "x", "parentUuid": "a1", "attachment": {} }),
        part("a2", "x", "the point"),
    ];
    assert_eq!(Disk::new(&lines).answer(turn).expect("on disk").text, "to the point");
}

#[test]
fn an_interruption_is_told_from_an_answer() {
    let turn = TurnId::new();
    let answer =
        Disk::new(&[prompt(turn, None), interruption("n", &id(turn))]).answer(turn).expect("on disk");
    assert!(answer.interrupted && !answer.complete);
}

#[test]
fn a_prompt_whose_line_came_twice_has_its_answer() {
    let turn = TurnId::new();
    let lines = [prompt(turn, None), text("a", &id(turn), "one"), prompt(turn, None)];
    assert_eq!(Disk::new(&lines).answer(turn).expect("on disk").text, "one");
}

#[test]
fn a_compaction_behind_an_answer_leaves_it_whole() {
    let turn = TurnId::new();
    let mut summary = meta("s", "b", "This session is being continued");
    (summary["isMeta"], summary["isCompactSummary"]) = (json!(null), json!(true));
    let boundary = json!({ "type": "system", "uuid": "b", "parentUuid": null, "logicalParentUuid": "a" });
    let lines = [prompt(turn, None), text("a", &id(turn), "one"), boundary, summary];
    let answer = Disk::new(&lines).answer(turn).expect("on disk");
    assert_eq!((answer.text.as_str(), answer.complete), ("one", true));
}

#[test]
fn what_was_said_before_a_prompt_was_asked_again_is_no_answer_to_it() {
    let turn = TurnId::new();
    let lines = [prompt(turn, None), text("a", &id(turn), "one"), prompt(turn, Some("a"))];
    assert!(!Disk::new(&lines).answer(turn).expect("on disk").complete);
}

#[test]
fn an_answer_below_a_nudge_behind_another_prompt_is_nobodys() {
    let (ours, theirs) = (TurnId::new(), TurnId::new());
    let lines = [
        prompt(ours, None),
        prompt(theirs, Some(&id(ours))),
        text("a3", &id(theirs), "three"),
        prompt(ours.nudge(2), Some("a3")),
        text("a4", &id(ours.nudge(2)), "three again"),
    ];
    for count in 2..=lines.len() {
        let answer = Disk::new(&lines[..count]).answer(ours).expect("on disk");
        assert_eq!((answer.text.as_str(), answer.complete, answer.overtaken), ("", false, true), "{count}");
    }
    let answer = Disk::new(&lines).answer(theirs).expect("on disk");
    assert_eq!((answer.text.as_str(), answer.complete), ("three", true));
}

#[test]
fn a_turn_that_was_answered_before_it_was_overtaken_has_its_answer() {
    let (ours, theirs) = (TurnId::new(), TurnId::new());
    let lines = [
        prompt(ours, None),
        call("c", &id(ours)),
        result("r", "c"),
        text("a2", "r", "two"),
        prompt(theirs, Some("a2")),
        text("a3", &id(theirs), "three"),
    ];
    let answer = Disk::new(&lines).answer(ours).expect("on disk");
    assert_eq!((answer.text.as_str(), answer.complete, answer.overtaken), ("two", true, true));
}

#[test]
fn a_turn_is_not_overtaken_by_what_the_cli_says_in_the_users_name() {
    let turn = TurnId::new();
    let behind = [
        notification("n", &id(turn)),
        printed("n", &id(turn)),
        meta("n", &id(turn), "Continue from where you left off."),
        interruption("n", &id(turn)),
    ];
    for line in behind {
        let nudged = prompt(turn.nudge(1), Some("n"));
        let lines = [prompt(turn, None), line.clone(), nudged, text("a", &id(turn.nudge(1)), "two")];
        let answer = Disk::new(&lines).answer(turn).expect("on disk");
        assert_eq!((answer.text.as_str(), answer.complete, answer.overtaken), ("two", true, false), "{line}");
    }
    // In such words a prompt is one all the same.
    let mut theirs = printed("n", &id(turn));
    theirs["promptSource"] = json!("sdk");
    let answer = Disk::new(&[prompt(turn, None), theirs]).answer(turn).expect("on disk");
    assert!(answer.overtaken);
}

#[test]
fn a_result_that_comes_late_for_an_overtaken_turn_brings_it_not_back() {
    let (ours, theirs) = (TurnId::new(), TurnId::new());
    let lines = [
        prompt(ours, None),
        call("c", &id(ours)),
        result("r", "c"),
        prompt(theirs, Some("r")),
        text("a3", &id(theirs), "three"),
        result("late", "c"),
    ];
    let answer = Disk::new(&lines).answer(ours).expect("on disk");
    assert_eq!((answer.complete, answer.overtaken), (false, true));
}
