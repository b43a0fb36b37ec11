//! Limits of a tree, written where the kernel keeps them: into the files of its cgroup.
//!
//! A cgroup has those files if the one above hands the controllers down (`cgroup.subtree_control`), which the kernel allows
//! only where no process lies in the one above itself ("no internal process constraint", cgroup-v2.rst). So a host that wants
//! them moves into a [room](super::cgroup::ROOM) of its own first, beside its trees. It must never move a process of another
//! program's.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use rustix::fs::Access;
use rustix::io::Errno;

use super::cgroup::{self, ROOM};
use crate::limit::{KernelLimits, Unkept};

/// What limits need of the kernel.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// What a file says that limits nothing.
const NONE: &str = "max";

/// Writes the limits into the files of a cgroup, and tells which of them the kernel does not keep.
pub(crate) fn limit(cgroup: &Path, limits: &KernelLimits) -> Vec<Unkept> {
    let KernelLimits { memory_max, memory_high, pids_max, cpu_weight } = limits;
    let number = |number: &Option<u32>| number.map(u64::from);
    // The soft limit before the hard one: the kernel then takes memory back before it kills for it.
    [
        ("memory_high", "memory", "memory.high", *memory_high, NONE),
        ("memory_max", "memory", "memory.max", *memory_max, NONE),
        ("pids_max", "pids", "pids.max", number(pids_max), NONE),
        ("cpu_weight", "cpu", "cpu.weight", number(cpu_weight), "100"),
    ]
    .into_iter()
    .filter_map(|(limit, controller, file, value, default)| {
        let file = cgroup.join(file);
        let Some(value) = value else {
            // What was limited before is not any more; what never was has no such file, as a rule.
            let _none = write(&file, default);
            return None;
        };
        let why = keep(cgroup, controller, &file, &value.to_string()).err()?;
        Some(Unkept { limit, why })
    })
    .collect()
}

/// Has the kernel keep one limit.
fn keep(cgroup: &Path, controller: &str, file: &Path, value: &str) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", file.display());
    match write(file, value) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        written => return written.map_err(failed),
    }
    let Some(above) = cgroup.parent() else { return Err("there is no cgroup above".to_owned()) };
    enable(above, controller)?;
    write(file, value).map_err(failed)
}

/// Hands a controller down to the cgroups below.
fn enable(above: &Path, controller: &str) -> Result<(), String> {
    if !words(above, "cgroup.controllers").iter().any(|have| have == controller) {
        return Err(format!("the cgroup {} does not have the controller `{controller}`", above.display()));
    }
    write(&above.join("cgroup.subtree_control"), &format!("+{controller}")).map_err(|error| {
        let why = match Errno::from_io_error(&error) {
            Some(Errno::BUSY) => "processes lie in it".to_owned(),
            _ => error.to_string(),
        };
        format!("the cgroup {} does not hand `{controller}` down: {why}", above.display())
    })
}

/// The controllers that trees of this process can have, of those that limits need.
pub(crate) fn controllers() -> Vec<String> {
    let own = cgroup::own().ok().flatten();
    own.map(|own| controllers_in(&own, std::process::id())).unwrap_or_default()
}

fn controllers_in(own: &Path, me: u32) -> Vec<String> {
    // A container has its cgroup as a rule on a mount that only reads: no tree gets one of its own then,
    // whatever the controllers are.
    if rustix::fs::access(own, Access::WRITE_OK).is_err() {
        return Vec::new();
    }
    let can_hand_down = is_root(own) || others_in(own, me).is_ok_and(|others| !others);
    let handed_down = words(own, "cgroup.subtree_control");
    let mut have = words(own, "cgroup.controllers");
    have.retain(|name| CONTROLLERS.contains(&name.as_str()) && (can_hand_down || handed_down.contains(name)));
    have
}

/// The root of the hierarchy has no such file, and no such constraint.
fn is_root(cgroup: &Path) -> bool {
    !cgroup.join("cgroup.type").exists()
}

/// Tells whether processes other than this one lie in a cgroup itself.
fn others_in(cgroup: &Path, me: u32) -> io::Result<bool> {
    let inside = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    Ok(inside.lines().any(|pid| pid.trim() != me.to_string()))
}

/// Moves this process into a cgroup of its own below the one in which it is, and hands the controllers down to those of its
/// trees, where that is needed and this process is alone in there.
pub(crate) fn make_room() -> Result<(), String> {
    match cgroup::own() {
        Ok(Some(own)) => make_room_in(&own, std::process::id()),
        Ok(None) => Err("there is no unified hierarchy of cgroups".to_owned()),
        Err(error) => Err(format!("its cgroup cannot be found: {error}")),
    }
}

fn make_room_in(own: &Path, me: u32) -> Result<(), String> {
    let have = words(own, "cgroup.controllers");
    let wanted: Vec<&str> =
        CONTROLLERS.into_iter().filter(|name| have.iter().any(|have| have == name)).collect();
    if wanted.is_empty() {
        return Err(format!("the cgroup {} has no controllers", own.display()));
    }
    let handed_down = words(own, "cgroup.subtree_control");
    if !is_root(own) && !wanted.iter().all(|name| handed_down.iter().any(|down| down == name)) {
        leave(own, me)?;
    }
    // Each by itself: of a list with one that is refused the kernel takes none.
    wanted.iter().try_for_each(|name| enable(own, name))
}

