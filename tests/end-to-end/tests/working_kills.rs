//! Sessions on the fake CLI that work for themselves are killed again and again: their own turns, prompts woven into
//! these, and prompts that the CLI answers by itself. No prompt is lost or doubled in the context, and each turn has its
//! own answer once.

#![expect(clippy::print_stdout, reason = "the table is what the run is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use treewarden::Session;
use treewarden::supervisor::Strategy;
use treewarden_end_to_end::fleet::Fleet;
use treewarden_end_to_end::id_of;
use treewarden_end_to_end::kills::Random;
use treewarden_end_to_end::shapes::{ANSWER, Shape, Tally, counter};
use treewarden_testkit::faults;

/// What one session was asked.
struct Asked {
    session: Session,
    tally: Tally,
    /// The tags of the prompts that the model saw, in order.
    tags: Vec<String>,
    refused: Vec<String>,
}

struct Course {
    shapes: &'static [Shape],
    over: AtomicBool,
    kills: AtomicU64,
    wanted: u64,
}

async fn ask(session: Session, n: u64, course: Arc<Course>) -> Asked {
    let mut random = Random::new(n);
    let mut asked = Asked { session, tally: Tally::default(), tags: Vec::new(), refused: Vec::new() };
    while !course.over.load(Ordering::Relaxed) {
        let at = random.below(course.shapes.len() as u64);
        let shape = course.shapes[usize::try_from(at).unwrap_or(0)];
        turn(&mut asked, shape, &mut random).await;
    }
    // The leaf of each conversation is an answer to it.
    turn(&mut asked, Shape::Plain, &mut random).await;
    asked
}

async fn turn(asked: &mut Asked, shape: Shape, random: &mut Random) {
    let tag = format!("PROMPT-{}-{}", asked.session.name(), random.below(u64::MAX));
    let prompt = shape.for_the_fake_cli(&tag);
    let answer = tokio::time::timeout(ANSWER, asked.session.query(shape.asked_as(&prompt))).await;
    let answer = answer.unwrap_or_else(|_| panic!("{shape:?} {tag}: no answer in time"));
    let answer = answer.unwrap_or_else(|error| panic!("{shape:?} {tag}: {error}"));
    assert!(shape.is_answered_by(&tag, &answer.text), "{shape:?} {tag}: {answer:?}");
    asked.tally.turn(shape, answer.interruptions);
    match shape {
        Shape::Refused => asked.refused.push(tag),
        _ if shape.asks_the_model() => asked.tags.push(tag),
        _ => {}
    }
    // Some of what follows comes in a turn of the CLI's own, some behind it.
    tokio::time::sleep(Duration::from_millis(random.below(120))).await;
}

/// Kills the session's CLI at random instants, until enough were killed.
async fn kill(session: Session, n: u64, course: Arc<Course>) {
    let mut random = Random::new(1000 + n);
    while !course.over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100 + random.below(700))).await;
        let pid = session.status().await.expect("the session is there").pid;
        if pid.is_some_and(|pid| faults::kill(pid).is_ok())
            && course.kills.fetch_add(1, Ordering::Relaxed) + 1 >= course.wanted
        {
            course.over.store(true, Ordering::Relaxed);
        }
    }
}

/// Each prompt stands once in what the model sees, in order, and a refused one never.
async fn check(fleet: &Fleet, asked: &Asked) {
    let context = fleet.lab.context(&id_of(&asked.session).await);
    let tags: Vec<&str> = context.iter().filter_map(|prompt| prompt.split(' ').next()).collect();
    let tags: Vec<&str> = tags.into_iter().filter(|tag| tag.starts_with("PROMPT-")).collect();
    assert_eq!(tags, asked.tags, "{}: each prompt once, in order", asked.session.name());
    assert!(!asked.refused.iter().any(|tag| tags.contains(&tag.as_str())));
}

async fn run(sessions: usize, wanted: u64, shapes: &'static [Shape]) {
    let fleet = Fleet::start(sessions, None, Strategy::OneForOne, u32::MAX).await;
    let over = AtomicBool::new(false);
    let course = Arc::new(Course { shapes, over, kills: AtomicU64::new(0), wanted });
    let (mut killers, mut askers) = (Vec::new(), Vec::new());
    for (n, session) in (0..).zip(&fleet.sessions) {
        killers.push(tokio::spawn(kill(session.clone(), n, Arc::clone(&course))));
        askers.push(tokio::spawn(ask(session.clone(), n, Arc::clone(&course))));
    }
    let mut all = Vec::new();
    for asker in askers {
        // The others end with this one, so that the run ends where something is lost.
        let asked = asker.await.inspect_err(|_| course.over.store(true, Ordering::Relaxed));
        all.push(asked.expect("every turn is answered"));
    }
    for killer in killers {
        killer.await.expect("kills");
    }
    let mut tally = Tally::default();
    for asked in &mut all {
        check(&fleet, asked).await;
        for tag in &asked.tags {
            if fleet.lab.path().join("work").join(counter(tag)).exists() {
                asked.tally.runs(Shape::Tool, &fleet.lab.path().join("work"), tag);
            }
        }
        tally.add(std::mem::take(&mut asked.tally));
    }
    println!("{}\n{} kills, {sessions} sessions", tally.table(), course.kills.load(Ordering::Relaxed));
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_killed_in_turns_with_tools_lose_and_double_nothing() {
    run(8, 60, &[Shape::Plain, Shape::Tool]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_killed_in_turns_of_their_own_lose_and_double_nothing() {
    run(8, 60, &[Shape::Plain, Shape::Background]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_killed_around_prompts_that_need_no_model_lose_and_double_nothing() {
    run(8, 60, &[Shape::Plain, Shape::Help, Shape::Cost, Shape::Refused]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_killed_around_compactions_lose_and_double_nothing() {
    run(8, 60, &[Shape::Plain, Shape::Compact]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long: run it with `just soak-shapes`"]
async fn soak_ten_thousand_kills() {
    let wanted = std::env::var("TREEWARDEN_SOAK").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10_000);
    run(40, wanted, &Shape::ALL).await;
}
