//! How many CLIs a machine lets live at once, for a tree whose file does not say (`max_live`), and how many clients beside them.
//!
//! A guess on the safe side: with too many, the system refuses descriptors or ends the greatest process; with too few, idle
//! sessions are parked, which costs their next turn a start. It is for the daemon alone, which has the process to itself. What
//! must live, pinned sessions and CLIs that are kept warm, goes first whatever is guessed here.

use std::fmt;
use std::path::Path;

use treewarden::config::TreeSpec;
use treewarden_process::Limits;
use treewarden_service::{LASTING, WAITING};

/// How many descriptors a live CLI takes of the daemon: pipes, cgroup, lease, and what is open for a moment while it starts.
///
/// Seen: 4 at rest, and the limit of 1,024 met at the 251st session (Linux).
const FILES: u64 = 8;

/// How many are left to sockets, the store and the runtime; of a small limit a half.
const OTHER_FILES: u64 = 320;

/// How many descriptors the daemon has for itself when nobody is served: its store, locks, runtime and log, and what is open for a
/// moment, as for a look at a transcript.
const OWN_FILES: u64 = 64;

/// How many clients are connected at once where descriptors are not scarce: more than the service lets last and wait, so that
/// there is always room for control.
const CLIENTS: usize = LASTING + WAITING + 64;

/// How many clients are let in beside all the CLIs that may live: who may not connect can stop nothing. Fewer only where these would
/// leave not one CLI its descriptors.
const FEWEST_CLIENTS: usize = 28;

/// How many descriptors a daemon has before the first client (seen: 24, and one more with the first CLI; Linux).
const AT_REST: u64 = 26;

/// How many descriptors a CLI holds at rest: three pipes, its pidfd, two leases (seen: 6, Linux).
const FILES_AT_REST: u64 = 6;

/// How many descriptors are for what is open for a moment, as while a CLI starts, or to look whether an idle one may be ended. Without
/// them no idle CLI could be ended, and all who wait for descriptors would wait for each other.
const FOR_A_MOMENT: u64 = 4;

/// What is left to CLIs is what the daemon itself, the fewest clients and what is open for a moment leave.
const BESIDE_CLIS: u64 = AT_REST + FEWEST_CLIENTS as u64 + FOR_A_MOMENT;

/// With how many descriptors a daemon is started at the least: with fewer it would be up, and say of no turn why that does not run.
///
/// Seen (Linux; at 40 also with CLI 2.1.332): below 35 no turn runs, with 35 those of one session alone, as no idle CLI can be ended,
/// and with 36 all, two clients at once.
const LEAST_FILES: u64 = AT_REST + FILES + FEW_CLIENTS;

/// How many clients the least daemon has: one that waits for its turn, and some that have a look, or end it.
const FEW_CLIENTS: u64 = 6;

/// How many threads and processes a CLI has, with some of its tools (2.1.332: up to 20 threads while it works).
const PROCESSES: u64 = 32;

/// How much memory a CLI takes: about 170 MB at rest (2.1.332), more while it works.
const MEMORY: u64 = 256 << 20;

/// What a machine lets a program have; `None` is without a limit, or not known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Machine {
    pub(crate) open_files: Option<u64>,
    pub(crate) processes: Option<u64>,
    /// In bytes.
    pub(crate) memory: Option<u64>,
}

/// How many CLIs may live, and what bounds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) clis: usize,
    pub(crate) bound: &'static str,
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} CLIs at once (by its {})", self.clis, self.bound)
    }
}

impl Machine {
    /// What this machine lets this process have.
    pub(crate) fn here(limits: Limits) -> Self {
        let group = own_cgroup();
        let (tasks, bytes) = (group.as_deref().and_then(pids_max), group.as_deref().and_then(memory_max));
        Self {
            open_files: limits.open_files,
            processes: [limits.processes, tasks].into_iter().flatten().min(),
            memory: [memory_of_all(), bytes].into_iter().flatten().min(),
        }
    }

