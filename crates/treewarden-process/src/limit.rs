//! What a tree may take, as the kernel keeps it.
//!
//! It is for limits that the kernel keeps by itself; what is kept by looking is whoever looks's ([`Meter`]). It must never say
//! that a limit is kept which is not.

use crate::memory::Meter;
use crate::os;

/// Limits of one tree that the kernel can keep; what is unset is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelLimits {
    /// The most memory, in bytes: at that the kernel kills a process of the tree.
    pub memory_max: Option<u64>,
    /// The memory above which the kernel slows the tree down and takes back what it can, in bytes.
    pub memory_high: Option<u64>,
    /// The most processes and threads.
    pub pids_max: Option<u32>,
    /// The tree's share of the processors, from 1 to 10,000.
    pub cpu_weight: Option<u32>,
}

impl KernelLimits {
    /// The names of those that are set.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        let Self { memory_max, memory_high, pids_max, cpu_weight } = self;
        let named = [
            ("memory_high", memory_high.is_some()),
            ("memory_max", memory_max.is_some()),
            ("pids_max", pids_max.is_some()),
            ("cpu_weight", cpu_weight.is_some()),
        ];
        named.into_iter().filter_map(|(name, is_set)| is_set.then_some(name))
    }
}

/// A limit that the kernel does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unkept {
    /// The name of its field in [`KernelLimits`].
    pub limit: &'static str,
    /// Why, in words.
    pub why: String,
}

impl Meter {
    /// Has the kernel keep these limits from now on, and no others, and tells which of them it does not keep.
    ///
    /// It blocks: a tree that takes more than its new limit is brought below that first.
    pub fn limit(&self, limits: &KernelLimits) -> Vec<Unkept> {
        match &self.cgroup {
            Some(cgroup) => os::limit(cgroup, limits),
            None => limits.names().map(|limit| Unkept { limit, why: NO_CGROUP.to_owned() }).collect(),
        }
    }
}

const NO_CGROUP: &str = "its processes are in no cgroup of their own";

/// Makes it possible that the kernel keeps limits of trees that are spawned from now on: hands the controllers down, for which
/// this process moves into a cgroup of its own beside its trees.
///
/// It is for a program that is alone in its cgroup, as a service is, and is called before any tree is spawned. Without it the
/// kernel keeps limits only where somebody else has seen to that.
///
/// # Errors
///
/// Why it cannot be, in words; nothing is changed then.
pub fn make_room_for_limits() -> Result<(), String> {
    os::make_room()
}

/// The controllers by which the kernel would keep limits of trees of this process, such as `memory`.
pub fn controllers() -> Vec<String> {
    os::controllers()
}
