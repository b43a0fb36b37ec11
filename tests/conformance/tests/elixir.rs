//! `DynamicSupervisor`, `PartitionSupervisor` and `Registry` beside what Elixir 1.14 answered in the same situations.
//!
//! `oracle/elixir.exs` asks Elixir and prints `elixir.golden`; each line of it is asked here in the same order.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use treewarden_otp::registry::{Entry, Listener, Registry, RegistryEvent};
use treewarden_otp::supervisor::{
    ChildSpec, ChildState, Counts, ExitReason, FindChildError, PartitionSupervisor, RunningChild,
    StartChildError, Supervisor,
};

/// Fails at the first message.
struct Kid;

impl Actor for Kid {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err("boom".into())
    }
}

/// A child that tells at each start what it was given.
fn telling(id: &str, arguments: String, to: &mpsc::Sender<String>) -> ChildSpec {
    let to = to.clone();
    ChildSpec::actor(id, move || {
        // Never more than the channel holds.
        let _ = to.try_send(arguments.clone());
        (Kid, ())
    })
}

async fn heard(starts: &mut mpsc::Receiver<String>) -> String {
    timeout(Duration::from_secs(5), starts.recv()).await.unwrap().unwrap()
}

fn crash(child: &RunningChild) {
    child.extension::<ActorRef<()>>().unwrap().cast(()).unwrap();
}

fn counts(counts: Counts) -> String {
    format!("[{}, {}, {}, {}]", counts.specs, counts.active, counts.supervisors, counts.workers)
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    format!("[{}]", items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", "))
}

async fn dynamic(say: &mut impl FnMut(&str, String)) {
    let (to, mut starts) = mpsc::channel(8);
    // Elixir's `extra_arguments` is what the start function captures.
    let extra: Arc<str> = "extra".into();
    let spec = |own: &str| telling(own, format!("({extra}, {own})"), &to);
    let supervisor = Supervisor::builder().max_restarts(9).dynamic(Some(2)).start().await.unwrap();
    let one = supervisor.start_child(spec("one")).await.unwrap();
    say("extra arguments at a start", heard(&mut starts).await);
    crash(one.child().unwrap());
    say("extra arguments at a restart", heard(&mut starts).await);
    let two = supervisor.start_child(spec("two")).await.unwrap();
    say("extra arguments of another", heard(&mut starts).await);
    let refused = |error| match error {
        StartChildError::MaxChildren { .. } => "max_children".to_owned(),
        other => other.to_string(),
    };
    say("a child too many", refused(supervisor.start_child(spec("three")).await.unwrap_err()));
    let pid = two.child().unwrap().run_id();
    supervisor.terminate_run(pid).await.unwrap();
    let twice = supervisor.terminate_run(pid).await.unwrap_err();
    say(
        "a child twice terminated",
        if twice == FindChildError::NotFound { "not_found".into() } else { twice.to_string() },
    );
    supervisor.start_child(spec("three")).await.unwrap();
    say("a child in a place that is free again", heard(&mut starts).await);
    let none = Supervisor::builder().dynamic(Some(0)).start().await.unwrap();
    say("a child where none may be", refused(none.start_child(spec("one")).await.unwrap_err()));
    say("counts", counts(supervisor.count_children().await.unwrap()));
    supervisor.stop(ExitReason::Shutdown).await;
    none.stop(ExitReason::Shutdown).await;
}

async fn partitions(say: &mut impl FnMut(&str, String)) {
    let (to, mut starts) = mpsc::channel(8);
    let size = NonZeroUsize::new(3).unwrap();
    let builder = Supervisor::builder().max_restarts(9);
    let make = |id: String, number: usize| telling(&id, number.to_string(), &to);
    let parts = PartitionSupervisor::start(builder, size, make).await.unwrap();
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(heard(&mut starts).await);
    }
    say("partitions start in order", list(order));
    say("partitions", parts.partitions().to_string());
    let numbers = [0, 1, 2, 3, 4, 7, -1, -2, -3, -7, 9_000_000_001];
    say("numbers", list(numbers));
    say("are routed to", list(numbers.map(|number| parts.partition_of_number(number))));
    let supervisor = parts.supervisor().clone();
    let children = supervisor.which_children().await.unwrap();
    say("the order of which_children", list(children.iter().map(|child| child.id.as_str())));
    say("counts of partitions", counts(supervisor.count_children().await.unwrap()));
    let child = |number: i64| supervisor.child(parts.partition_of_number(number).to_string());
    let old = child(1).await.unwrap();
    crash(&old);
    say("a crashed partition starts again as", heard(&mut starts).await);
    let found = timeout(Duration::from_secs(5), async {
        loop {
            match child(4).await {
                Ok(found) if found.run_id() != old.run_id() => return found,
                _ => sleep(Duration::from_millis(1)).await,
            }
        }
    });
    say("and its keys go to", found.await.unwrap().id().to_string());
    say("others stay", child(2).await.unwrap().id().to_string());
    let running = supervisor.which_children().await.unwrap();
    assert!(running.iter().all(|child| matches!(child.state, ChildState::Running(..))));
    supervisor.stop(ExitReason::Shutdown).await;
}

type Keys = Registry<String, i64>;

/// The two owners of keys.
struct Owners {
    a: ActorCell,
    b: ActorCell,
}

