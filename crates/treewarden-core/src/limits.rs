//! What one CLI and the processes that it starts may take, and what is done about one that takes more.
//!
//! A limit that the kernel keeps needs no decision here. Where it keeps none, the memory of the processes is looked at from
//! time to time, and what a look comes to is said here; so is when a CLI is replaced for its memory, which the kernel never
//! does. It is not for how memory is measured, nor for how a CLI is replaced, which is the
//! [session machine](crate::session)'s. It must never have a CLI replaced twice for one finding, and never take the end of a
//! tool for the end of its CLI.

use serde::{Deserialize, Serialize};

pub use crate::size::{NoSize, Size};

/// The heaviest `cpu_weight` that the kernel takes (cgroup-v2.rst, `cpu.weight`).
const MAX_WEIGHT: u32 = 10_000;

/// What the processes of one session may take; nothing is limited unless set.
///
/// They are read and written by serde, as a session's options in a file say them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// The most memory that the CLI and what it starts may take: who goes beyond it is killed.
    pub memory_max: Option<Size>,
    /// The memory above which the kernel slows them down and takes back what it can.
    pub memory_high: Option<Size>,
    /// The most processes and threads that they may be.
    pub pids_max: Option<u32>,
    /// Their share of the processors beside others, from 1 to 10,000; 100 unless set.
    pub cpu_weight: Option<u32>,
    /// Who keeps the limits.
    #[serde(rename = "limits")]
    pub enforcement: Enforcement,
    /// The memory above which the CLI is replaced between two turns.
    pub recycle_above: Option<Size>,
}

/// Who keeps the limits of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Enforcement {
    /// The kernel where it can; otherwise `memory_max` is kept by looking, and the others are not kept, which is said.
    #[default]
    Best,
    /// The kernel alone: where it cannot, the session does not start.
    Kernel,
}

impl Limits {
    /// Tells whether the kernel has something to keep.
    pub fn is_any(&self) -> bool {
        let Self { memory_max, memory_high, pids_max, cpu_weight, .. } = self;
        memory_max.is_some() || memory_high.is_some() || pids_max.is_some() || cpu_weight.is_some()
    }

    /// Tells whether the memory is to be looked at.
    ///
    /// Also where the kernel keeps `memory_max`: whom it killed is to be told.
    pub fn is_weighed(&self) -> bool {
        self.memory_max.is_some() || self.recycle_above.is_some()
    }

    /// What is wrong with them, each with the keys between back-ticks.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let (Some(recycle), Some(max)) = (self.recycle_above, self.memory_max)
            && recycle >= max
        {
            faults.push(format!(
                "`recycle_above` ({recycle}) must be below `memory_max` ({max}): at that the CLI is ended, also in a turn"
            ));
        }
        if let (Some(high), Some(max)) = (self.memory_high, self.memory_max)
            && high > max
        {
            faults.push(format!("`memory_high` ({high}) must not be above `memory_max` ({max})"));
        }
        if let Some(weight) = self.cpu_weight.filter(|weight| !(1..=MAX_WEIGHT).contains(weight)) {
            faults.push(format!("`cpu_weight` must be from 1 to {MAX_WEIGHT}, found {weight}"));
        }
        if self.pids_max == Some(0) {
            faults.push("`pids_max` must be at least 1: the CLI is a process".to_owned());
        }
        faults
    }
}

/// What one look has shown of a CLI and the processes that it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// The memory that all of them take together, in bytes.
    pub taken: u64,
    /// The one that takes most is the CLI itself.
    pub cli_is_heaviest: bool,
    /// How many of them the kernel has killed at their limit so far.
    pub kernel_kills: u64,
}

/// What follows of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// They take more than they may: the process that takes most is to be killed, as the kernel would.
    Kill,
    /// The kernel killed what the CLI had started, and the CLI lives on.
    ToolKilled,
    /// The CLI is to be replaced between two turns.
    TooLarge,
}

/// What is known of the memory of one CLI over its life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    /// It is to be replaced, which is said once.
    told: bool,
    /// How many the kernel had killed that were not the CLI.
    kernel_kills: u64,
    /// How many it had killed at the last look; whether the CLI was among them shows at the next.
    at_last_look: u64,
    /// It was killed itself, since it took most of what was too much.
    killed: bool,
}

impl Watch {
    /// Begins with a CLI of whose processes the kernel has killed so many.
    pub fn since(kernel_kills: u64) -> Self {
        Self { kernel_kills, at_last_look: kernel_kills, ..Self::default() }
    }

    /// The least memory at which something would follow: of less, nothing need be known exactly.
    ///
    /// `kernel` says that the kernel keeps `memory_max`.
    pub fn least(&self, limits: &Limits, kernel: bool) -> Option<Size> {
        let recycle = limits.recycle_above.filter(|_| !self.told);
        recycle.into_iter().chain(limits.memory_max.filter(|_| !kernel)).min()
    }

