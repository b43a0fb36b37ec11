//! From a crash to the successor: alone, in a group, and with a window full of restarts.

use std::time::Instant;

use ractor::{Actor, ActorRef};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use treewarden_otp::supervisor::{
    Child, ChildSpec, ExitReason, StartContext, StartFailure, Strategy, Supervisor, SupervisorBuilder,
};

use crate::bare::{Bare, Born, Trivial};
use crate::figures::Figures;
use crate::runtimes::{on, runtimes};

/// How often each side is measured in a round, turn by turn and each time in a new runtime. On two workers a loop of
/// crashes settles in one of several rhythms, by which thread the measuring task is on; a median over many short runs
/// does not depend on which of them one long run fell into.
const TURNS: usize = 20;
const RESTARTS: usize = 1_000;
const GROUP: usize = 10;
const GROUP_RESTARTS: usize = 200;
const WINDOW: usize = 10_000;

/// A child that says when it was born, if anybody is to know.
pub(crate) fn child(id: &str, born: Option<Sender<Born>>) -> ChildSpec {
    ChildSpec::new(id, move |context: StartContext| {
        let child = Trivial(born.clone());
        async move {
            let (actor, task) = Trivial::spawn_linked(None, child, (), context.supervisor()).await?;
            Ok::<_, StartFailure>(Child::new(actor.get_cell(), task).into())
        }
    })
}

/// Fails the child that says when it was born, again and again.
pub(crate) struct CrashLoop {
    born: Receiver<Born>,
    victim: ActorRef<()>,
}

impl CrashLoop {
    /// Begins once the child is up, and warms up.
    pub(crate) async fn new(mut born: Receiver<Born>) -> Self {
        let (_, victim) = born.recv().await.expect("the child is up");
        let mut crashes = Self { born, victim };
        crashes.run(100).await;
        crashes
    }

    /// The p50 from a crash to the birth that follows, in nanoseconds, and the restarts per second.
    pub(crate) async fn run(&mut self, rounds: usize) -> (f64, f64) {
        let mut times = Vec::with_capacity(rounds);
        let begin = Instant::now();
        for _ in 0..rounds {
            let crash = Instant::now();
            self.victim.cast(()).expect("the child runs");
            let (at, successor) = self.born.recv().await.expect("a successor");
            times.push(at - crash);
            self.victim = successor;
        }
        let rate = rounds as f64 / begin.elapsed().as_secs_f64();
        times.sort();
        (times[rounds / 2].as_nanos() as f64, rate)
    }
}

async fn bare(children: usize, rounds: usize) -> f64 {
    let (sender, born) = channel(64);
    let (actor, task) = Bare::spawn(None, Bare { born: sender, children }, ()).await.expect("bare");
    let (p50, _) = CrashLoop::new(born).await.run(rounds).await;
    actor.stop(None);
    let _ = task.await;
    p50
}

fn builder() -> SupervisorBuilder {
    Supervisor::builder().max_restarts(u32::MAX).max_seconds(3600)
}

async fn ours(children: usize, rounds: usize) -> f64 {
    let (sender, born) = channel(64);
    // As in the bare group: the last one is crashed, and its birth ends the restart.
    let specs =
        (1..=children).map(|number| child(&number.to_string(), (number == children).then(|| sender.clone())));
    let strategy = if children > 1 { Strategy::OneForAll } else { Strategy::OneForOne };
    let supervisor = builder().strategy(strategy).children(specs).start().await.expect("ours");
    let (p50, _) = CrashLoop::new(born).await.run(rounds).await;
    supervisor.stop(ExitReason::Shutdown).await;
    p50
}

pub(crate) fn restart(figures: &mut Figures) {
    turn_by_turn("restart", 1, RESTARTS, figures);
}

pub(crate) fn group(figures: &mut Figures) {
    turn_by_turn("group", GROUP, GROUP_RESTARTS, figures);
}

fn turn_by_turn(measure: &str, children: usize, rounds: usize, figures: &mut Figures) {
    for _ in 0..TURNS {
        for (name, runtime) in runtimes() {
            figures.add(format!("{measure} {name} bare"), on(&runtime, bare(children, rounds)));
        }
        for (name, runtime) in runtimes() {
            figures.add(format!("{measure} {name} ours"), on(&runtime, ours(children, rounds)));
        }
    }
}

/// A supervisor of one child, and the loop that crashes it.
async fn crashing() -> (Supervisor, CrashLoop) {
    let (sender, born) = channel(64);
    let supervisor = builder().child(child("child", Some(sender))).start().await.expect("ours");
    (supervisor, CrashLoop::new(born).await)
}

/// A supervisor with a full window beside one with an empty one, turn by turn.
pub(crate) fn window(figures: &mut Figures) {
    for _ in 0..TURNS / 4 {
        for (name, runtime) in runtimes() {
            let rates = on(&runtime, async {
                let (supervisor, mut full) = crashing().await;
                full.run(WINDOW).await;
                let mut rates = Vec::new();
                for _ in 0..4 {
                    let (other, mut empty) = crashing().await;
                    rates.push((empty.run(RESTARTS).await.1, full.run(RESTARTS).await.1));
                    other.stop(ExitReason::Shutdown).await;
                }
                supervisor.stop(ExitReason::Shutdown).await;
                rates
            });
            for (empty, full) in rates {
                figures.add(format!("window_empty {name} ours"), empty);
                figures.add(format!("window_full {name} ours"), full);
            }
        }
    }
}