impl Owners {
    fn name(&self, owner: Option<&ActorCell>) -> &'static str {
        if owner.is_some_and(|cell| cell.get_id() == self.a.get_id()) { "a" } else { "b" }
    }

    fn entries(&self, entries: Vec<Entry<i64>>) -> String {
        let mut shown: Vec<_> = entries
            .iter()
            .map(|entry| format!("({}, {})", self.name(entry.owner.as_ref()), entry.value))
            .collect();
        shown.sort();
        list(shown)
    }

    fn register(&self, keys: &Keys, owner: &ActorCell, key: &str, value: i64) -> String {
        match keys.register(owner, key.to_owned(), value) {
            Ok(()) => "ok".to_owned(),
            Err(taken) => format!("(taken, {})", self.name(taken.owner.as_ref())),
        }
    }

    fn all(&self, keys: &Keys) -> String {
        let mut all =
            keys.select(|key, owner, value| Some(format!("({key}, {}, {value})", self.name(owner))));
        all.sort();
        list(all)
    }

    async fn heard(&self, listener: &mut Listener<String, i64>) -> String {
        match timeout(Duration::from_millis(100), listener.next()).await {
            Err(_) => "nothing".to_owned(),
            Ok(Ok(RegistryEvent::Registered { key, owner, value })) => {
                format!("(register, {key}, {}, {value})", self.name(owner.as_ref()))
            }
            Ok(Ok(RegistryEvent::Unregistered { key, owner })) => {
                format!("(unregister, {key}, {})", self.name(owner.as_ref()))
            }
            Ok(other) => format!("{other:?}"),
        }
    }
}

async fn registry(kind: &str, partitions: usize, say: &mut impl FnMut(&str, String)) {
    let mut say = |what: &str, value: String| say(&format!("{kind}, {partitions}: {what}"), value);
    let is_unique = kind == "unique";
    let builder = if is_unique { Keys::unique() } else { Keys::duplicate() };
    let keys = builder.partitions(partitions).build();
    let mut listener = keys.listen();
    let (a, _) = Actor::spawn(None, Kid, ()).await.unwrap();
    let (b, b_ended) = Actor::spawn(None, Kid, ()).await.unwrap();
    let owners = Owners { a: a.get_cell(), b: b.get_cell() };
    let (k, l, m) = ("k".to_owned(), "l", "m");
    say("register k", owners.register(&keys, &owners.a, &k, 1));
    say("heard", owners.heard(&mut listener).await);
    say("the same owner again", owners.register(&keys, &owners.a, &k, 2));
    say("another owner", owners.register(&keys, &owners.b, &k, 3));
    say("register l", owners.register(&keys, &owners.a, l, 4));
    say("register m", owners.register(&keys, &owners.b, m, 5));
    while owners.heard(&mut listener).await != "nothing" {}
    say("lookup k", owners.entries(keys.lookup("k")));
    say("lookup of nobody's key", owners.entries(keys.lookup("z")));
    let mut of_a = keys.keys(&owners.a);
    of_a.sort();
    say("keys of a", list(of_a));
    let mut values = keys.values(&owners.a, &k);
    values.sort_unstable();
    say("values of k by a", list(values));
    say("count", keys.count().to_string());
    say("all", owners.all(&keys));
    let mut over: Vec<_> = keys.select(|key, _, value| (*value > 2).then(|| format!("({key}, {value})")));
    over.sort();
    say("select of values over 2", list(over));
    say("count of values over 2", keys.count_select(|_, _, value| *value > 2).to_string());
    say("match of 1 under k", owners.entries(keys.matching("k", |value| *value == 1)));
    say("count of 1 under k", keys.count_match("k", |value| *value == 1).to_string());
    keys.unregister_match(&owners.b, &k, |value| *value == 1);
    say("lookup k after somebody else gave it up", owners.entries(keys.lookup("k")));
    if is_unique {
        let update = |owner| match keys.update_value(owner, &k, |value| value + 10) {
            Ok((new, old)) => format!("({new}, {old})"),
            Err(_) => "error".to_owned(),
        };
        say("update by the owner", update(&owners.a));
        say("update by another", update(&owners.b));
    }
    b.kill();
    b_ended.await.unwrap();
    let gone = timeout(Duration::from_secs(5), async {
        while !keys.keys(&owners.b).is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    gone.await.unwrap();
    say("all after the end of b", owners.all(&keys));
    say("heard of the end", owners.heard(&mut listener).await);
    say("count after the end of b", keys.count().to_string());
    keys.unregister(&owners.a, &k);
    say("heard when a gives k up", owners.heard(&mut listener).await);
    say("once only", owners.heard(&mut listener).await);
    say("all after it", owners.all(&keys));
    a.stop(None);
}

#[tokio::test]
async fn every_line_equals_the_one_of_elixir() {
    let mut lines = Vec::new();
    let mut say = |what: &str, value: String| lines.push(format!("{what}: {value}"));
    dynamic(&mut say).await;
    partitions(&mut say).await;
    for kind in ["unique", "duplicate"] {
        for partitions in [1, 4] {
            registry(kind, partitions, &mut say).await;
        }
    }
    let golden = include_str!("../elixir.golden");
    let expected: Vec<&str> = golden.lines().collect();
    let differing: Vec<_> = expected.iter().zip(&lines).filter(|(one, other)| *one != other).collect();
    assert!(differing.is_empty(), "Elixir's and ours: {differing:#?}");
    assert_eq!(lines.len(), expected.len());
}
