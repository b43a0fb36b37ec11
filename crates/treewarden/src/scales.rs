//! Looks at the memory of the live CLIs of a host that have a limit, once a second for all of them together.
//!
//! What a look comes to is decided by [`treewarden_core::limits`]. It is below the sessions, which are [`Weighed`] to it. It
//! must never end a whole tree: it kills one process of it at most, as the kernel would, and whose end that is shows by itself.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use treewarden_core::limits::{Finding, Limits, Size, Watch, Weight};
use treewarden_process::{Meter, Process, Reading, Unkept, kill, weigh};

/// How long it is from the end of one look to the next.
///
/// A process that does nothing else fills some GiB in a second, and so goes beyond its limit by that much; one that is
/// started to do work fills far less. A look costs some 10 µs for each process of the machine, 1 % of one processor for a
/// thousand of them.
const APART: Duration = Duration::from_secs(1);

/// A session as the scales see it.
pub(crate) trait Weighed: Send + Sync {
    /// Tells what was found out about this CLI, which may have ended by now. It is called without a lock of the scales.
    fn found(&self, cli: Process, found: Found);
}

/// What is found out that the session has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// It takes so much, and is to be replaced.
    TooLarge(Size),
    /// A process that it started was killed, at its limit.
    ToolKilled(String),
}

/// The scales of one host.
#[derive(Default)]
pub(crate) struct Scales(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Held for memory only; nothing is locked under it.
    room: Mutex<Room>,
}

#[derive(Default)]
struct Room {
    next: u64,
    loads: HashMap<u64, Arc<Load>>,
    /// A task looks at them.
    is_kept: bool,
    /// The limits that are not kept here, which is said once for each.
    said: HashSet<&'static str>,
}

/// One CLI, and what is known of its memory.
struct Load {
    meter: Meter,
    limits: Limits,
    /// The kernel keeps `memory_max`.
    by_kernel: Arc<AtomicBool>,
    /// Held for memory only; nothing is locked under it.
    watch: Mutex<Watch>,
    who: Weak<dyn Weighed>,
}

/// A CLI that is looked at until this is dropped.
pub(crate) struct OnScales {
    shared: Arc<Shared>,
    number: u64,
    load: Arc<Load>,
}

impl fmt::Debug for OnScales {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnScales").field("cli", &self.load.meter.leader()).finish_non_exhaustive()
    }
}

impl Scales {
    /// Has a CLI looked at; `by_kernel` says that the kernel keeps its `memory_max`. It is called on a runtime.
    pub(crate) fn put<W: Weighed + 'static>(
        &self,
        meter: Meter,
        limits: Limits,
        by_kernel: bool,
        who: &Arc<W>,
    ) -> OnScales {
        let who: Weak<W> = Arc::downgrade(who);
        let watch = Mutex::new(Watch::since(meter.kernel_kills()));
        let by_kernel = Arc::new(AtomicBool::new(by_kernel));
        let load = Arc::new(Load { meter, limits, by_kernel, watch, who });
        let mut room = self.0.lock();
        room.next += 1;
        let number = room.next;
        room.loads.insert(number, Arc::clone(&load));
        let begins = !std::mem::replace(&mut room.is_kept, true);
        drop(room);
        if begins {
            tokio::spawn(keep(Arc::downgrade(&self.0)));
        }
        OnScales { shared: Arc::clone(&self.0), number, load }
    }

    /// Says which limits are not kept by the kernel, each once in the life of the host.
    pub(crate) fn say(&self, unkept: &[Unkept]) {
        for Unkept { limit, why } in unkept {
            if !self.0.lock().said.insert(limit) {
                continue;
            }
            if *limit == "memory_max" {
                tracing::info!(
                    why,
                    "the kernel does not keep `memory_max` here: memory is looked at each second"
                );
            } else {
                tracing::warn!(why, "`{limit}` is not kept here");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The CLIs to look at; `None` if there are none, and nobody looks any more.
    fn loads(&self) -> Option<Vec<Arc<Load>>> {
        let mut room = self.lock();
        // Both under one lock: a CLI that comes in between would wait for a look that never comes.
        room.is_kept = !room.loads.is_empty();
        room.is_kept.then(|| room.loads.values().cloned().collect())
    }
}

impl OnScales {
    /// The limit at which a CLI that was killed was killed; `None` if it was killed for something else.
    ///
    /// `kernel_kills` is how many of its processes the kernel had killed at its end.
    pub(crate) fn limit_of(&self, kernel_kills: u64) -> Option<Size> {
        self.load.limits.memory_max.filter(|_| self.load.watch().killed_for_memory(kernel_kills))
    }

    /// Whether the kernel keeps its `memory_max`, for whoever finds that out.
    pub(crate) fn by_kernel(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.load.by_kernel)
    }
}

impl Drop for OnScales {
    fn drop(&mut self) {
        self.shared.lock().loads.remove(&self.number);
    }
}

/// Somebody looks; if its runtime ends before there is nothing to look at, the next who comes begins anew.
struct Kept(Weak<Shared>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.lock().is_kept = false;
        }
    }
}

