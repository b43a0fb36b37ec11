//! Measures the supervisor against bare ractor, in one run: ratios, since the machine is never quiet.
//!
//! `cargo run --release -p treewarden-conformance --bin bench-otp`

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints its figures, and stops when it cannot measure"
)]

use std::time::{Duration, Instant};

use ractor::concurrency::JoinHandle;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use treewarden::registry::Registry;
use treewarden::supervisor::{
    Child, ChildSpec, ExitReason, StartContext, StartFailure, Strategy, Supervisor,
};

type Born = (Instant, ActorRef<()>);

/// Says when it was born; fails at the first message.
struct Trivial(Option<Sender<Born>>);

impl Actor for Trivial {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        if let Some(born) = &self.0 {
            let _ = born.try_send((Instant::now(), me));
        }
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err("asked to fail".into())
    }
}

/// Bare ractor: respawns a child that failed, once its task has ended.
struct Bare(Sender<Born>);

impl Actor for Bare {
    type Msg = ();
    type State = Option<(ActorId, JoinHandle<()>)>;
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<()>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        let (child, task) =
            Trivial::spawn_linked(None, Trivial(Some(self.0.clone())), (), me.get_cell()).await?;
        Ok(Some((child.get_id(), task)))
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event
            && let Some((_, task)) = state.take()
        {
            let _ = task.await;
            *state = self.pre_start(me, ()).await?;
        }
        Ok(())
    }
}

fn child(born: Sender<Born>) -> ChildSpec {
    ChildSpec::new("child", move |context: StartContext| {
        let born = born.clone();
        async move {
            let (actor, task) =
                Trivial::spawn_linked(None, Trivial(Some(born)), (), context.supervisor()).await?;
            Ok::<_, StartFailure>(Child::new(actor.get_cell(), task).into())
        }
    })
}

/// The p50 and p99 of crash → successor's `pre_start`, and restarts per second.
async fn crash_loop(born: &mut Receiver<Born>, rounds: usize, births: usize) -> (Duration, Duration, f64) {
    let mut actor = None;
    for _ in 0..births {
        actor = born.recv().await;
    }
    let (_, mut actor) = actor.expect("the child is up");
    let mut times = Vec::with_capacity(rounds);
    let begin = Instant::now();
    for _ in 0..rounds {
        let crash = Instant::now();
        actor.cast(()).expect("the child runs");
        for _ in 0..births {
            let (at, successor) = born.recv().await.expect("a successor");
            times.push(at - crash);
            actor = successor;
        }
        // Only the last birth of a group counts.
        let last = times.pop().expect("a birth");
        times.truncate(times.len() - (births - 1));
        times.push(last);
    }
    let rate = rounds as f64 / begin.elapsed().as_secs_f64();
    times.sort();
    (times[rounds / 2], times[rounds * 99 / 100], rate)
}

fn runtimes() -> [(&'static str, Runtime); 2] {
    [
        ("current thread", Builder::new_current_thread().enable_all().build().expect("a runtime")),
        ("2 workers", Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")),
    ]
}

fn on<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
    runtime.block_on(async { tokio::spawn(work).await.expect("the bench does not panic") })
}

fn restarts() {
    for (name, runtime) in runtimes() {
        let mut raw = Vec::new();
        let mut ours = Vec::new();
        for _ in 0..5 {
            raw.push(on(&runtime, async {
                let (sender, mut born) = channel(64);
                let (actor, task) = Bare::spawn(None, Bare(sender), ()).await.expect("bare");
                let figures = crash_loop(&mut born, 10_000, 1).await;
                actor.stop(None);
                let _ = task.await;
                figures
            }));
            ours.push(on(&runtime, async {
                let (sender, mut born) = channel(64);
                let builder = Supervisor::builder().max_restarts(u32::MAX).child(child(sender));
                let supervisor = builder.start().await.expect("ours");
                let figures = crash_loop(&mut born, 10_000, 1).await;
                supervisor.stop(ExitReason::Shutdown).await;
                figures
            }));
        }
        raw.sort_by_key(|figures| figures.0);
        ours.sort_by_key(|figures| figures.0);
        let (raw, ours) = (raw[2], ours[2]);
        let ratio = ours.0.as_secs_f64() / raw.0.as_secs_f64();
        println!("restart, {name}: bare {raw:?}, ours {ours:?}, p50 ratio {ratio:.2}");
        let group = on(&runtime, async {
            let (sender, mut born) = channel(64);
            let specs = (0..10).map(|number| {
                let spec = child(sender.clone());
                ChildSpec::from_arc(number.to_string(), spec.start().clone())
            });
            let builder =
                Supervisor::builder().strategy(Strategy::OneForAll).max_restarts(u32::MAX).children(specs);
            let supervisor = builder.start().await.expect("ours");
            let figures = crash_loop(&mut born, 2_000, 10).await;
            supervisor.stop(ExitReason::Shutdown).await;
            figures
        });
        println!("one_for_all of 10, {name}: {group:?}");
    }
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn many() {
    let count = 100_000_usize;
    let (_, runtime) = runtimes().into_iter().nth(1).expect("two runtimes");
    let bare = on(&runtime, async move {
        let before = resident();
        let mut actors = Vec::new();
        for _ in 0..count {
            actors.push(Trivial::spawn(None, Trivial(None), ()).await.expect("bare"));
        }
        let each = (resident() - before) / count;
        for (actor, task) in actors {
            actor.stop(None);
            let _ = task.await;
        }
        each
    });
    println!("memory of a bare actor: {bare} bytes");
    // A fresh process would be fairer to ours: what the bare actors left free is used again.
    on(&runtime, async move {
        let (sender, mut born) = channel(64);
        let supervisor =
            Supervisor::builder().dynamic(None).max_restarts(u32::MAX).start().await.expect("ours");
        let begin = Instant::now();
        for _ in 0..count {
            let spec = ChildSpec::actor("child", || (Trivial(None), ()));
            supervisor.start_child(spec).await.expect("a child");
        }
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        println!("start_child, {count} children: {rate:.0} per second");
        supervisor.start_child(child(sender)).await.expect("the one that fails");
        let figures = crash_loop(&mut born, 2_000, 1).await;
        println!("restart among {count} siblings: {figures:?}");
        let begin = Instant::now();
        supervisor.stop(ExitReason::Shutdown).await;
        println!("orderly shutdown of {count}: {:?}", begin.elapsed());
    });
}

fn lookups() {
    let (_, runtime) = runtimes().into_iter().next().expect("two runtimes");
    on(&runtime, async {
        let registry: Registry<String> = Registry::unique().build();
        let mut tasks = Vec::new();
        for number in 0..10_000 {
            let name = format!("name-{number}");
            let (actor, task) =
                Trivial::spawn(Some(name.clone()), Trivial(None), ()).await.expect("an actor");
            registry.register(&actor.get_cell(), name, ()).expect("a free name");
            tasks.push((actor, task));
        }
        let names: Vec<String> =
            (0..10_000).map(|number| format!("name-{}", number * 7919 % 10_000)).collect();
        let time = |look: &dyn Fn(&String) -> bool| {
            let begin = Instant::now();
            for _ in 0..50 {
                assert!(names.iter().all(look));
            }
            begin.elapsed() / 500_000
        };
        let theirs = time(&|name| ractor::registry::where_is(name.clone()).is_some());
        let ours = time(&|name| registry.whereis(name.as_str()).is_ok_and(|owner| owner.is_some()));
        println!("lookup among 10,000 names: ractor {theirs:?}, ours {ours:?}");
    });
}

fn main() {
    restarts();
    lookups();
    many();
}
