//! Spawns a program as the leader of a tree.
//!
//! One thread spawns everything and never ends. The signal at the host's death is bound to the thread that spawned: from
//! a pool's thread it would come when that thread is retired, and take a healthy CLI along.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::ending::Ending;
use crate::host::Host;
use crate::leader::Leader;
use crate::members::{ContainmentPolicy, Members};
use crate::orphans;
use crate::os::{self, Cgroup, Launched, Stage};
use crate::program::{COOKIE, Cookie, HOST, Program, TREE, TreeId};
use crate::spawn_error::{SpawnError, SpawnErrorKind};

/// So many spawns wait for the thread; whoever comes then waits for a place.
const QUEUE: usize = 64;

enum Job {
    Spawn {
        program: Program,
        cookie: Cookie,
        policy: ContainmentPolicy,
        reply: oneshot::Sender<Result<Spawned, SpawnError>>,
    },
    /// Told when every spawn that was asked for before has happened, or never will.
    Reached(oneshot::Sender<()>),
}

/// A leader and its pipes, on their way to whoever asked for them.
pub(crate) struct Spawned {
    pub(crate) members: Ending,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Has the thread spawn `program`; the value that comes back ends what was spawned if it is dropped.
pub(crate) async fn spawned(
    program: Program,
    cookie: Cookie,
    policy: ContainmentPolicy,
) -> Result<Spawned, SpawnError> {
    let path = program.path.clone();
    let none_left = |message: String| SpawnError::new(SpawnErrorKind::NoResources, path.clone(), message);
    let (reply, spawned) = oneshot::channel();
    let spawner = spawner().map_err(|error| none_left(format!("no thread can be started: {error}")))?;
    let job = Job::Spawn { program, cookie, policy, reply };
    let lost = |()| none_left("the thread that spawns has ended".to_owned());
    spawner.send(job).await.map_err(|_| lost(()))?;
    spawned.await.map_err(|_| lost(()))?
}

/// Waits until what was asked for before was spawned, or never will be because nobody waits for it any more.
///
/// A process is not to be found by its marks before it executes its program.
///
/// # Cancel safety
///
/// The future may be dropped at any time.
pub(crate) async fn settled() {
    // A copy, as the lock must not be held over the waits below. Without a spawner nothing was ever asked
    // for.
    let spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(spawner) = spawner else { return };
    let (tell, reached) = oneshot::channel();
    if spawner.send(Job::Reached(tell)).await.is_ok() {
        let _ended = reached.await;
    }
}

static SPAWNER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

fn spawner() -> std::io::Result<mpsc::Sender<Job>> {
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(spawner) = &*spawner {
        return Ok(spawner.clone());
    }
    let (jobs, mut queue) = mpsc::channel(QUEUE);
    let body = move || {
        // One sender is kept for ever, so that this ends with the host only.
        while let Some(job) = queue.blocking_recv() {
            work(job);
        }
    };
    std::thread::Builder::new().name("tw-spawn".to_owned()).spawn(body)?;
    Ok(spawner.insert(jobs).clone())
}

fn work(job: Job) {
    match job {
        // Its caller has gone: a CLI that nobody takes would write into the conversation until it is ended
        // again.
        Job::Spawn { reply, .. } if reply.is_closed() => {}
        Job::Spawn { program, cookie, policy, reply } => {
            let spawned = start(&program, &cookie, policy);
            let leader = spawned.as_ref().ok().map(|spawned| Arc::clone(&spawned.members.get().leader));
            // If whoever wanted it is gone, the value that comes back ends it.
            let _unwanted = reply.send(spawned);
            // It is waited for only now: before, that would compete for the processors with the child and with
            // whoever waits for the reply.
            leader.into_iter().for_each(Leader::watch_over);
        }
        Job::Reached(tell) => {
            let _gone = tell.send(());
        }
    }
}

fn start(program: &Program, cookie: &Cookie, policy: ContainmentPolicy) -> Result<Spawned, SpawnError> {
    let file = program.file().ok_or_else(|| SpawnError::not_on_path(program))?;
    let host = Host::own().to_string();
    let id = TreeId::next();
    let marks = [(COOKIE, cookie.as_str()), (HOST, host.as_str()), (TREE, id.as_str())];
    let mut cgroup = match policy {
        ContainmentPolicy::Best => own_cgroup(cookie),
        ContainmentPolicy::GroupAndCookie => None,
    };
    // Until the leader is on the list. In between, a reaper would take it for an orphan and swallow its exit
    // status.
    let _no_orphan = orphans::birth();
    let mut launched = os::launch(program, &file, &marks, cgroup.as_ref());
    if let Err(refusal) = &launched
        // The kernel may let us make a cgroup and not let a process enter it: that also takes the right to
        // write the `cgroup.procs` of the common ancestor, which a delegation need not give.
        && refusal.stage == Stage::Cgroup
    {
        tracing::debug!(errno = %refusal.errno, "a cgroup cannot be entered; going without");
        cgroup = None;
        launched = os::launch(program, &file, &marks, None);
    }
    let Launched { pid, stdin, stdout, stderr } =
        launched.map_err(|refusal| SpawnError::refused(program, &file, refusal))?;
    let leader = Leader::new(pid);
    if let Some(cgroup) = &mut cgroup {
        cgroup.set_leader(pid);
    }
    let members = Members { leader, cgroup, id, cookie: cookie.clone() };
    Ok(Spawned { members: Ending::new(members), stdin, stdout, stderr })
}

fn own_cgroup(cookie: &Cookie) -> Option<Cgroup> {
    let made = Cgroup::create(cookie);
    made.inspect_err(|error| tracing::debug!(%error, "no cgroup can be made; going without")).ok()
}