    /// Why no daemon can be started here; `None` if one can be.
    pub(crate) fn too_few_files(self) -> Option<String> {
        let files = self.open_files.filter(|files| *files < LEAST_FILES)?;
        Some(format!(
            "the limit of open files is {files}, and a daemon with one CLI and a few clients needs {LEAST_FILES}: raise it (`ulimit -n`, \
             systemd's LimitNOFILE)"
        ))
    }

    /// How many CLIs that lets live, at least one; `None` if nothing bounds them.
    pub(crate) fn capacity(self) -> Option<Capacity> {
        let files =
            self.open_files.map(|all| all.saturating_sub(OTHER_FILES.min(all / 2).max(BESIDE_CLIS)) / FILES);
        // A quarter of the machine is other programs'.
        let memory = self.memory.map(|all| (all - all / 4) / MEMORY);
        let bounds = [
            (files, "limit of open files"),
            (self.processes.map(|all| all / PROCESSES), "limit of processes"),
            (memory, "memory"),
        ];
        let (clis, bound) = bounds
            .into_iter()
            .filter_map(|(clis, bound)| Some((clis?, bound)))
            .min_by_key(|(clis, _)| *clis)?;
        Some(Capacity { clis: usize::try_from(clis).unwrap_or(usize::MAX).max(1), bound })
    }
}

/// How many CLIs can live with so many descriptors, at least one, whatever the file says.
fn most_clis(open_files: u64) -> usize {
    let clis = open_files.saturating_sub(BESIDE_CLIS) / FILES_AT_REST;
    usize::try_from(clis).unwrap_or(usize::MAX).max(1)
}

/// How many clients may be connected, and what of them may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientLimits {
    /// Connections; a client has one descriptor.
    pub(crate) connected: usize,
    /// Asks, waits and followers that are served at once.
    pub(crate) lasting: usize,
    /// Those that wait for a place among these. What is left is for control.
    pub(crate) waiting: usize,
}

impl ClientLimits {
    /// The clients' share of the descriptors: what is left when so many CLIs live.
    ///
    /// Otherwise the clients that wait for answers would have the descriptors without which no CLI can give them one.
    pub(crate) fn of(open_files: Option<u64>, max_live: Option<usize>) -> Self {
        let clis = max_live.map_or(0, |clis| (clis as u64).saturating_mul(FILES));
        let left = open_files.map_or(u64::MAX, |all| all.saturating_sub(OWN_FILES.saturating_add(clis)));
        let beside_one = open_files.map_or(u64::MAX, |all| all.saturating_sub(AT_REST + FILES));
        let count = |files| usize::try_from(files).unwrap_or(usize::MAX);
        let connected = count(left).clamp(FEWEST_CLIENTS, CLIENTS).min(count(beside_one)).max(2);
        // In the proportions that all have: a seventh of them is for control.
        let at_work = connected - (connected * (CLIENTS - LASTING - WAITING) / CLIENTS).max(1);
        let waiting = at_work * WAITING / (LASTING + WAITING);
        Self { connected, lasting: at_work - waiting, waiting }
    }

    /// Whether there are fewer than where descriptors are not scarce.
    pub(crate) fn are_few(self) -> bool {
        self.connected < CLIENTS
    }
}

impl fmt::Display for ClientLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connected, lasting, waiting } = self;
        write!(f, "{connected} clients at once ({lasting} asks and followers, and {waiting} that wait)")
    }
}

/// How many CLIs of a tree are to live whatever else does: those of pinned sessions, and those that are kept warm.
pub(crate) fn kept(tree: &TreeSpec) -> usize {
    let sessions = tree.sessions();
    let pinned = sessions.iter().filter(|session| session.pinned).count();
    // Sessions that are started alike share them, of whom the greatest number counts; which are alike is not known before
    // they start, so that they count as if all were.
    let warm = sessions.iter().map(|session| session.warm).max().unwrap_or(0);
    pinned + warm
}

