//! One cgroup for each tree, where one can be made: what is born in it lies in it, unless it is moved by somebody who may
//! write the cgroups of both ends, as a tool of the same user may.
//!
//! Its name carries the host and the session, so that a later host can tell whose leftovers it finds.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::host::Host;
use crate::orphans;
use crate::pid::{Pid, Process};
use crate::program::Cookie;

use super::procfs;

const PREFIX: &str = "treewarden";

/// The cgroup of a host that has moved out of the one in which it makes those of its trees.
pub(super) const ROOM: &str = "treewarden.host";

/// A longer name is not tried; file names end at 255 bytes.
const MAX_NAME: usize = 200;

/// The cgroup of one tree; removed when it is dropped, if it is empty and this host's to remove.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Made or taken over by this host: dropped, the empty cgroup of a live one would be removed from under the CLI that is
    /// about to be born in it.
    is_ours: bool,
    /// Of the tree that this host has in it, once it is started.
    leader: Option<Pid>,
}

impl Cgroup {
    /// Makes a cgroup below our own.
    pub(crate) fn create(cookie: &Cookie) -> io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let own = own()?.ok_or(io::ErrorKind::Unsupported)?;
        // `Relaxed`: the number keeps names apart, and orders nothing.
        let (host, serial) = (Host::own(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let name = format!("{PREFIX}-{host}-{serial}-{}", encoded(cookie));
        if name.len() > MAX_NAME {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let path = own.join(name);
        fs::create_dir(&path)?;
        Ok(Self { path, is_ours: true, leader: None })
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The leader of the tree that it is for.
    pub(crate) fn set_leader(&mut self, leader: Pid) {
        self.leader = Some(leader);
    }

    /// Opens its folder, for a process that is to be born in it.
    pub(super) fn folder(&self) -> io::Result<fs::File> {
        fs::File::open(&self.path)
    }

    /// Opens the file through which a process enters it.
    pub(super) fn door(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().write(true).open(self.path.join("cgroup.procs"))
    }

    /// What lives in it, the cgroups that its members made below it included; `None` if nothing does. Those are not its
    /// own whom a tool moved into it: this process, and the leaders of other trees.
    ///
    /// There may be more than is listed: what went by meanwhile, or what is seen in another namespace only.
    pub(crate) fn remains(&self) -> io::Result<Option<Vec<Process>>> {
        if !self.is_populated()? {
            return Ok(None);
        }
        let mut found = Vec::new();
        list(&self.path, &mut found)?;
        let all = found.len();
        found.retain(|process| !self.is_guest(*process));
        // A populated cgroup that lists nobody holds processes of another namespace, and counts. One that
        // lists guests alone holds nothing of the tree.
        Ok((all == 0 || !found.is_empty()).then_some(found))
    }

    /// Takes over what was left by this host, or by one that is dead: it is removed when it is dropped.
    pub(crate) fn take_over(mut self) -> Self {
        self.is_ours = true;
        self
    }

    /// Kills everything in it at once, where the kernel can; `false` if it cannot, or would hit somebody else.
    pub(crate) fn kill(&self) -> bool {
        // The kernel's kill asks for nobody: with a guest inside, this host or the CLI of another session
        // would die with the tree.
        self.evict();
        let mut found = Vec::new();
        if list(&self.path, &mut found).is_err() || found.iter().any(|process| self.is_guest(*process)) {
            return false;
        }
        // Kernels before 5.14 have no such file: then what is found is killed one by one.
        fs::write(self.path.join("cgroup.kill"), "1").is_ok()
    }

    /// A process that is in it and not of its tree: a tool of the same user can move any process here.
    fn is_guest(&self, process: Process) -> bool {
        let is_other_leader = orphans::is_leader(process.pid) && self.leader != Some(process.pid);
        process.pid.get() == std::process::id() || is_other_leader
    }

    /// Moves those out of it who are not of its tree: to where it was made, which is where this process belongs.
    fn evict(&self) {
        let Some(above) = self.path.parent() else { return };
        // Where the kernel keeps limits, the cgroup above takes no process.
        let room = above.join(ROOM);
        let above = if room.is_dir() { room.as_path() } else { above };
        let mut found = Vec::new();
        // The caller lists them once more, and kills nothing if it cannot.
        let _unreadable = list(&self.path, &mut found);
        for guest in found.into_iter().filter(|process| self.is_guest(*process)) {
            tracing::warn!(pid = %guest.pid, "was moved into the cgroup of a session, and is moved out again");
            if let Err(error) = fs::write(above.join("cgroup.procs"), guest.pid.to_string()) {
                tracing::warn!(pid = %guest.pid, %error, "cannot be moved out; what else is in there is killed one by one");
            }
        }
    }

    /// Counts the cgroups below it as well, and zombies not at all.
    fn is_populated(&self) -> io::Result<bool> {
        match fs::read_to_string(self.path.join("cgroup.events")) {
            // Whatever is not said to be empty counts as populated. A cgroup that is gone was empty: the
            // kernel removes no other.
            Ok(events) => Ok(!events.lines().any(|line| line == "populated 0")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It stays if something lives in it; the sweep of a later start removes it.
        if self.is_ours {
            let _busy = remove(&self.path);
        }
    }
}

fn list(path: &Path, found: &mut Vec<Process>) -> io::Result<()> {
    for pid in pids_in(path)? {
        found.extend(Process::look(pid)?);
    }
    Ok(())
}

/// The ids of the processes in a cgroup and in those below it.
pub(crate) fn pids_in(path: &Path) -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    let listed = fs::read_to_string(path.join("cgroup.procs"))?;
    pids.extend(listed.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::new));
    for child in below(path)? {
        pids.append(&mut pids_in(&child)?);
    }
    Ok(pids)
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::remove_dir(path).is_ok() {
        return Ok(());
    }
    // A tool may have made cgroups below: while there is one, the kernel does not remove the one above,
    // though nothing lives in either.
    below(path)?.iter().try_for_each(|child| remove(child))?;
    fs::remove_dir(path)
}

fn below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut below = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            below.push(entry.path());
        }
    }
    Ok(below)
}

