//! Takes the keys of owners that have ended out of the tables.
//!
//! Correctness does not depend on it: look-ups skip owners that have ended, and a new owner replaces one. It keeps
//! memory and counts honest. One task serves a registry; it begins with the first registration inside a tokio runtime,
//! ends with the registry, and begins anew when its runtime ended before the registry did.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::stream::{FuturesUnordered, StreamExt};
use ractor::{ActorCell, ActorId};
use tokio::sync::Notify;

/// What a reaper works for.
pub(super) trait Reap: Send + Sync + 'static {
    fn reaper(&self) -> &Reaper;
    /// Every owner there is.
    fn owners(&self) -> Vec<ActorCell>;
    /// Forgets an owner that has ended.
    fn forget(&self, owner: ActorId);
}

#[derive(Debug, Default)]
pub(super) struct Reaper {
    state: Mutex<State>,
    notify: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// Owners that the task does not know yet.
    new: Vec<ActorCell>,
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.notify.notify_one();
    }
}

impl Reaper {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sees to it that `owner` is forgotten once it has ended.
    pub(super) fn watch<R: Reap>(registry: &Arc<R>, owner: &ActorCell) {
        let this = registry.reaper();
        let runtime = tokio::runtime::Handle::try_current().ok();
        let starts = this.with(|state| {
            if state.running {
                state.new.push(owner.clone());
                return None;
            }
            // What a task that went with its runtime did not come to is among all owners, below.
            state.new.clear();
            // Without a runtime nobody can wait here. The next owner that is registered within one starts the
            // task, which then gets every owner there is, this one too. Noted as running meanwhile, it would
            // be left out by a thread that has a runtime.
            state.running = runtime.is_some();
            runtime
        });
        // It keeps a permit if the task does not wait just now, so that no owner is overlooked.
        this.notify.notify_one();
        let Some(runtime) = starts else { return };
        // All of them, and not only the new one: those that an earlier task knew of went with its runtime.
        let owners = registry.owners();
        // Added to what is there: another thread may have noted an owner since the list was made, whose keys
        // would stay for ever.
        this.with(|state| state.new.extend(owners));
        drop(runtime.spawn(run(Running(Arc::downgrade(registry)), this.notify.clone())));
    }
}

/// Notes when the task is dropped, so that another one can take over.
struct Running<R: Reap>(Weak<R>);

impl<R: Reap> Drop for Running<R> {
    fn drop(&mut self) {
        if let Some(registry) = self.0.upgrade() {
            registry.reaper().with(|state| state.running = false);
        }
    }
}

async fn run<R: Reap>(running: Running<R>, notify: Arc<Notify>) {
    let mut waits: FuturesUnordered<Pin<Box<dyn Future<Output = ActorId> + Send>>> = FuturesUnordered::new();
    loop {
        {
            // For a moment only: a task that kept the registry would keep it alive for ever, and itself with
            // it.
            let Some(registry) = running.0.upgrade() else { return };
            for cell in registry.reaper().with(|state| std::mem::take(&mut state.new)) {
                waits.push(Box::pin(async move {
                    // Without a time limit there is nothing that can fail.
                    let _ = cell.wait(None).await;
                    cell.get_id()
                }));
            }
        }
        tokio::select! {
            () = notify.notified() => {}
            Some(owner) = waits.next(), if !waits.is_empty() => match running.0.upgrade() {
                Some(registry) => registry.forget(owner),
                None => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ractor::{Actor, ActorProcessingErr, ActorRef};

    use super::*;

    struct Owner;

    #[ractor::actor(message = (), state = (), arguments = ())]
    impl Owner {
        async fn pre_start(&self, _myself: ActorRef<()>, _args: ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    /// Notes another owner just after it has listed those that it knows.
    struct Crowded {
        reaper: Reaper,
        this: Weak<Self>,
        known: ActorCell,
        late: ActorCell,
        forgotten: Mutex<Vec<ActorId>>,
    }

    impl Reap for Crowded {
        fn reaper(&self) -> &Reaper {
            &self.reaper
        }

        fn owners(&self) -> Vec<ActorCell> {
            if let Some(this) = self.this.upgrade() {
                Reaper::watch(&this, &self.late);
            }
            vec![self.known.clone()]
        }

        fn forget(&self, owner: ActorId) {
            self.forgotten.lock().unwrap_or_else(PoisonError::into_inner).push(owner);
        }
    }

    #[tokio::test]
    async fn an_owner_that_comes_while_the_task_begins_is_forgotten_too() {
        let (known, _) = Actor::spawn(None, Owner, ()).await.expect("it starts");
        let (late, _) = Actor::spawn(None, Owner, ()).await.expect("it starts");
        let registry = Arc::new_cyclic(|this| Crowded {
            reaper: Reaper::default(),
            this: this.clone(),
            known: known.get_cell(),
            late: late.get_cell(),
            forgotten: Mutex::default(),
        });
        Reaper::watch(&registry, &known.get_cell());
        known.stop(None);
        late.stop(None);
        for _ in 0..2_500 {
            let forgotten = registry.forgotten.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if [&known, &late].iter().all(|owner| forgotten.contains(&owner.get_id())) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("an owner that has ended is not forgotten");
    }
}
