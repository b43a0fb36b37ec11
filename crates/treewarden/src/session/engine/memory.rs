//! What the CLI of an engine may take: how its limits come to hold, and what follows when it takes too much.
//!
//! What is decided about it is [`treewarden_core::limits`]'; who measures is [`crate::scales`]. It must never end a CLI: that
//! is the session machine's to say.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use treewarden_core::limits::{Enforcement, Limits, Size};
use treewarden_core::session::{PermanentKind, StartFailure};
use treewarden_process::{KernelLimits, Process, Unkept};

use super::Engine;
use super::cli::{self, Cli};
use super::launch::permanent;
use crate::events::Happening;
use crate::scales::{Found, Weighed};
use crate::session::desk::{Command, Desk, Shown};

/// Has the limits of the session hold for a CLI that was just started.
pub(super) async fn limited(desk: &Arc<Desk>, mut cli: Box<Cli>) -> Result<Box<Cli>, StartFailure> {
    let limits = desk.options().limits.clone();
    if limits.is_any() {
        let (meter, kernel) = (cli.meter().clone(), of_kernel(&limits));
        // Who cannot be asked has kept nothing: the runtime ends.
        let Ok(unkept) = tokio::task::spawn_blocking(move || meter.limit(&kernel)).await else {
            cli::leave(desk, Some(cli));
            return Err(StartFailure::Shortage("the program's runtime has ended".to_owned()));
        };
        if let (Enforcement::Kernel, Some(first)) = (limits.enforcement, unkept.first()) {
            let text = format!(
                "the session demands that the kernel keep its limits (`limits = \"kernel\"`), which it does not: `{}`: {}",
                first.limit, first.why
            );
            cli::leave(desk, Some(cli));
            return Err(permanent(PermanentKind::NoLimits, text));
        }
        desk.host.inner.scales.say(&unkept);
        cli.limits = (limits.clone(), keeps_memory(&limits, &unkept));
    } else {
        cli.limits = (limits, false);
    }
    Ok(cli)
}

fn of_kernel(limits: &Limits) -> KernelLimits {
    KernelLimits {
        memory_max: limits.memory_max.map(Size::bytes),
        memory_high: limits.memory_high.map(Size::bytes),
        pids_max: limits.pids_max,
        cpu_weight: limits.cpu_weight,
    }
}

fn keeps_memory(limits: &Limits, unkept: &[Unkept]) -> bool {
    limits.memory_max.is_some() && !unkept.iter().any(|unkept| unkept.limit == "memory_max")
}

impl Engine {
    /// Has the CLI's memory looked at from now on, if it is to be.
    pub(super) fn weigh(&mut self) {
        let Some(cli) = &mut self.cli else { return };
        let (limits, kernel) = cli.limits.clone();
        let scales = &self.desk.host.inner.scales;
        cli.on_scales =
            limits.is_weighed().then(|| scales.put(cli.meter().clone(), limits, kernel, &self.desk));
    }

    /// Has other limits hold for the CLI, if they are others now.
    pub(super) fn limit_anew(&mut self) {
        let limits = self.desk.options().limits.clone();
        let Some(cli) = &mut self.cli else { return };
        if cli.limits.0 == limits {
            return;
        }
        let (meter, kernel) = (cli.meter().clone(), of_kernel(&limits));
        // Until the kernel has said that it keeps it, the limit is kept by looking.
        cli.limits = (limits.clone(), false);
        self.weigh();
        let by_kernel = self.cli.as_ref().and_then(|cli| Some(cli.on_scales.as_ref()?.by_kernel()));
        let desk = Arc::clone(&self.desk);
        // Beside the engine: a CLI that takes more than its new limit is brought below that first.
        drop(tokio::task::spawn_blocking(move || {
            let unkept = meter.limit(&kernel);
            desk.host.inner.scales.say(&unkept);
            if let Some(by_kernel) = by_kernel {
                by_kernel.store(keeps_memory(&limits, &unkept), Ordering::Relaxed);
            }
        }));
    }

    /// Takes note of a CLI that takes too much memory; `false` if it is another one than that of the moment.
    pub(super) fn is_too_large(&mut self, pid: u32, taken: Size) -> bool {
        let found = self.cli.as_mut().filter(|cli| cli.pid() == pid);
        found.map(|cli| cli.too_large = Some(taken)).is_some()
    }

    /// Says that the CLI is replaced for its memory.
    pub(super) fn recycle(&mut self) {
        let Some(cli) = &self.cli else { return };
        let (Some(taken), Some(limit)) = (cli.too_large, cli.limits.0.recycle_above) else { return };
        let why = format!("it takes {} with what it started, and recycle_above is {limit}", taken.rounded());
        tracing::info!(session = %self.desk.name, why, "a CLI is replaced between two turns");
        self.desk.note(Shown::Recycled);
        self.desk.publish(Happening::Recycled { why });
    }
}

impl Weighed for Desk {
    fn found(&self, cli: Process, found: Found) {
        match found {
            // Without an engine there is no CLI any more.
            Found::TooLarge(taken) => drop(self.command(Command::TooLarge { pid: cli.pid.get(), taken })),
            Found::ToolKilled(why) => {
                tracing::warn!(session = %self.name, why, "a process that a CLI had started was killed for memory");
                self.publish(Happening::ToolKilled { why });
            }
        }
    }
}
