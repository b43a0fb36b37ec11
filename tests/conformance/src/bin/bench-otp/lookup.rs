//! An actor by its name among ten thousand, looked up by one thread and by two at once.

use std::time::Instant;

use ractor::Actor;
use treewarden_otp::registry::Registry;

use crate::bare::Trivial;
use crate::figures::Figures;
use crate::runtimes::{current_thread, on};

const NAMES: usize = 10_000;
const ROUNDS: usize = 50;

pub(crate) fn lookup(figures: &mut Figures) {
    let runtime = current_thread();
    let (registry, actors) = on(&runtime, async {
        let registry: Registry<String> = Registry::unique().build();
        let mut actors = Vec::new();
        for number in 0..NAMES {
            let name = format!("name-{number}");
            let spawned = Trivial::spawn(Some(name.clone()), Trivial(None), ()).await;
            let (actor, task) = spawned.expect("an actor");
            registry.register(&actor.get_cell(), name, ()).expect("a free name");
            actors.push((actor, task));
        }
        (registry, actors)
    });
    let names: Vec<String> = (0..NAMES).map(|number| format!("name-{}", number * 7919 % NAMES)).collect();
    for threads in [1, 2] {
        let theirs = time(threads, &names, |name| ractor::registry::where_is(name).is_some());
        let ours = time(threads, &names, |name| registry.whereis(name).is_ok_and(|owner| owner.is_some()));
        figures.add(format!("lookup_{threads} bare"), theirs);
        figures.add(format!("lookup_{threads} ours"), ours);
    }
    on(&runtime, async {
        for (actor, task) in actors {
            actor.stop(None);
            let _ = task.await;
        }
    });
}

/// Nanoseconds for one look-up, in each of so many threads at once.
fn time(threads: usize, names: &[String], look: impl Fn(&str) -> bool + Sync) -> f64 {
    let work = || {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            assert!(names.iter().all(|name| look(name)), "every name is found");
        }
        begin.elapsed().as_nanos() as f64 / (ROUNDS * NAMES) as f64
    };
    let took: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no look-up panics")).collect()
    });
    took.iter().sum::<f64>() / threads as f64
}