/// Leaves a cgroup for a room below it.
fn leave(own: &Path, me: u32) -> Result<(), String> {
    let said = |error: io::Error| format!("the cgroup {} cannot be left: {error}", own.display());
    if others_in(own, me).map_err(said)? {
        let own = own.display();
        return Err(format!(
            "other processes lie in the cgroup {own}; run it as a service of its own with Delegate=yes"
        ));
    }
    let room = own.join(ROOM);
    match fs::create_dir(&room) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(said(error)),
        _ => {}
    }
    write(&room.join("cgroup.procs"), &me.to_string()).map_err(said)
}

/// How many processes of a cgroup the kernel has killed at its limit so far.
pub(crate) fn kernel_kills(cgroup: &Path) -> u64 {
    let events = fs::read_to_string(cgroup.join("memory.events")).unwrap_or_default();
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn words(cgroup: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(cgroup.join(file)).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Writes into a file that the kernel has made, and makes none.
fn write(file: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files of these names and texts, as a cgroup has them.
    fn cgroup(at: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(at).expect("made");
        files.iter().for_each(|(name, text)| fs::write(at.join(name), text).expect("written"));
    }

    fn read(at: &Path, name: &str) -> String {
        fs::read_to_string(at.join(name)).expect("readable")
    }

    const ALL: KernelLimits = KernelLimits {
        memory_max: Some(1 << 30),
        memory_high: Some(1 << 29),
        pids_max: Some(99),
        cpu_weight: Some(50),
    };

    #[test]
    fn limits_stand_in_the_files_of_the_cgroup_and_go_with_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let tree = dir.path().join("tree");
        let files = ["memory.high", "memory.max", "pids.max", "cpu.weight"];
        cgroup(&tree, &files.map(|file| (file, "")));
        assert_eq!(limit(&tree, &ALL), []);
        assert_eq!(files.map(|file| read(&tree, file)), ["536870912", "1073741824", "99", "50"]);
        cgroup(&tree, &files.map(|file| (file, "")));
        assert_eq!(limit(&tree, &KernelLimits { pids_max: Some(7), ..KernelLimits::default() }), []);
        assert_eq!(files.map(|file| read(&tree, file)), ["max", "max", "7", "100"]);
    }

    #[test]
    fn a_controller_is_handed_down_where_it_is_to_be_had_and_told_where_it_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let tree = dir.path().join("tree");
        cgroup(dir.path(), &[("cgroup.controllers", "cpuset memory"), ("cgroup.subtree_control", "")]);
        cgroup(&tree, &[("cpu.weight", "")]);
        let unkept = limit(&tree, &ALL);
        // The kernel would have made the files of the one that was handed down, which a folder does not.
        assert_eq!(read(dir.path(), "cgroup.subtree_control"), "+memory");
        let limits: Vec<_> = unkept.iter().map(|unkept| unkept.limit).collect();
        assert_eq!(limits, ["memory_high", "memory_max", "pids_max"]);
        assert!(unkept[2].why.contains("does not have the controller `pids`"), "{unkept:?}");
        assert_eq!(read(&tree, "cpu.weight"), "50");
        assert!(!tree.join("memory.max").exists(), "no file is made");
    }

    #[test]
    fn a_host_leaves_its_cgroup_only_where_it_is_alone_in_there_and_that_helps() {
        let dir = tempfile::tempdir().expect("a folder");
        let own = dir.path();
        let files = [("cgroup.type", "domain"), ("cgroup.procs", "4711\n"), ("cgroup.subtree_control", "")];
        cgroup(own, &files);
        let none = make_room_in(own, 4711).expect_err("there is nothing to be had");
        assert!(none.contains("has no controllers"), "{none}");
        cgroup(own, &[("cgroup.controllers", "memory pids")]);
        let kept = |me| controllers_in(own, me);
        assert_eq!((kept(4711), kept(1234)), (vec!["memory".to_owned(), "pids".to_owned()], vec![]));
        let others = make_room_in(own, 1234).expect_err("somebody else is in there");
        assert!(others.contains("Delegate=yes"), "{others}");
        assert!(!own.join(ROOM).exists());
        cgroup(&own.join(ROOM), &[("cgroup.procs", "")]);
        assert_eq!(make_room_in(own, 4711), Ok(()));
        assert_eq!(read(&own.join(ROOM), "cgroup.procs"), "4711");
        // One after the other, each over what stands at the beginning of a plain file.
        assert_eq!(read(own, "cgroup.subtree_control"), "+pidsry");
        // What is handed down already needs no room.
        fs::remove_dir_all(own.join(ROOM)).expect("removed");
        cgroup(own, &[("cgroup.subtree_control", "memory pids")]);
        assert_eq!(kept(1234).len(), 2, "whoever else is in there");
        assert_eq!(make_room_in(own, 4711), Ok(()));
        assert!(!own.join(ROOM).exists());
    }

    #[test]
    fn what_the_kernel_killed_is_counted() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(kernel_kills(dir.path()), 0, "there is no such file");
        cgroup(
            dir.path(),
            &[("memory.events", "low 0\nhigh 7\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n")],
        );
        assert_eq!(kernel_kills(dir.path()), 2);
    }

    #[test]
    fn the_kernel_keeps_a_limit_where_it_has_the_controller() {
        let Ok(tree) = crate::os::Cgroup::create(&crate::program::Cookie::new("limits")) else {
            return println!("skipped: no cgroup can be made here");
        };
        let limits = KernelLimits { memory_max: Some(1 << 30), ..KernelLimits::default() };
        match limit(tree.path(), &limits).as_slice() {
            [] => assert_eq!(read(tree.path(), "memory.max").trim(), (1_u64 << 30).to_string()),
            unkept => println!("skipped: {}", unkept[0].why),
        }
    }
}
