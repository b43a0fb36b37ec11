//! Where a conversation is resumed, as a table of transcripts.

use proptest::prelude::*;
use treewarden_core::resume_point::{Entry, Lost, Role, Transcript};

fn entry(uuid: &str, parent: &str, role: Role) -> Entry {
    let parent = (!parent.is_empty()).then(|| parent.to_owned());
    Entry { uuid: uuid.into(), parent, role, side_chain: false, calls: vec![], results: vec![] }
}

fn user(uuid: &str, parent: &str) -> Entry {
    entry(uuid, parent, Role::User)
}

fn answer(uuid: &str, parent: &str) -> Entry {
    entry(uuid, parent, Role::Assistant)
}

fn call(uuid: &str, parent: &str, tool: &str) -> Entry {
    Entry { calls: vec![tool.into()], ..answer(uuid, parent) }
}

fn result(uuid: &str, parent: &str, tool: &str) -> Entry {
    Entry { results: vec![tool.into()], ..user(uuid, parent) }
}

fn of(entries: impl IntoIterator<Item = Entry>) -> Transcript {
    let mut transcript = Transcript::default();
    entries.into_iter().for_each(|entry| transcript.entry(entry));
    transcript
}

#[test]
fn the_newest_message_is_the_leaf() {
    assert_eq!(of([user("p1", ""), answer("a1", "p1")]).leaf(), Some("a1"));
    let link = entry("x", "a1", Role::Link);
    assert_eq!(of([user("p1", ""), answer("a1", "p1"), link]).leaf(), Some("a1"));
}

#[test]
fn a_side_chain_is_never_the_leaf() {
    let inner = Entry { side_chain: true, ..answer("s1", "p1") };
    assert_eq!(of([user("p1", ""), answer("a1", "p1"), inner]).leaf(), Some("a1"));
}

#[test]
fn a_tool_call_without_its_result_is_left_out() {
    assert_eq!(of([user("p1", ""), call("c1", "p1", "t1")]).leaf(), Some("p1"));
    let parallel = [user("p1", ""), call("c1", "p1", "t1"), call("c2", "c1", "t2")];
    assert_eq!(of(parallel).leaf(), Some("p1"));
    assert_eq!(of([user("p1", ""), call("c1", "p1", "t1"), result("r1", "c1", "t1")]).leaf(), Some("r1"));
}

#[test]
fn the_cli_is_told_when_its_hint_names_a_dead_branch() {
    let mut transcript = of([user("p1", ""), call("dead", "p1", "t1"), user("p2", "p1"), answer("a2", "p2")]);
    transcript.hint("dead");
    let point = transcript.resume_point(Some("p2")).expect("the conversation is there");
    assert_eq!((point.leaf.as_str(), point.hint), ("a2", true));
}

#[test]
fn a_hint_at_a_link_behind_the_leaf_is_right_already() {
    let mut transcript = of([user("p1", ""), answer("a1", "p1"), entry("x", "a1", Role::Link)]);
    transcript.hint("x");
    assert!(!transcript.resume_point(Some("p1")).expect("the conversation is there").hint);
}

#[test]
fn a_branch_without_the_last_settled_turn_is_not_the_conversation() {
    let transcript = of([user("p1", ""), answer("a1", "p1")]);
    assert!(matches!(transcript.resume_point(Some("p2")), Err(Lost::Settled { .. })));
    assert_eq!(of([]).resume_point(None), Err(Lost::Empty));
}

#[test]
fn only_what_follows_a_prompt_is_an_answer_to_it() {
    let transcript =
        of([user("p1", ""), answer("a1", "p1"), user("p2", "a1"), answer("a2", "p2"), answer("a3", "a2")]);
    assert_eq!(transcript.messages_after("a3", "p2"), Some(vec!["a3", "a2"]));
    assert_eq!(transcript.messages_after("a1", "p2"), None);
}

proptest! {
    /// Whatever the tree, circles and missing parents included: the leaf is a message of the main conversation, and no
    /// tool call of it dangles.
    #[test]
    fn the_leaf_never_dangles(
        shape in prop::collection::vec((0usize..12, 0u8..4, any::<bool>(), any::<bool>()), 0..12),
    ) {
        let name = |at: usize| format!("e{at}");
        let entries: Vec<Entry> = shape
            .iter()
            .enumerate()
            .map(|(at, (parent, kind, side_chain, done))| {
                let role = match kind { 0 => Role::User, 1 | 2 => Role::Assistant, _ => Role::Link };
                let calls = if *kind == 2 { vec![name(at)] } else { vec![] };
                let results = if *done { calls.clone() } else { vec![] };
                Entry { uuid: name(at), parent: Some(name(*parent)), role, side_chain: *side_chain, calls, results }
            })
            .collect();
        let transcript = of(entries.clone());
        if let Some(leaf) = transcript.leaf() {
            let entry = entries.iter().find(|entry| entry.uuid == leaf).expect("the leaf is an entry");
            prop_assert!(entry.role != Role::Link);
            prop_assert!(entry.calls.is_empty() || !entry.results.is_empty() || entry.role == Role::User);
            prop_assert!(transcript.resume_point(Some(leaf)).is_ok());
        }
    }
}
