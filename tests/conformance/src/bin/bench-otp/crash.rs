//! From a crash to the successor: alone, in a group, and with a window full of restarts.

use std::time::{Duration, Instant};

use ractor::{Actor, ActorRef};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use treewarden::supervisor::{
    Child, ChildSpec, ExitReason, StartContext, StartFailure, Strategy, Supervisor, SupervisorBuilder,
};

use crate::bare::{Bare, Born, Trivial};
use crate::figures::Figures;
use crate::runtimes::{on, runtimes};

const RESTARTS: usize = 10_000;
const GROUP: usize = 10;
const GROUP_RESTARTS: usize = 2_000;

pub(crate) fn child(id: &str, born: Sender<Born>) -> ChildSpec {
    ChildSpec::new(id, move |context: StartContext| {
        let born = born.clone();
        async move {
            let (actor, task) =
                Trivial::spawn_linked(None, Trivial(Some(born)), (), context.supervisor()).await?;
            Ok::<_, StartFailure>(Child::new(actor.get_cell(), task).into())
        }
    })
}

/// Fails the child that was born last, again and again.
pub(crate) struct CrashLoop {
    born: Receiver<Born>,
    victim: ActorRef<()>,
    births: usize,
}

impl CrashLoop {
    /// Begins once `births` children are up.
    pub(crate) async fn new(mut born: Receiver<Born>, births: usize) -> Self {
        let mut victim = None;
        for _ in 0..births {
            victim = born.recv().await;
        }
        let (_, victim) = victim.expect("the children are up");
        Self { born, victim, births }
    }

    /// The p50 from a crash to the last birth that follows, in nanoseconds, and the restarts per second.
    pub(crate) async fn run(&mut self, rounds: usize) -> (f64, f64) {
        let mut times = Vec::with_capacity(rounds);
        let begin = Instant::now();
        for _ in 0..rounds {
            let crash = Instant::now();
            self.victim.cast(()).expect("the child runs");
            let mut took = Duration::ZERO;
            for _ in 0..self.births {
                let (at, successor) = self.born.recv().await.expect("a successor");
                took = at - crash;
                self.victim = successor;
            }
            times.push(took);
        }
        let rate = rounds as f64 / begin.elapsed().as_secs_f64();
        times.sort();
        (times[rounds / 2].as_nanos() as f64, rate)
    }
}

async fn bare(children: usize, rounds: usize) -> f64 {
    let (sender, born) = channel(64);
    let (actor, task) = Bare::spawn(None, Bare { born: sender, children }, ()).await.expect("bare");
    let (p50, _) = CrashLoop::new(born, children).await.run(rounds).await;
    actor.stop(None);
    let _ = task.await;
    p50
}

fn builder() -> SupervisorBuilder {
    Supervisor::builder().max_restarts(u32::MAX).max_seconds(3600)
}

async fn ours(children: usize, rounds: usize) -> f64 {
    let (sender, born) = channel(64);
    let specs = (0..children).map(|number| child(&number.to_string(), sender.clone()));
    let strategy = if children > 1 { Strategy::OneForAll } else { Strategy::OneForOne };
    let supervisor = builder().strategy(strategy).children(specs).start().await.expect("ours");
    let (p50, _) = CrashLoop::new(born, children).await.run(rounds).await;
    supervisor.stop(ExitReason::Shutdown).await;
    p50
}

pub(crate) fn restart(figures: &mut Figures) {
    for (name, runtime) in runtimes() {
        figures.add(format!("restart {name} bare"), on(&runtime, bare(1, RESTARTS)));
        figures.add(format!("restart {name} ours"), on(&runtime, ours(1, RESTARTS)));
    }
}

pub(crate) fn group(figures: &mut Figures) {
    for (name, runtime) in runtimes() {
        figures.add(format!("group {name} bare"), on(&runtime, bare(GROUP, GROUP_RESTARTS)));
        figures.add(format!("group {name} ours"), on(&runtime, ours(GROUP, GROUP_RESTARTS)));
    }
}

pub(crate) fn window(figures: &mut Figures) {
    for (name, runtime) in runtimes() {
        let (empty, full) = on(&runtime, async {
            let (sender, born) = channel(64);
            let supervisor = builder().child(child("child", sender)).start().await.expect("ours");
            let mut crashes = CrashLoop::new(born, 1).await;
            let (_, empty) = crashes.run(2_000).await;
            crashes.run(8_000).await;
            let (_, full) = crashes.run(2_000).await;
            supervisor.stop(ExitReason::Shutdown).await;
            (empty, full)
        });
        figures.add(format!("window_empty {name} ours"), empty);
        figures.add(format!("window_full {name} ours"), full);
    }
}