/// The cgroups of trees that lie beside ours, of one session or of all: each with its host, and with the user who owns it.
///
/// None of them is removed when it is dropped, unless it is [taken over](Cgroup::take_over).
///
/// # Errors
///
/// An [`io::Error`] if nobody can tell which there are, as where this process has no descriptors left.
pub(crate) fn cgroups(cookie: Option<&Cookie>) -> io::Result<Vec<(Host, u32, Cgroup)>> {
    let Some(own) = own()? else { return Ok(Vec::new()) };
    beside(&own, cookie)
}

fn beside(own: &Path, cookie: Option<&Cookie>) -> io::Result<Vec<(Host, u32, Cgroup)>> {
    let wanted = cookie.map(encoded);
    let all = match below(own) {
        // A hierarchy of which our part is not to be seen, or not by this user: nobody here makes a cgroup in it either.
        Err(error) if is_out_of_sight(&error) => return Ok(Vec::new()),
        all => all?,
    };
    let mut found = Vec::new();
    for path in all {
        let Some((host, cookie)) = path.file_name().and_then(|name| parsed(name.to_str()?)) else { continue };
        if wanted.as_ref().is_some_and(|wanted| cookie != wanted) {
            continue;
        }
        let user = match fs::symlink_metadata(&path) {
            Ok(meta) => meta.uid(),
            // Removed since it was listed: it was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        found.push((host, user, Cgroup { path, is_ours: false, leader: None }));
    }
    Ok(found)
}

fn is_out_of_sight(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// Tells whether a process lies in the cgroup of a tree other than the one whose cgroup is `own`.
///
/// # Errors
///
/// An [`io::Error`] if nobody can tell: what is another's must not be ended for that.
pub(crate) fn is_in_another_tree(pid: Pid, own: Option<&Cgroup>) -> io::Result<bool> {
    let lines = match fs::read_to_string(format!("/proc/{pid}/cgroup")) {
        Ok(lines) => lines,
        // It is gone, or the kernel has no cgroups.
        Err(error) if procfs::is_absence(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let place = lines.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let own = own.and_then(|own| own.path.file_name()?.to_str());
    let mut trees = place.split('/').filter(|part| parsed(part).is_some());
    // The innermost one counts: a host that is a tool of a session makes the cgroups of its trees below that
    // session's.
    Ok(trees.next_back().is_some_and(|tree| Some(tree) != own))
}

/// The host and the encoded cookie that the name of a cgroup carries.
fn parsed(name: &str) -> Option<(Host, &str)> {
    let mut parts = name.strip_prefix(PREFIX)?.strip_prefix('-')?.splitn(3, '-');
    let host = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u64>().ok()?;
    Some((host, parts.next()?))
}

/// The cookie as a part of a file name; different cookies stay different.
fn encoded(cookie: &Cookie) -> String {
    let mut name = String::new();
    for byte in cookie.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").expect("a string takes whatever is written");
        }
    }
    name
}

/// The cgroup in which trees are made: our own in the unified hierarchy, or the one above where this process has a
/// [room](ROOM) of its own; `None` if there is none.
pub(super) fn own() -> io::Result<Option<PathBuf>> {
    Ok(inhabited()?.map(|own| match (own.file_name(), own.parent()) {
        (Some(name), Some(above)) if name == ROOM => above.to_owned(),
        _ => own,
    }))
}

/// The cgroup in which this process is; `None` if there is none.
fn inhabited() -> io::Result<Option<PathBuf>> {
    static MOUNTED: OnceLock<Option<Mount>> = OnceLock::new();
    let mounted = match MOUNTED.get() {
        Some(mounted) => mounted,
        // What is mounted where is asked once; in which cgroup we are may change, and is asked each time.
        None => {
            let mounts = fs::read_to_string("/proc/self/mountinfo")?;
            MOUNTED.get_or_init(|| Mount::find(&mounts))
        }
    };
    let Some(mounted) = mounted else { return Ok(None) };
    match fs::read_to_string("/proc/self/cgroup") {
        Ok(own) => Ok(mounted.place(&own)),
        // As in a kernel without cgroups.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the unified hierarchy is mounted, and which part of it.
#[derive(Debug)]
struct Mount {
    root: PathBuf,
    at: PathBuf,
}

impl Mount {
    fn find(mounts: &str) -> Option<Self> {
        mounts.lines().find_map(|line| {
            // The fields after the dash are at fixed places; before it stands a number of optional ones that
            // varies. The root and the mount point come three fields in.
            let (fields, kind) = line.split_once(" - ")?;
            let mut fields = kind.starts_with("cgroup2 ").then(|| fields.split(' ').skip(3))?;
            Some(Self { root: fields.next()?.into(), at: fields.next()?.into() })
        })
    }

    /// The folder of the cgroup that `/proc/self/cgroup` names.
    fn place(&self, own: &str) -> Option<PathBuf> {
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        // A container may see only a part of the hierarchy, mounted as if it were the whole.
        let below =
            Path::new(own).strip_prefix(&self.root).or_else(|_| Path::new(own).strip_prefix("/")).ok()?;
        Some(self.at.join(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_beside_ours_is_told_apart_from_what_cannot_be_listed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (wanted, other) = (Cookie::new("a"), Cookie::new("b"));
        for name in [
            "other".to_owned(),
            format!("{PREFIX}-{}-0-b", Host::own()),
            format!("{PREFIX}-{}-1-a", Host::own()),
        ] {
            fs::create_dir(dir.path().join(name)).expect("made");
        }
        let count = |cookie| beside(dir.path(), cookie).expect("listed").len();
        assert_eq!((count(Some(&wanted)), count(Some(&other)), count(None)), (1, 1, 2));
        // Not taken over, they stay.
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 3);
        drop(
            beside(dir.path(), Some(&wanted))
                .expect("listed")
                .into_iter()
                .map(|(.., cgroup)| cgroup.take_over())
                .collect::<Vec<_>>(),
        );
        assert_eq!((count(Some(&wanted)), count(None)), (0, 1));
        assert!(beside(&dir.path().join("absent"), None).expect("nothing is there").is_empty());
        let file = dir.path().join("file");
        fs::write(&file, "").expect("written");
        beside(&file, None).expect_err("nobody can tell");
    }

    #[test]
    fn a_cookie_is_one_part_of_a_path_whatever_it_says() {
        let name = encoded(&Cookie::new("../a b/%2f"));
        assert_eq!(name, "..%2fa%20b%2f%252f");
    }

    #[test]
    fn a_name_says_which_host_and_which_session() {
        let host = Host::own();
        let name = format!("{PREFIX}-{host}-7-0f-1e-2d");
        assert_eq!(parsed(&name).map(|(host, cookie)| (host.is_dead(), cookie)), Some((false, "0f-1e-2d")));
        for foreign in ["user.slice", "treewarden", "treewarden-x-1-y", "treewarden.service", ROOM] {
            assert!(parsed(foreign).is_none(), "{foreign}");
        }
    }

    #[test]
    fn our_place_is_found_in_hybrid_unified_and_container_layouts() {
        let place = |mounts: &str, own: &str| Mount::find(mounts)?.place(own);
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(place(hybrid, "4:memory:/x\n0::/\n"), Some("/sys/fs/cgroup/unified/".into()));
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";
        let slice = "0::/user.slice/user-1000.slice/a.service\n";
        assert_eq!(place(unified, slice), Some("/sys/fs/cgroup/user.slice/user-1000.slice/a.service".into()));
        let container = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(place(container, "0::/docker/abc/x\n"), Some("/sys/fs/cgroup/x".into()));
        assert_eq!(place("31 23 0:28 / /sys rw - sysfs sysfs rw", slice), None);
    }
}
