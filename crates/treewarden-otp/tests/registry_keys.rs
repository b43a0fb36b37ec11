//! Keys, their owners and their values.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use treewarden_otp::registry::{Registry, RegistryEvent, UpdateError};

struct Owner;

impl Actor for Owner {
    type Msg = ();
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

async fn owner() -> (ActorCell, ractor::concurrency::JoinHandle<()>) {
    let (actor, task) = Owner::spawn(None, Owner, ()).await.unwrap();
    (actor.get_cell(), task)
}

async fn eventually(mut probe: impl FnMut() -> bool) {
    for _ in 0..2500 {
        if probe() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("nothing happened within the deadline");
}

/// Asks the registry that it is in when the last copy is dropped.
#[derive(Clone)]
struct Asks(#[expect(dead_code, reason = "only its drop matters")] Option<Arc<Asking>>);

struct Asking(Registry<u8, Asks>);

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = (self.0.count(), self.0.meta::<u8>("m"));
    }
}

#[test]
fn a_value_that_goes_and_a_question_about_one_key_may_use_the_registry() {
    let (done, is_done) = mpsc::channel();
    // In a thread of its own: a registry that waits for itself would never return.
    let user = std::thread::spawn(move || {
        let registry = Registry::<u8, Asks>::unique().partitions(1).build();
        let asks = || Asks(Some(Arc::new(Asking(registry.clone()))));
        let first = registry.claim(1, asks(), |_| false).unwrap();
        let second = registry.claim(1, asks(), |_| true).unwrap();
        let claims = |_: &Asks| registry.claim(2, Asks(None), |_| false).is_ok();
        assert_eq!(registry.matching(&1, claims).len(), 1);
        assert_eq!(registry.count_match(&1, claims), 1);
        drop((second, first));
        registry.put_meta("m", asks());
        registry.put_meta("m", asks());
        registry.delete_meta("m");
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("the registry does not wait for itself");
    user.join().unwrap();
}

#[tokio::test]
async fn a_unique_key_has_one_owner_and_a_second_registration_names_it() {
    let registry = Registry::<String, u32>::unique().build();
    let ((a, _), (b, _)) = (owner().await, owner().await);
    registry.register(&a, "k".into(), 1).unwrap();
    assert_eq!(registry.register(&b, "k".into(), 2).unwrap_err().owner.unwrap().get_id(), a.get_id());
    assert!(registry.register(&a, "k".into(), 2).is_err(), "not even its owner may register it again");
    assert_eq!(registry.lookup("k").len(), 1);
    assert_eq!(registry.keys(&b), Vec::<String>::new(), "a refused registration leaks nothing");
}

#[tokio::test]
async fn all_keys_of_an_owner_go_when_it_ends() {
    let registry = Registry::<String>::unique().partitions(4).build();
    let (a, task) = owner().await;
    for n in 0..20 {
        registry.register(&a, format!("k{n}"), ()).unwrap();
    }
    assert_eq!(registry.count(), 20);
    a.kill();
    task.await.unwrap();
    assert_eq!(registry.count(), 0, "an owner that has ended is not seen, cleaned up or not");
    eventually(|| registry.keys(&a).is_empty()).await;
}

#[tokio::test]
async fn a_dead_owner_is_replaced_at_once() {
    let registry = Registry::<u64>::unique().build();
    let ((a, task), (b, _)) = (owner().await, owner().await);
    registry.register(&a, 7, ()).unwrap();
    a.kill();
    task.await.unwrap();
    registry.register(&b, 7, ()).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(
        registry.whereis(&7).unwrap().unwrap().get_id(),
        b.get_id(),
        "the late clean-up spares the new owner"
    );
}

#[tokio::test]
async fn duplicate_keys_keep_every_registration() {
    let registry = Registry::<String, u32>::duplicate().build();
    let ((a, _), (b, _)) = (owner().await, owner().await);
    registry.register(&a, "t".into(), 1).unwrap();
    registry.register(&a, "t".into(), 2).unwrap();
    registry.register(&b, "t".into(), 3).unwrap();
    assert_eq!(registry.keys(&a), ["t", "t"]);
    assert_eq!(registry.values(&a, &"t".to_owned()), [1, 2]);
    assert_eq!(registry.matching("t", |value| *value > 1).len(), 2);
    registry.unregister_match(&a, &"t".to_owned(), |value| *value == 1);
    assert_eq!(registry.keys(&a), ["t"]);
    registry.unregister(&a, &"t".to_owned());
    assert_eq!(registry.lookup("t").len(), 1);
    assert!(registry.whereis("t").is_err());
}

#[tokio::test]
async fn only_the_owner_changes_a_value() {
    let registry = Registry::<String, u32>::unique().build();
    let ((a, _), (b, _)) = (owner().await, owner().await);
    registry.register(&a, "k".into(), 1).unwrap();
    assert_eq!(registry.update_value(&a, &"k".into(), |value| value + 1), Ok((2, 1)));
    assert_eq!(registry.update_value(&b, &"k".into(), |value| value + 1), Err(UpdateError::NotOwner));
    assert_eq!(registry.select(|_, _, value| Some(*value)), [2]);
}

#[tokio::test]
async fn listeners_hear_of_calls_and_not_of_crashes() {
    let registry = Registry::<String>::unique().build();
    let mut listener = registry.listen();
    let (a, task) = owner().await;
    registry.register(&a, "k".into(), ()).unwrap();
    registry.unregister(&a, &"k".into());
    registry.register(&a, "l".into(), ()).unwrap();
    a.kill();
    task.await.unwrap();
    eventually(|| registry.keys(&a).is_empty()).await;
    let (b, _) = owner().await;
    registry.register(&b, "m".into(), ()).unwrap();
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(match listener.next().await.unwrap() {
            RegistryEvent::Registered { key, .. } => format!("+{key}"),
            RegistryEvent::Unregistered { key, .. } => format!("-{key}"),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(heard, ["+k", "-k", "+l", "+m"]);
}

#[tokio::test]
async fn a_name_stands_for_a_key_of_any_registry() {
    let registry = Registry::<(u8, u8), &str>::unique().build();
    let name = registry.name((1, 2), "value");
    let (a, _) = owner().await;
    assert!(name.whereis().is_none());
    name.register(&a).unwrap();
    assert_eq!(name.whereis().unwrap().get_id(), a.get_id());
    name.unregister(&a);
    assert!(name.whereis().is_none());
}

#[tokio::test]
async fn counts_are_what_the_listings_hold() {
    let registry = Registry::<String, u32>::duplicate().partitions(4).build();
    let ((a, _), (b, task)) = (owner().await, owner().await);
    for (owner, key, value) in [(&a, "k", 1), (&a, "k", 2), (&b, "k", 3), (&b, "l", 3)] {
        registry.register(owner, key.into(), value).unwrap();
    }
    assert_eq!(registry.count_match("k", |value| *value > 1), 2);
    assert_eq!(registry.count_select(|key, _, value| key == "l" || *value == 1), 2);
    assert_eq!(registry.count(), 4);
    b.kill();
    task.await.unwrap();
    assert_eq!(registry.count_match("k", |_| true), 2, "an owner that has ended does not count");
    assert_eq!(registry.count(), 2);
}

#[tokio::test]
async fn listeners_hear_of_a_key_given_up_once_none_of_it_is_left() {
    let registry = Registry::<String, u32>::duplicate().build();
    let (a, _) = owner().await;
    for value in [1, 2] {
        registry.register(&a, "k".into(), value).unwrap();
    }
    let mut listener = registry.listen();
    registry.unregister_match(&a, &"k".into(), |value| *value == 1);
    registry.unregister_match(&a, &"k".into(), |value| *value == 2);
    registry.register(&a, "m".into(), 0).unwrap();
    assert!(matches!(listener.next().await.unwrap(), RegistryEvent::Unregistered { key, .. } if key == "k"));
    assert!(matches!(listener.next().await.unwrap(), RegistryEvent::Registered { key, .. } if key == "m"));
}

#[tokio::test]
async fn meta_values_have_names_and_types() {
    let registry = Registry::<String>::unique().build();
    registry.put_meta("limit", 7_u32);
    assert_eq!(registry.meta::<u32>("limit").as_deref(), Some(&7));
    assert!(registry.meta::<String>("limit").is_none(), "it has another type");
    registry.put_meta("limit", "none".to_owned());
    assert_eq!(registry.meta::<String>("limit").unwrap().as_str(), "none");
    registry.delete_meta("limit");
    assert!(registry.meta::<String>("limit").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_for_one_at_a_time_of_its_key_and_no_other() {
    let registry = Registry::<&'static str>::unique().build();
    let log = std::sync::Mutex::new(Vec::new());
    let work = |key: &'static str, name: &'static str| {
        let (registry, log) = (&registry, &log);
        async move {
            registry
                .lock(key, async {
                    log.lock().unwrap().push(format!("+{name}"));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    log.lock().unwrap().push(format!("-{name}"));
                })
                .await;
        }
    };
    let began = tokio::time::Instant::now();
    tokio::join!(work("k", "1"), work("k", "2"), work("l", "3"), work("k", "4"));
    let mut log = log.into_inner().unwrap();
    assert_eq!(log[1], "+3", "another key is not held up");
    log.retain(|line| !line.ends_with('3'));
    assert_eq!(log, ["+1", "-1", "+2", "-2", "+4", "-4"], "those of one key go one by one, in their order");
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn a_lock_is_free_again_when_its_holder_fails_or_its_waiter_leaves() {
    let registry = Registry::<&'static str>::unique().build();
    let held = registry.clone();
    let holder = tokio::spawn(async move {
        held.lock("k", async { std::panic::resume_unwind(Box::new("in the lock")) }).await;
    });
    assert!(holder.await.is_err());
    assert_eq!(registry.lock("k", async { 1 }).await, 1);
    let (held, waiting) = (registry.clone(), registry.clone());
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let holder = tokio::spawn(async move { held.lock("k", released).await });
    tokio::task::yield_now().await;
    let waiter = tokio::spawn(async move { waiting.lock("k", async {}).await });
    tokio::task::yield_now().await;
    waiter.abort();
    assert!(waiter.await.is_err());
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    assert_eq!(registry.lock("k", async { 2 }).await, 2);
}

#[tokio::test]
async fn a_claim_owns_its_key_until_it_is_dropped_and_no_actor_is_found_by_it() {
    let registry = Registry::<String, u32>::unique().build();
    let mut listener = registry.listen();
    let (actor, _task) = owner().await;
    let claim = registry.claim("k".into(), 1, |_| true).unwrap();
    assert_eq!(registry.lookup("k").iter().map(|entry| entry.value).collect::<Vec<_>>(), [1]);
    assert!(registry.lookup("k")[0].owner.is_none());
    assert!(registry.whereis("k").unwrap().is_none(), "a claim is no actor");
    assert!(registry.register(&actor, "k".into(), 2).unwrap_err().owner.is_none());
    assert!(registry.claim("k".into(), 3, |_| false).is_err(), "it does not yield");
    drop(claim);
    assert!(registry.lookup("k").is_empty());
    registry.register(&actor, "k".into(), 4).expect("the key is free");
    assert!(registry.claim("k".into(), 5, |_| true).is_err(), "an actor yields by its end alone");
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(match listener.next().await.unwrap() {
            RegistryEvent::Registered { value, owner, .. } => (Some(value), owner.is_some()),
            RegistryEvent::Unregistered { owner, .. } => (None, owner.is_some()),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(heard, [(Some(1), false), (None, false), (Some(4), true)]);
}

#[tokio::test]
async fn a_claim_that_yielded_takes_nothing_from_its_successor() {
    let registry = Registry::<String, u32>::unique().build();
    let done = registry.claim("k".into(), 1, |_| false).unwrap();
    let next = registry.claim("k".into(), 2, |holder| *holder == 1).unwrap();
    drop(done);
    assert_eq!(registry.lookup("k").iter().map(|entry| entry.value).collect::<Vec<_>>(), [2]);
    assert_eq!(next.key(), "k");
    drop(registry);
    // Nothing is left to give up.
    drop(next);
}

#[tokio::test]
async fn what_an_actor_was_registered_with_is_found_by_its_name_and_goes_with_it() {
    let registry = Registry::<String>::unique().build();
    let (actor, task) = owner().await;
    let name = registry.name("k".into(), ());
    name.register_with(&actor, 7_u32).unwrap();
    assert_eq!(name.attached::<u32>().as_deref(), Some(&7));
    assert!(name.attached::<u64>().is_none(), "it is of another type");
    actor.stop(None);
    task.await.unwrap();
    assert!(name.attached::<u32>().is_none());
    let (next, _task) = owner().await;
    name.register(&next).unwrap();
    assert!(name.attached::<u32>().is_none(), "the next owner has its own, or none");
}
