//! What the supervisor machine costs to decide that a child that crashed is restarted: with few and many siblings, and
//! with an empty and a full window of restarts.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{Action, ChildSpec, Event, Flags, Machine, RunId, StartOutcome, Types};

/// Children are their own pids.
#[derive(Debug)]
enum Paper {}

impl Types for Paper {
    type Start = ();
    type Child = RunId;
    type Info = ();
    type Caller = ();

    fn is_alive(_: &RunId) -> bool {
        true
    }
}

/// How many restarts a full window holds.
const WINDOW: u32 = 10_000;

struct Bench {
    machine: Machine<Paper>,
    now: Instant,
    last: Option<RunId>,
}

impl Bench {
    fn new(children: usize, flags: Flags) -> Self {
        let specs = (0..children).map(|number| ChildSpec::new(number.to_string().as_str(), ())).collect();
        let now = Instant::now();
        let machine = Machine::new(now, 1, flags, specs).expect("the flags and specs are valid");
        let mut bench = Self { machine, now, last: None };
        bench.tell(Event::Init);
        bench
    }

    fn tell(&mut self, event: Event<Paper>) {
        self.machine.handle(self.now, event);
        while let Some(action) = self.machine.poll_action() {
            if let Action::Start(order) = action {
                self.last = Some(order.pid);
                let started = Event::Started(order.pid, Ok(StartOutcome::Running(order.pid, None)));
                self.machine.handle(self.now, started);
            }
        }
    }

    /// The child that was started last crashes, and is restarted.
    fn crash(&mut self) {
        let pid = self.last.expect("there is a child");
        self.tell(Event::Exited(pid, ExitReason::Killed));
        assert_ne!(self.last, Some(pid), "the child was restarted");
    }
}

fn restart(c: &mut Criterion) {
    let mut group = c.benchmark_group("a crash and its restart");
    for children in [10, 100_000] {
        group.bench_function(format!("{children} children, empty window"), |b| {
            let flags = Flags { max_restarts: 1, max_seconds: 1, ..Flags::default() };
            let mut bench = Bench::new(children, flags);
            b.iter(|| {
                // The restart before this one is out of the window.
                bench.now += Duration::from_secs(3);
                bench.crash();
            });
        });
        group.bench_function(format!("{children} children, {WINDOW} restarts in the window"), |b| {
            // A restart leaves the window whenever one comes into it.
            let flags = Flags { max_restarts: WINDOW + 1, max_seconds: WINDOW, ..Flags::default() };
            let mut bench = Bench::new(children, flags);
            for _ in 0..WINDOW {
                bench.now += Duration::from_secs(1);
                bench.crash();
            }
            b.iter(|| {
                bench.now += Duration::from_secs(1);
                bench.crash();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, restart);
criterion_main!(benches);