/// How many CLIs may live where the file does not say: what the machine lets, but room for what is kept and for one more.
fn default_max_live(capacity: Capacity, kept: usize) -> usize {
    capacity.clis.max(kept + usize::from(kept > 0))
}

/// How many CLIs a tree can have of those that its file lets live: one that says more than it has sessions means all of them.
fn wanted(tree: &TreeSpec, max_live: usize) -> usize {
    // Of a template any number of sessions may be made.
    if tree.templates().next().is_some() { max_live } else { max_live.min(tree.sessions().len()) }
}

/// How many CLIs of a tree may live: as its file says, as far as there are descriptors for them, or as the machine lets it; `None` if
/// nothing bounds them.
pub(crate) fn max_live(tree: &TreeSpec, machine: Machine) -> Option<usize> {
    let default = || machine.capacity().map(|capacity| default_max_live(capacity, kept(tree)));
    let Some(said) = tree.max_live else { return default() };
    Some(machine.open_files.map_or(said, |files| said.min(most_clis(files))))
}

/// What is to be said of a tree whose CLIs cannot all live that are to, or may.
pub(crate) fn too_many(tree: &TreeSpec, machine: Machine) -> Option<String> {
    let (kept, capacity) = (kept(tree), machine.capacity());
    let says = |clis: usize, whose: String| {
        format!(
            "{kept} CLIs are to live all the time (`pinned`, `warm`), and {whose}: {clis}; pin or warm fewer"
        )
    };
    match (tree.max_live, capacity) {
        (Some(most), _) if kept > most => Some(says(most, "`max_live` allows fewer".to_owned())),
        (_, Some(most)) if kept > most.clis => {
            Some(says(most.clis, format!("this machine lets fewer live, by its {}", most.bound)))
        }
        (Some(said), _) => {
            let most = max_live(tree, machine).filter(|most| *most < wanted(tree, said))?;
            Some(format!(
                "`max_live` lets {said} CLIs live, and the limit of open files {most}: no more live at once; raise that limit \
                 (`ulimit -n`, systemd's LimitNOFILE) or lower `max_live`"
            ))
        }
        _ => None,
    }
}

/// The folder of the cgroup (version 2) that this process is in.
fn own_cgroup() -> Option<std::path::PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(path))
}

/// The least of a limit over a cgroup and all that hold it.
fn least(group: &Path, file: &str) -> Option<u64> {
    let read = |folder: &Path| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    group.ancestors().take_while(|folder| folder.starts_with("/sys/fs/cgroup")).filter_map(read).min()
}

fn pids_max(group: &Path) -> Option<u64> {
    least(group, "pids.max")
}

fn memory_max(group: &Path) -> Option<u64> {
    least(group, "memory.max")
}

