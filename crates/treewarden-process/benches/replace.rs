//! How long it takes from the crash of a program to its replacement, beside what the system itself takes.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use treewarden_process::{ContainmentPolicy, Cookie, Ladder, ProcessTree, Program, spawn};

const TRUE: &str = "/bin/true";

fn program(path: &str, args: &[&str]) -> Program {
    let args = args.iter().map(Into::into).collect();
    Program { path: path.into(), args, env: BTreeMap::new(), cwd: "/".into() }
}

async fn start(program: Program, policy: ContainmentPolicy) -> ProcessTree {
    spawn(program, Cookie::new("bench"), policy).await.expect("it can be spawned")
}

async fn crash_to_replacement(policy: ContainmentPolicy) -> Duration {
    let tree = start(program("/bin/sleep", &["600"]), policy).await;
    let pid = Pid::from_raw(i32::try_from(tree.pid().get()).expect("an id")).expect("an id");
    let began = Instant::now();
    kill_process(pid, Signal::KILL).expect("it lives");
    tree.exited().await;
    tree.stop(Ladder::kill(), None).await.expect("it is gone");
    let replacement = start(program("/bin/sleep", &["600"]), policy).await;
    let taken = began.elapsed();
    replacement.stop(Ladder::kill(), None).await.expect("it can be ended");
    taken
}

fn replace(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be made");
    for heap in [0_usize, 500] {
        let ballast = vec![1_u8; heap << 20];
        let mut group = c.benchmark_group(format!("a host with {heap} MB of heap"));
        group.sample_size(30).measurement_time(Duration::from_secs(3));
        group.bench_function("floor: posix_spawn and wait", |b| {
            b.iter(|| {
                let mut command = Command::new(TRUE);
                command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                command.spawn().expect("it can be spawned").wait().expect("it is our child")
            });
        });
        for (name, policy) in
            [("cgroup", ContainmentPolicy::Best), ("group and cookie", ContainmentPolicy::GroupAndCookie)]
        {
            group.bench_function(format!("spawn, exit, gone: {name}"), |b| {
                b.to_async(&runtime).iter(|| async {
                    let tree = start(program(TRUE, &[]), policy).await;
                    tree.exited().await;
                    tree.stop(Ladder::kill(), None).await.expect("it is gone")
                });
            });
            group.bench_function(format!("crash to replacement: {name}"), |b| {
                b.to_async(&runtime).iter_custom(|times| async move {
                    let mut taken = Duration::ZERO;
                    for _ in 0..times {
                        taken += crash_to_replacement(policy).await;
                    }
                    taken
                });
            });
        }
        group.finish();
        std::hint::black_box(ballast);
    }
}

criterion_group!(benches, replace);
criterion_main!(benches);
