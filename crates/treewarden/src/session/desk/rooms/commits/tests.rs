use std::time::Duration;

use tokio::sync::oneshot;
use treewarden_core::session::Answer;
use treewarden_proto::{SessionId, SessionName};

use super::super::job::{IN_HAND, PATIENCE, Refused};
use super::*;

fn tenure(seq: u64) -> Tenure {
    Tenure { name: "a".parse().expect("a name"), epoch: 1, seq }
}

fn identity() -> Identity {
    let name: SessionName = "a".parse().expect("a name");
    Identity::new(Some(SessionRecord::new(name, SessionId::random())))
}

fn committed(seq: u64) -> Committed {
    Committed { next: tenure(seq), already: Vec::new(), unknown: Vec::new() }
}

fn answer(turn: TurnId, text: &str) -> Outcome {
    let json = format!(r#"{{"outcome":"completed","text":{text:?},"session_id":"{}"}}"#, SessionId::random());
    let record: treewarden_core::session::OutcomeRecord<'_> =
        serde_json::from_str(&json).expect("an outcome");
    record.into_outcome(turn, SessionId::random())
}

fn text(outcome: &Outcome) -> Option<&str> {
    outcome.answer().map(|Answer { text, .. }| text.as_str())
}

fn outcome(turn: TurnId, now: Instant) -> Job {
    Job::default().with_outcome((turn, answer(turn, "ours")), None, now, 1)
}

/// A queue that has its tenure.
fn commits() -> Commits {
    let mut commits = Commits::default();
    assert!(!commits.take(tenure(0)), "nobody had it before");
    commits
}

#[test]
fn what_has_happened_is_stored_together_and_what_is_wanted_alone_and_in_order() {
    let (mut commits, identity, now) = (commits(), identity(), Instant::now());
    let [first, second, third] = [TurnId::new(), TurnId::new(), TurnId::new()];
    assert!(commits.push(outcome(first, now)), "a task is to be started");
    assert!(!commits.push(outcome(second, now)), "it is there");
    let (done, mut wait) = oneshot::channel();
    commits.push(
        Job::wanted(Box::new(|record| {
            record.stopped = true;
            true
        }))
        .telling(done, None),
    );
    commits.push(outcome(third, now));
    let turns = |change: &Change| change.settle.iter().map(|settle| settle.turn).collect::<Vec<_>>();
    let (with, change) = commits.next(&identity).expect("there is something");
    assert_eq!((with, turns(&change), &change.record), (tenure(0), vec![first, second], &None));
    assert_eq!(commits.stored(committed(1), true).len(), 2);
    let (with, change) = commits.next(&identity).expect("there is something");
    assert!(change.settle.is_empty() && change.record.is_some_and(|record| record.stopped));
    assert_eq!(with, tenure(1));
    assert!(!identity.record().expect("it is there").stopped, "it is not shown before it is stored");
    let stored = commits.stored(committed(2), true);
    assert!(stored[0].edit.is_some() && stored[0].done.is_some());
    assert!(wait.try_recv().is_err(), "whoever stores it says so");
    assert_eq!(turns(&commits.next(&identity).expect("the last").1), [third]);
    commits.stored(committed(3), true);
    assert!(commits.is_done());
}

#[test]
fn an_outcome_is_delivered_in_time_and_stays_in_hand_until_it_is_stored() {
    let (mut commits, identity, now) = (commits(), identity(), Instant::now());
    let turn = TurnId::new();
    commits.push(outcome(turn, now));
    assert_eq!(commits.untold(), [turn]);
    assert_eq!(commits.next_due(), Some(now + IN_HAND));
    assert!(commits.expire(now).is_empty());
    assert!(commits.next(&identity).is_some());
    assert!(commits.failed("locked", true, now).due.is_empty(), "it may go well in time");
    let due = commits.expire(now + IN_HAND);
    assert!(matches!(&due[..], [Due { stored: false, .. }]));
    assert!(commits.untold().is_empty() && commits.expire(now + IN_HAND).is_empty(), "once");
    assert_eq!((commits.in_hand(), commits.outcome(turn).is_some()), (1, true));
    assert!(commits.unstored().expect("it is said").contains("locked"));
    assert_eq!(commits.next(&identity).expect("it is tried on").1.settle.len(), 1);
    let stored = commits.stored(committed(1), true);
    assert!(stored[0].due.is_none(), "it was delivered");
    assert_eq!((commits.in_hand(), commits.unstored()), (0, None));
}

#[test]
fn where_nothing_will_come_an_outcome_is_delivered_at_once_and_what_is_wanted_refused() {
    let (mut commits, identity, now) = (commits(), identity(), Instant::now());
    commits.push(outcome(TurnId::new(), now));
    assert!(commits.next(&identity).is_some());
    assert_eq!(commits.failed("read-only", false, now).due.len(), 1);
    commits.stored(committed(1), true);
    let mut commits = self::commits();
    let (done, mut wait) = oneshot::channel();
    commits.push(Job::wanted(Box::new(|_| true)).telling(done, None));
    assert!(commits.next(&identity).is_some());
    assert!(!commits.failed("read-only", false, now).stays, "it is not tried again");
    let refused = wait.try_recv().expect("it is told").expect_err("it is refused");
    assert_eq!((refused.to_string().as_str(), commits.is_empty()), ("read-only", true));
}

#[test]
fn whoever_waits_long_enough_is_told_the_stores_words_and_what_is_not_wanted_any_more_is_let_go() {
    let (mut commits, identity, now) = (commits(), identity(), Instant::now());
    commits.push(outcome(TurnId::new(), now));
    assert!(commits.next(&identity).is_some());
    let (done, mut wait) = oneshot::channel();
    commits.push(Job::wanted(Box::new(|_| true)).telling(done, Some(now + PATIENCE)));
    let (gone, _) = oneshot::channel();
    commits.push(Job::note(Some(TurnId::new()), None).telling(gone, None));
    commits.failed("locked", true, now);
    commits.expire(now + PATIENCE);
    assert_eq!(wait.try_recv().expect("told").expect_err("refused").to_string(), "locked");
    assert_eq!((commits.in_hand(), commits.jobs.len()), (1, 1), "the outcome alone is left");
}

#[test]
fn an_outcome_that_stood_before_counts_unless_it_is_this_very_one() {
    let (mut commits, identity, now) = (commits(), identity(), Instant::now());
    let [first, second] = [TurnId::new(), TurnId::new()];
    commits.push(outcome(first, now));
    commits.push(outcome(second, now));
    let (_, change) = commits.next(&identity).expect("there is something");
    let ours = change.settle[0].outcome.clone();
    let theirs = answer(second, "theirs").to_json().expect("JSON").into_boxed_str();
    let already = vec![(first, ours), (second, theirs)];
    let stored = commits.stored(Committed { already, ..committed(1) }, true);
    let said: Vec<_> = stored
        .iter()
        .map(|stored| (stored.ours, stored.due.as_ref().and_then(|due| text(&due.outcome))))
        .collect();
    assert_eq!(said, [(true, Some("ours")), (false, Some("theirs"))]);
}

#[test]
fn what_has_happened_is_made_on_a_record_that_another_wrote() {
    let (mut commits, identity) = (commits(), identity());
    let id = SessionId::random();
    commits.push(Job::held(Box::new(move |record| {
        record.follow(id);
        true
    })));
    assert!(commits.next(&identity).is_some());
    commits.lose();
    assert!(commits.tenure().is_none() && commits.take(tenure(7)), "the record may be another's");
    let mut theirs = SessionRecord::new("a".parse().expect("a name"), SessionId::random());
    theirs.stopped = true;
    commits.rebase(&mut theirs);
    assert_eq!((theirs.session_id, theirs.stopped), (id, true));
}

#[test]
fn a_commit_without_anything_to_store_is_not_made() {
    let (mut commits, identity) = (commits(), identity());
    let (done, mut wait) = oneshot::channel();
    commits.push(Job::default().telling(done, Some(Instant::now() + Duration::from_secs(1))));
    assert!(commits.next(&identity).is_none());
    assert!(matches!(wait.try_recv(), Ok(Ok(false))));
    assert!(commits.is_done());
}

/// Fails the next commit for good, and returns the turns that it was of and what is news.
fn refuse(commits: &mut Commits, identity: &Identity, now: Instant) -> (Vec<TurnId>, Option<Refused>) {
    let (_, change) = commits.next(identity).expect("it is tried on");
    let turns = change.settle.iter().map(|settle| settle.turn).collect();
    (turns, commits.failed("too big", false, now).refused)
}

#[test]
fn what_is_refused_for_good_is_found_among_others_told_once_and_keeps_nobody_waiting() {
    let (mut commits, identity, now) = (commits(), identity(), Instant::now());
    let [first, second, third] = [TurnId::new(), TurnId::new(), TurnId::new()];
    for turn in [first, second, third] {
        commits.push(outcome(turn, now));
    }
    assert_eq!(
        refuse(&mut commits, &identity, now),
        (vec![first, second, third], None),
        "nobody knows which"
    );
    assert_eq!(commits.next(&identity).expect("it is tried alone").1.settle.len(), 1);
    commits.stored(committed(1), true);
    let news = Some(Refused { turn: Some(second), let_go: false });
    assert_eq!(refuse(&mut commits, &identity, now), (vec![second], news));
    let (done, mut wait) = oneshot::channel();
    commits.push(Job::note(None, Some(Box::new(|_| true))).telling(done, None));
    assert_eq!(refuse(&mut commits, &identity, now), (vec![second], None), "it is said once");
    let told = wait.try_recv().expect("told").expect_err("it would wait for ever").to_string();
    assert!(told.contains("too big") && told.contains("restart"), "{told}");
    assert!(commits.unstored().expect("it is shown").contains("restart"));
}

#[test]
fn what_is_refused_is_let_go_for_a_note_or_for_nothing() {
    for takes_the_note in [true, false] {
        let (mut commits, identity, now) = (commits(), identity(), Instant::now());
        let [first, second] = [TurnId::new(), TurnId::new()];
        commits.push(outcome(first, now));
        assert!(!commits.let_go(), "nothing is refused");
        refuse(&mut commits, &identity, now);
        commits.push(outcome(second, now));
        assert!(commits.let_go() && commits.lets_go());
        // It was on its way as it is.
        assert_eq!(refuse(&mut commits, &identity, now).1, None);
        let (_, change) = commits.next(&identity).expect("a note is tried");
        assert!(change.settle[0].outcome.contains("refused it for good: too big"), "{change:?}");
        if takes_the_note {
            let n = change.settle.len();
            assert_eq!(commits.stored(committed(1), true).len(), n);
        } else {
            let gone = loop {
                if let Some(gone) = commits.failed("too big", false, now).refused {
                    break gone;
                }
                commits.next(&identity).expect("what else waits is tried");
            };
            assert_eq!(gone, Refused { turn: Some(first), let_go: true });
        }
        let left = commits.jobs.iter().filter_map(|job| job.settle.as_ref()).map(|settle| settle.turn);
        assert!(left.into_iter().all(|turn| turn == second), "the first is gone");
    }
}
