//! One cgroup for each tree, where one can be made: nothing in it can leave it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::pid::{Pid, Process};
use crate::program::Cookie;

const PREFIX: &str = "treewarden";

/// The cgroup of one tree; removed when it is empty and dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup below our own; `None` where that is not possible.
    pub(crate) fn create(cookie: &Cookie, serial: u64) -> Option<Self> {
        let path = own()?.join(format!("{PREFIX}-{}-{serial}-{}", std::process::id(), cookie.as_str()));
        fs::create_dir(&path).ok()?;
        Some(Self { path })
    }

    /// The file into which a process writes itself.
    pub(crate) fn door(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().write(true).open(self.path.join("cgroup.procs"))
    }

    /// The live processes in it.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let listed = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        listed.lines().filter_map(|line| Process::find(Pid::new(line.parse().ok()?)?)).collect()
    }

    /// Kills everything in it at once, where the kernel can; `false` if it cannot.
    pub(crate) fn kill(&self) -> bool {
        fs::write(self.path.join("cgroup.kill"), "1").is_ok()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It stays if something lives in it; the sweep of a later start removes it.
        let _busy = fs::remove_dir(&self.path);
    }
}

/// The cgroups that are left of this session, or of any session whose host is dead.
pub(crate) fn leftovers(cookie: Option<&Cookie>) -> Vec<Cgroup> {
    let Some(Ok(all)) = own().map(fs::read_dir) else { return Vec::new() };
    let of_session =
        |name: &str| cookie.is_none_or(|cookie| name.ends_with(&format!("-{}", cookie.as_str())));
    let host_is_dead = |name: &str| {
        let host = name.split('-').nth(1).and_then(|pid| Pid::new(pid.parse().ok()?));
        host.is_none_or(|host| Process::find(host).is_none())
    };
    all.flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(PREFIX) && of_session(&name) && (cookie.is_some() || host_is_dead(&name))
        })
        .map(|entry| Cgroup { path: entry.path() })
        .collect()
}

/// Our own cgroup in the unified hierarchy.
#[cfg(target_os = "linux")]
fn own() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| fields.split(' ').nth(4))?
    })?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(Path::new(mount).join(own.trim_start_matches('/')))
}

#[cfg(not(target_os = "linux"))]
fn own() -> Option<PathBuf> {
    None
}