/// Looks until there is nothing to look at; whoever comes then begins anew.
async fn keep(shared: Weak<Shared>) {
    let mut kept = Kept(shared);
    loop {
        tokio::time::sleep(APART).await;
        let Some(loads) = kept.0.upgrade().and_then(|shared| shared.loads()) else {
            // That nobody looks is noted already, and another may have begun since.
            kept.0 = Weak::new();
            return;
        };
        // One look at a time, however long it takes. One that panics is a look that was not made.
        let _made = tokio::task::spawn_blocking(move || look(&loads)).await;
    }
}

fn look(loads: &[Arc<Load>]) {
    let meters: Vec<Meter> = loads.iter().map(|load| load.meter.clone()).collect();
    match weigh(&meters) {
        Ok(readings) => loads.iter().zip(readings).for_each(|(load, reading)| load.take(reading)),
        // As where no descriptor is left: what is too much still is so at the next look.
        Err(error) => tracing::debug!(%error, "the memory of CLIs cannot be looked at"),
    }
}

impl Load {
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what follows of a look.
    fn take(&self, reading: Reading) {
        // `Relaxed`: whoever sets it orders nothing else by it.
        let by_kernel = self.by_kernel.load(Ordering::Relaxed);
        let least = self.watch().least(&self.limits, by_kernel);
        // What is cheap to have counts shared memory more than once: only what exceeds a limit so is measured well.
        let exceeds = least.is_some_and(|least| reading.taken() > least.bytes());
        let reading = if exceeds { reading.exact() } else { reading };
        // It has ended, and how that was is told by its exit.
        let Some((heaviest, its)) = reading.heaviest() else { return };
        let cli = self.meter.leader();
        let (taken, kernel_kills) = (reading.taken(), reading.kernel_kills);
        let weight = Weight { taken, cli_is_heaviest: heaviest == cli, kernel_kills };
        let finding = self.watch().look(&self.limits, by_kernel, weight);
        let limit = self.limits.memory_max;
        match (finding, limit) {
            (Some(Finding::Kill), Some(limit)) => {
                let size =
                    |bytes| Size::new(bytes).map_or_else(String::new, |size| size.rounded().to_string());
                let why = format!("{heaviest} took {} of {}; memory_max is {limit}", size(its), size(taken));
                kill(heaviest);
                if heaviest != cli {
                    self.tell(Found::ToolKilled(why));
                }
            }
            (Some(Finding::ToolKilled), Some(limit)) => {
                self.tell(Found::ToolKilled(format!("the kernel killed it; memory_max is {limit}")));
            }
            (Some(Finding::TooLarge), _) => {
                if let Some(taken) = Size::new(taken) {
                    self.tell(Found::TooLarge(taken));
                }
            }
            _ => {}
        }
    }

    fn tell(&self, found: Found) {
        if let Some(who) = self.who.upgrade() {
            who.found(self.meter.leader(), found);
        }
    }
}
