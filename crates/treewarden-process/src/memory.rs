//! How much memory trees take, all of them in one look.
//!
//! A process belongs to a tree by its cgroup, its group, its session or its descent. Its mark is not looked for, which would
//! be a read of every environment: what detached itself from a tree without a cgroup is not counted. It is for a look each
//! second, and must never be a proof of anything.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::os;
use crate::pid::{Pid, Process};
use crate::tree::ProcessTree;

/// Looks at one tree from beside whoever owns it; a clone looks at the same.
#[derive(Debug, Clone)]
pub struct Meter {
    leader: Process,
    pub(crate) cgroup: Option<PathBuf>,
}

impl Meter {
    /// The leader of the tree.
    pub fn leader(&self) -> Process {
        self.leader
    }

    /// How many processes of the tree the kernel has killed at its limit so far; 0 once the tree is gone.
    pub fn kernel_kills(&self) -> u64 {
        self.cgroup.as_deref().map_or(0, os::kernel_kills)
    }
}

impl ProcessTree {
    /// What looks at the tree's memory, and limits that; it outlives the tree and then finds nothing.
    pub fn meter(&self) -> Meter {
        let members = self.members.as_ref();
        let cgroup = members.and_then(|members| Some(members.cgroup.as_ref()?.path().to_owned()));
        Meter { leader: self.leader(), cgroup }
    }
}

/// What one look has shown of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    processes: Vec<(Process, u64)>,
    /// How many of its processes the kernel had killed at its limit.
    pub kernel_kills: u64,
}

impl Reading {
    /// The memory that its processes take, in bytes: at most that, since what several share counts for each of them.
    pub fn taken(&self) -> u64 {
        self.processes.iter().map(|(_, taken)| taken).sum()
    }

    /// The process that takes most, and how much.
    pub fn heaviest(&self) -> Option<(Process, u64)> {
        self.processes.iter().copied().max_by_key(|(_, taken)| *taken)
    }

    /// How many processes it has.
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Counts what processes share once, as far as the system tells; it blocks, some milliseconds for each GiB.
    #[must_use]
    pub fn exact(mut self) -> Self {
        for (process, taken) in &mut self.processes {
            if let Some(share) = os::own_share(process.pid) {
                *taken = share;
            }
        }
        self
    }
}

/// Kills one process of a tree, unless its id is another's by now.
pub fn kill(process: Process) {
    // Whoever may not be killed stays, and the next look shows it again.
    let _allowed = process.signal(Signal::KILL);
}

/// Looks at the memory of these trees, in their order; one that is gone takes none. It blocks, some 10 µs for each process of
/// the system.
///
/// # Errors
///
/// An [`io::Error`] if the processes cannot be listed.
pub fn weigh(meters: &[Meter]) -> io::Result<Vec<Reading>> {
    let mut table = HashMap::new();
    for pid in os::pids()? {
        // A process that cannot be looked at counts as gone: nothing is concluded from that here.
        if let Ok(Some(stat)) = os::stat(pid)
            && stat.is_alive
        {
            table.insert(pid.get(), stat);
        }
    }
    let mut readings: Vec<Reading> = meters.iter().map(|_| Reading::default()).collect();
    let (mut leaders, mut owners) = (HashMap::new(), HashMap::new());
    for (index, Meter { leader, cgroup }) in meters.iter().enumerate() {
        let Some(stat) = table.get(&leader.pid.get()) else { continue };
        if stat.start_time != leader.start_time {
            continue;
        }
        leaders.insert(leader.pid.get(), index);
        if let Some(cgroup) = cgroup {
            readings[index].kernel_kills = os::kernel_kills(cgroup);
            // Removed meanwhile, or no descriptor is left: what can be told by the rest is.
            owners.extend(os::pids_in(cgroup).unwrap_or_default().into_iter().map(|pid| (pid.get(), index)));
        }
    }
    for (&pid, stat) in &table {
        let by_kin = [pid, stat.group, stat.session].iter().find_map(|id| leaders.get(id)).copied();
        let owner = by_kin
            .or_else(|| owners.get(&pid).copied())
            .or_else(|| by_descent(pid, &table, &leaders, &owners));
        if let (Some(index), Some(pid)) = (owner, Pid::new(pid)) {
            readings[index].processes.push((Process { pid, start_time: stat.start_time }, stat.memory));
        }
    }
    Ok(readings)
}

/// The tree of the nearest forebear that has one.
fn by_descent(
    pid: u32,
    table: &HashMap<u32, os::Stat>,
    leaders: &HashMap<u32, usize>,
    owners: &HashMap<u32, usize>,
) -> Option<usize> {
    let mut at = table.get(&pid)?.parent;
    // Ids that are given anew during the look could make a ring of it.
    for _ in 0..table.len() {
        if let Some(index) = leaders.get(&at).or_else(|| owners.get(&at)) {
            return Some(*index);
        }
        at = table.get(&at)?.parent;
    }
    None
}
