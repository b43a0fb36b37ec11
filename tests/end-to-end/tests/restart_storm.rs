//! Many sessions with an open turn each and few places for their CLIs: whatever is restarted at once, all answer, and
//! never do more CLIs live, nor more be spawned, than it takes.

#![expect(clippy::print_stdout, reason = "the figures are what the run is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use treewarden::supervisor::Strategy;
use treewarden_end_to_end::eventually;
use treewarden_end_to_end::fleet::{Fleet, children, memory};
use treewarden_testkit::faults;

/// The tests of this file count the children of their process, and so run one at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The greatest number of live CLIs that was seen.
struct Watch {
    most: Arc<AtomicUsize>,
    on: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    fn begin() -> Self {
        let (most, on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let thread = std::thread::spawn({
            let (most, on) = (Arc::clone(&most), Arc::clone(&on));
            move || {
                while on.load(Ordering::Relaxed) {
                    most.fetch_max(children(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { most, on, thread }
    }

    fn end(self) -> usize {
        self.on.store(false, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic");
        self.most.load(Ordering::Relaxed)
    }
}

/// What is restarted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hit {
    /// Every CLI that lives: each of its sessions is restarted.
    AllClis,
    /// One CLI, under a supervisor that restarts all its sessions for it.
    Tree,
}

/// Waits until so many turns were answered.
async fn answered(count: &AtomicUsize, wanted: usize, patience: Duration) {
    let until = Instant::now() + patience;
    while count.load(Ordering::Relaxed) < wanted {
        let now = count.load(Ordering::Relaxed);
        assert!(Instant::now() < until, "{now} of {wanted} turns are answered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn storm(count: usize, max_live: usize, hit: Hit, hits: usize, patience: Duration) {
    let _alone = ALONE.lock().await;
    let strategy = if hit == Hit::Tree { Strategy::OneForAll } else { Strategy::OneForOne };
    // No more than the hits themselves cost: a session that waits for its place spends nothing.
    let budget = if hit == Hit::Tree { hits } else { hits * max_live };
    let fleet = Fleet::start(count, Some(max_live), strategy, u32::try_from(budget).expect("few")).await;
    let (began, watch, done) = (Instant::now(), Watch::begin(), Arc::new(AtomicUsize::new(0)));
    let ask = |session: &treewarden::Session| {
        let (session, done) = (session.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let prompt = format!("TOKEN-{} DELAY=200", session.name());
            let answer =
                session.query(prompt.as_str()).await.unwrap_or_else(|error| panic!("{prompt}: {error}"));
            assert_eq!(answer.text, format!("answer to {prompt}"));
            done.fetch_add(1, Ordering::Relaxed);
        })
    };
    let turns: Vec<_> = fleet.sessions.iter().map(ask).collect();
    let mut kills = 0;
    for n in 0..hits {
        answered(&done, max_live.min(count / 4) + n * count / (2 * hits), patience).await;
        let busy = eventually("CLIs are at work", async || {
            Some(fleet.busy().await).filter(|busy| busy.len() > max_live / 8)
        })
        .await;
        let hit = if hit == Hit::Tree { &busy[..1] } else { &busy[..] };
        kills += hit.iter().filter(|pid| faults::kill(**pid).is_ok()).count();
    }
    answered(&done, count, patience).await;
    let (took, most) = (began.elapsed(), watch.end());
    for turn in turns {
        turn.await.expect("every turn is answered");
    }
    let (spawns, restarts) = (fleet.spawns().await, fleet.restarts().await);
    println!(
        "{count} sessions on {max_live} places, {hit:?}, {kills} kills: all answered in {took:.1?}; at most {most} CLIs \
         lived at once, {spawns} were spawned, {restarts} restarts; {} KiB of memory",
        memory()
    );
    // A CLI that is killed while it is being parked costs no restart, and of a few kills all may hit such.
    assert!(restarts > 0 || kills < max_live, "{kills} kills were felt");
    assert!(restarts <= kills as u64, "{restarts} restarts after {kills} kills");
    assert!(most <= max_live, "at most {most} CLIs lived");
    // While a tree stops one child after another, a place that is freed goes to one that waits, and that one is stopped
    // as well when its turn comes: so a restart of the tree costs each place its share of a harmonic sum.
    let again = if hit == Hit::Tree { 2 + (count / max_live).ilog2() as usize } else { 1 };
    assert!(spawns as usize <= count + hits * max_live * again, "{spawns} CLIs were spawned");
    for session in &fleet.sessions {
        let status = session.status().await.expect("the session is there");
        assert_eq!((status.turns, status.queued), (1, 0), "{}", status.name);
        let prompt = format!("TOKEN-{} DELAY=200", status.name);
        let id = status.session_id.expect("a CLI was started").to_string();
        assert_eq!(fleet.lab.prompts(&id), [prompt], "the prompt stands once in the conversation");
    }
    fleet.end().await;
}

/// The number of sessions of a long run.
fn sessions() -> usize {
    std::env::var("TREEWARDEN_SOAK").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

const PATIENCE: Duration = Duration::from_secs(120);
const LONG: Duration = Duration::from_secs(1800);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sessions_answer_when_all_live_clis_are_killed_at_once() {
    storm(60, 6, Hit::AllClis, 3, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sessions_answer_when_the_whole_tree_is_restarted_at_once() {
    storm(60, 6, Hit::Tree, 2, PATIENCE).await;
}

#[test]
fn no_more_clis_live_than_may_when_all_looks_at_processes_wait_for_one_thread() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(storm(60, 6, Hit::Tree, 4, PATIENCE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: run it with `just soak-sessions`"]
async fn soak_thousands_of_sessions_whose_live_clis_are_killed_at_once() {
    storm(sessions(), 64, Hit::AllClis, 3, LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: run it with `just soak-sessions`"]
async fn soak_thousands_of_sessions_that_are_restarted_at_once() {
    storm(sessions(), 64, Hit::Tree, 2, LONG).await;
}