    /// Takes what a look has shown of a CLI that lives; at most one thing follows, and the next look shows what else.
    ///
    /// `kernel` says that the kernel keeps `memory_max`.
    pub fn look(&mut self, limits: &Limits, kernel: bool, weight: Weight) -> Option<Finding> {
        // The kernel counts a kill before the process is gone: a CLI that was killed may still look alive. One that
        // lives a look later was not.
        let before = std::mem::replace(&mut self.at_last_look, weight.kernel_kills);
        if before > self.kernel_kills {
            self.kernel_kills = before;
            return Some(Finding::ToolKilled);
        }
        let exceeds = |limit: Option<Size>| limit.is_some_and(|limit| weight.taken > limit.bytes());
        if !kernel && exceeds(limits.memory_max) {
            // Before the signal: the exit may be judged before the next line is reached.
            self.killed |= weight.cli_is_heaviest;
            return Some(Finding::Kill);
        }
        if exceeds(limits.recycle_above) && !self.told {
            self.told = true;
            return Some(Finding::TooLarge);
        }
        None
    }

    /// Tells whether a CLI that was killed was killed for memory; `kernel_kills` is counted after its end.
    ///
    /// A CLI that somebody else kills within two looks after the kernel killed a tool of it is taken for one of these.
    pub fn killed_for_memory(&self, kernel_kills: u64) -> bool {
        self.killed || kernel_kills > self.kernel_kills
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { memory_max: Some(Size::mib(100)), recycle_above: Some(Size::mib(50)), ..Limits::default() }
    }

    fn weight(mib: u64) -> Weight {
        Weight { taken: mib << 20, cli_is_heaviest: false, kernel_kills: 0 }
    }

    #[test]
    fn a_cli_is_replaced_above_one_size_and_killed_above_the_other() {
        let mut watch = Watch::default();
        let mut look = |mib| watch.look(&limits(), false, weight(mib));
        assert_eq!(look(50), None, "not yet above");
        assert_eq!(look(51), Some(Finding::TooLarge));
        assert_eq!(look(60), None, "it is said once");
        assert_eq!(look(101), Some(Finding::Kill));
        assert_eq!(look(101), Some(Finding::Kill), "what is left is still too much");
        assert_eq!(look(10), None);
    }

    #[test]
    fn what_the_kernel_keeps_is_not_kept_twice() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(&limits(), true, weight(101)), Some(Finding::TooLarge));
        assert_eq!(watch.look(&limits(), true, weight(101)), None);
        let least = |watch: &Watch, kernel| watch.least(&limits(), kernel);
        assert_eq!(least(&Watch::default(), true), Some(Size::mib(50)));
        // What is said once is not measured for again.
        assert_eq!((least(&watch, false), least(&watch, true)), (Some(Size::mib(100)), None));
    }

    #[test]
    fn the_end_of_a_tool_is_not_taken_for_the_end_of_its_cli() {
        let mut watch = Watch::default();
        // Killed by the kernel, and seen while the CLI lives.
        let killed = Weight { kernel_kills: 1, ..weight(10) };
        assert_eq!(watch.look(&limits(), true, killed), None, "it may be the CLI that is on its way out");
        assert!(watch.killed_for_memory(1));
        assert_eq!(watch.look(&limits(), true, killed), Some(Finding::ToolKilled));
        assert_eq!(watch.look(&limits(), true, killed), None, "it is said once");
        assert!(!watch.killed_for_memory(1), "the CLI ended later, of something else");
        assert!(watch.killed_for_memory(2), "one more, and the CLI is gone");
        assert!(!Watch::since(2).killed_for_memory(2), "what was before counts for nobody");
        // Killed by us.
        let mut watch = Watch::default();
        assert_eq!(watch.look(&limits(), false, weight(101)), Some(Finding::Kill));
        assert!(!watch.killed_for_memory(0), "it was a tool");
        let itself = Weight { cli_is_heaviest: true, ..weight(101) };
        assert_eq!(watch.look(&limits(), false, itself), Some(Finding::Kill));
        assert!(watch.killed_for_memory(0));
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused_by_their_names() {
        let all = Limits {
            memory_high: Some(Size::mib(101)),
            recycle_above: Some(Size::mib(100)),
            cpu_weight: Some(10_001),
            pids_max: Some(0),
            ..limits()
        };
        let faults = all.faults();
        for (fault, keys) in
            faults.iter().zip(["`recycle_above`", "`memory_high`", "`cpu_weight`", "`pids_max`"])
        {
            assert!(fault.starts_with(keys), "{fault}");
        }
        assert_eq!(faults.len(), 4);
        assert_eq!((limits().faults(), Limits::default().faults()), (vec![], vec![]));
    }

    #[test]
    fn what_a_file_says_is_read_and_written() {
        let text = r#"{"memory_max":"1.5 GiB","limits":"kernel","recycle_above":"512 MiB"}"#;
        let read: Limits = serde_json::from_str(text).expect("it is read");
        assert_eq!((read.memory_max, read.enforcement), (Some(Size::mib(1536)), Enforcement::Kernel));
        assert_eq!(serde_json::to_value(&read).expect("it is written")["recycle_above"], "512 MiB");
        assert!(read.is_any() && read.is_weighed() && !Limits::default().is_any());
    }
}
