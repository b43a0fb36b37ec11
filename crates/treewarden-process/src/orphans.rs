//! Orphans of trees: who adopts them, and who reaps them.
//!
//! A process whose parent ends is given to the nearest ancestor that asked for such children, or else to the first process.
//! A host that asks for them keeps what slipped out of a tree below itself, where it is found without any mark. It is the
//! program that decides it, not this library: it would be given the orphans of whatever else the program starts.
//!
//! # Whose is an orphan that says nothing?
//!
//! A tree's, where nothing else could have come to this host. The first process of a container is given whatever anybody in
//! there leaves behind (`docker exec`), and a program that was executed in place of an entry script has the services that
//! script started, and what these leave. There, an orphan proves nothing by being one.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{self, WaitId, WaitIdOptions};

use crate::kin::Orphans;
use crate::os;
use crate::pid::{Pid, Process};

/// How long a start is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Whether every child of this process that it did not start itself comes from a tree.
static ARE_OF_TREES: AtomicBool = AtomicBool::new(false);

/// The leaders that are not reaped yet, by their ids, with their start times.
// Always the last lock: it is taken under `BIRTH` and under a leader's `is_reaped`, and nothing is locked
// under it.
static LEADERS: Mutex<BTreeMap<Pid, u64>> = Mutex::new(BTreeMap::new());

/// Held while a leader is made, and while orphans are reaped or told: a child is no orphan before it is known for a leader.
static BIRTH: Mutex<()> = Mutex::new(());

/// Makes this process adopt the orphans of its trees; only for a program that starts processes by [`spawn`](crate::spawn)
/// alone.
///
/// What slipped out of a tree, without its mark and in a session of its own, is then found when the tree is stopped. The
/// orphans that have ended are to be reaped by [`reap_orphans`], whenever SIGCHLD comes. On macOS this does nothing.
///
/// Call it before anything is started. In the first process of a container, or in one that has children already, such an
/// orphan may be anybody's: it is left alone, and told by [`TreeGone::left`](crate::TreeGone::left).
///
/// # Errors
///
/// If the system refuses it; then orphans go to another process, as without it.
pub fn adopt_orphans() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if !ADOPTS.load(Ordering::Acquire) {
        // Asked before any can come: what is a child by then was there before this program was.
        ARE_OF_TREES.store(std::process::id() != 1 && has_no_child(), Ordering::Release);
        process::set_child_subreaper(Some(process::getpid()))?;
        // Last, and read first with `Acquire` in `of`: whoever sees that orphans come here also sees whose
        // they are, and does not leave those of a tree alone as anybody's. If the kernel refuses, nothing is
        // ever reaped.
        ADOPTS.store(true, Ordering::Release);
    }
    Ok(())
}

/// Tells whether this process has no child, not even one that has ended: others of that one may have come here before.
///
/// The kernel is asked, and not `/proc`, which may hide what runs as another user.
#[cfg(target_os = "linux")]
fn has_no_child() -> bool {
    /// Children of any kind, also those whose end is told by another signal; the crate has no name for it.
    const WALL: WaitIdOptions = WaitIdOptions::from_bits_retain(0x4000_0000);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT | WALL;
    process::waitid(WaitId::All, options).is_err_and(|error| error == Errno::CHILD)
}

/// Reaps the orphans that have ended, and tells how many.
///
/// A leader is never reaped by it, so that nobody loses an exit status that is waited for. Blocks while a process is
/// being spawned, but not for long: then they are reaped the next time.
pub fn reap_orphans() -> usize {
    if !ADOPTS.load(Ordering::Acquire) {
        return 0;
    }
    // Without it, a CLI that has been made and is not on the list yet would be reaped here if it ended at
    // once, and its exit status be lost.
    let Some(_no_birth) = no_birth() else { return 0 };
    // Kernels without CONFIG_PROC_CHILDREN do not list them: then all processes are looked at.
    let children = os::adopted().map_or_else(found, Ok);
    let children = children.unwrap_or_else(|error| {
        tracing::warn!(%error, "orphans that have ended cannot be found; they stay");
        Vec::new()
    });
    let is_orphan = |pid: &Pid| !leaders().contains_key(pid);
    children.into_iter().filter(is_orphan).filter(|pid| reap(*pid)).count()
}

fn reap(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    matches!(process::waitid(WaitId::Pid(pid.as_rustix()), options), Ok(Some(_)))
}

/// The children of this process, where the kernel does not list them.
fn found() -> io::Result<Vec<Pid>> {
    let own = std::process::id();
    let is_child = |pid: &Pid| os::stat(*pid).is_ok_and(|stat| stat.is_some_and(|stat| stat.parent == own));
    Ok(os::pids()?.into_iter().filter(is_child).collect())
}

/// Keeps orphans from being reaped until the child that is made now is known for a leader.
pub(crate) fn birth() -> MutexGuard<'static, ()> {
    BIRTH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`birth`], unless that takes too long: a file system that hangs while it executes a program must not keep whatever
/// is stopped meanwhile.
fn no_birth() -> Option<MutexGuard<'static, ()>> {
    let until = Instant::now() + PATIENCE;
    loop {
        match BIRTH.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

fn leaders() -> MutexGuard<'static, BTreeMap<Pid, u64>> {
    LEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note of a leader.
pub(crate) fn began(leader: Process) {
    leaders().insert(leader.pid, leader.start_time);
}

/// Tells whether it is a leader that is not reaped yet.
pub(crate) fn is_leader(pid: Pid) -> bool {
    leaders().contains_key(&pid)
}

/// A leader is reaped: its id may be another's.
pub(crate) fn ended(leader: Process) {
    leaders().remove(&leader.pid);
}

/// Which of the orphans may have been of the tree that has this leader; `None` if this process adopts none, or if nobody can
/// tell as a start hangs.
///
/// To be asked after the look at all processes: a child that was just being made then, without any mark yet, is known for
/// a leader by now.
pub(crate) fn of(leader: Process) -> Option<Orphans> {
    if !ADOPTS.load(Ordering::Acquire) || leader.start_time == 0 {
        return None;
    }
    let _no_birth = no_birth()?;
    let others = leaders()
        .iter()
        .map(|(pid, start_time)| Process { pid: *pid, start_time: *start_time })
        .filter(|other| *other != leader)
        .collect();
    let are_of_trees = ARE_OF_TREES.load(Ordering::Acquire);
    Some(Orphans { since: leader.start_time, others, are_of_trees })
}