fn memory_of_all() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
    kib.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(open_files: u64, processes: u64, gib: u64) -> Machine {
        Machine { open_files: Some(open_files), processes: Some(processes), memory: Some(gib << 30) }
    }

    /// The tree of a file with this text.
    fn tree(text: &str) -> TreeSpec {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("tree.toml");
        std::fs::write(&path, text).expect("written");
        treewarden::config::load(&path).expect("valid")
    }

    #[test]
    fn the_scarcest_thing_bounds_the_live_clis() {
        let of = |machine: Machine| machine.capacity().map(|found| (found.clis, found.bound));
        assert_eq!(of(machine(1_024, 100_000, 1_024)), Some((88, "limit of open files")));
        assert_eq!(of(machine(20_000, 640, 1_024)), Some((20, "limit of processes")));
        assert_eq!(of(machine(20_000, 100_000, 16)), Some((48, "memory")));
        assert_eq!(of(machine(32, 30, 1)), Some((1, "limit of open files")), "one can always be tried");
        assert_eq!(of(Machine::default()), None);
    }

    #[test]
    fn clients_have_the_descriptors_that_the_clis_leave() {
        let cases = [
            // Open files, live CLIs: connected, served at once, waiting.
            (None, Some(1_000), (448, 256, 128)),
            (Some(1_048_576), Some(70), (448, 256, 128)),
            (Some(4_096), Some(448), (448, 256, 128)),
            (Some(4_096), None, (448, 256, 128)),
            (Some(1_024), Some(88), (256, 147, 73)),
            (Some(256), Some(16), (64, 37, 18)),
            // Fewer would keep `stop` out.
            (Some(256), Some(1_000), (28, 16, 8)),
            (Some(64), Some(4), (28, 16, 8)),
            // One CLI has its descriptors all the same.
            (Some(48), Some(4), (14, 8, 4)),
            // The least that is started.
            (Some(LEAST_FILES), Some(1), (6, 4, 1)),
            (Some(0), Some(usize::MAX), (2, 1, 0)),
        ];
        for (open_files, max_live, expected) in cases {
            let ClientLimits { connected, lasting, waiting } = ClientLimits::of(open_files, max_live);
            assert_eq!((connected, lasting, waiting), expected, "{open_files:?} {max_live:?}");
            assert!(connected > lasting + waiting, "there is room for control");
        }
    }

    #[test]
    fn no_daemon_is_started_with_fewer_descriptors_than_a_turn_needs() {
        let said = |open_files| Machine { open_files, ..Machine::default() }.too_few_files();
        assert_eq!((said(None), said(Some(LEAST_FILES))), (None, None));
        let few = said(Some(32)).expect("said");
        assert!(few.contains("is 32,") && few.contains("needs 40:") && few.contains("`ulimit -n`"), "{few}");
    }

    #[test]
    fn what_is_kept_goes_first_and_leaves_a_place_for_a_turn() {
        let capacity = Capacity { clis: 4, bound: "memory" };
        assert_eq!(default_max_live(capacity, 0), 4);
        assert_eq!(default_max_live(capacity, 3), 4);
        assert_eq!(default_max_live(capacity, 4), 5);
        assert_eq!(default_max_live(capacity, 10), 11);
    }

    #[test]
    fn what_cannot_all_live_is_said() {
        let file = |most: &str| {
            tree(&format!(
                "{most}[defaults]\npinned = true\n[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\nwarm = 2\n"
            ))
        };
        let capacity = |clis: u64| Machine { processes: Some(clis * PROCESSES), ..Machine::default() };
        assert_eq!(kept(&file("")), 4);
        assert_eq!(too_many(&file(""), capacity(4)), None);
        let said = too_many(&file(""), capacity(3)).expect("said");
        assert!(said.contains("4 CLIs") && said.contains("its limit of processes: 3"), "{said}");
        let said = too_many(&file("max_live = 2\n"), capacity(100)).expect("said");
        assert!(said.contains("`max_live` allows fewer: 2"), "{said}");
    }

    #[test]
    fn no_file_lets_more_clis_live_than_there_are_descriptors_for() {
        let files = |open_files| Machine { open_files: Some(open_files), ..Machine::default() };
        let two = |top: &str| tree(&format!("{top}[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n"));
        assert_eq!(
            max_live(&two("max_live = 1000\n"), files(64)),
            Some(1),
            "28 clients, and what is open for a moment"
        );
        assert_eq!(max_live(&two("max_live = 1000\n"), files(1024)), Some(161));
        assert_eq!(max_live(&two("max_live = 100\n"), files(1024)), Some(100));
        assert_eq!(max_live(&two(""), files(64)), Some(1));
        assert_eq!(max_live(&two("max_live = 3\n"), Machine::default()), Some(3));
        let said = too_many(&two("max_live = 1000\n"), files(64)).expect("said");
        assert!(said.contains("lets 1000 CLIs live, and the limit of open files 1:"), "{said}");
        assert_eq!(
            too_many(&two("max_live = 1000\n"), files(1024)),
            None,
            "the sessions that there are can all live"
        );
        let template = tree("max_live = 1000\n[[template]]\nname = \"chat\"\n");
        assert!(too_many(&template, files(1024)).is_some());
    }
}
