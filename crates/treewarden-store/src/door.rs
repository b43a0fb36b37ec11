//! The tree lock that no file removal opens: a socket that has a name and no file, where the system has such (Linux).
//!
//! There are two. One is named after the path of the state directory, the mounts that the path is looked up in, and the user,
//! so that it outlives `tree.lock` and the directory itself, and one path in two containers is two names. The other is named
//! after the directory, however it is reached. They keep apart the trees of one network namespace; those of several meet at
//! the file. Nobody is ever answered on them.

use std::path::Path;

use crate::Held;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::Door;
#[cfg(target_os = "linux")]
pub(crate) use linux::Door;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
        shutdown, socket_with,
    };
    use rustix::process::{Pid, test_kill_process};
    use uuid::Uuid;

    use super::{Held, Path};

    /// How often, and how far apart, a name is asked for again that nobody has any more.
    const TRIES: u32 = 200;
    const PAUSE: Duration = Duration::from_millis(5);

    /// The names of a directory, which are ours while the value lives.
    #[derive(Debug)]
    pub(crate) struct Door {
        /// By the directory and by its path: let go in the reverse of the order in which they are taken, so that a successor
        /// that gets the first one gets the other as well.
        names: [Name; 2],
        /// Or else another directory could get the number of one that was removed, and would be taken for it.
        _dir: File,
    }

    impl Door {
        /// Takes the names of a directory, which is there.
        pub(crate) fn close(dir: &Path) -> Result<Self, Held> {
            let real = std::fs::canonicalize(dir).map_err(Held::unknown)?;
            let uid = rustix::process::geteuid().as_raw();
            let opened = File::open(&real).map_err(Held::unknown)?;
            let meta = opened.metadata().map_err(Held::unknown)?;
            // One directory may have two paths, by a mount or a move, and one path two directories, after a removal.
            let node = format!("{}:{}", meta.dev(), meta.ino());
            // Two containers may share the network and have other mounts: there one path names two directories.
            let mounts = std::fs::read_link("/proc/self/ns/mnt").ok();
            let by_path = name_of(&real, mounts.as_deref(), uid);
            let by_node = name_of(Path::new(&node), None, uid);
            let by_path = Name::take(&by_path, uid)?;
            let by_node = Name::take(&by_node, uid)?;
            Ok(Self { names: [by_node, by_path], _dir: opened })
        }

        /// Lets those go who knocked, so that the next one can.
        pub(crate) fn sweep(&self) {
            self.names.iter().for_each(Name::sweep);
        }
    }

    /// A name that is ours while the value lives; none if somebody else has it who is no tree.
    #[derive(Debug)]
    struct Name(Option<OwnedFd>);

    impl Name {
        fn take(name: &str, uid: u32) -> Result<Self, Held> {
            let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(Held::unknown)?;
            let mut tries = 0;
            loop {
                let socket = socket().map_err(Held::unknown)?;
                // Between the two calls whoever knocks is refused, as by a holder that is leaving, and so
                // knocks again.
                match bind(&socket, &address).and_then(|()| listen(&socket, 16)) {
                    Ok(()) => return Ok(Self(Some(socket))),
                    Err(Errno::ADDRINUSE) => {}
                    Err(error) => return Err(Held::unknown(error)),
                }
                match owner(&address) {
                    // Anybody may take any name: one that another user has is no tree of ours.
                    Owner::Is(_, other) if other != uid && other != 0 => {
                        tracing::warn!(
                            user = other,
                            "another user has the name of this tree's lock; its file alone is locked"
                        );
                        return Ok(Self(None));
                    }
                    // Its process is dead or has let go, and a child that was just being forked has a copy for a moment.
                    Owner::Leaving if tries < TRIES => tries += 1,
                    Owner::Is(pid, _) => return Err(Held { pid, ..Held::default() }),
                    // Anybody can hold a name without listening, or with so many who knock that it answers nobody.
                    Owner::Leaving | Owner::Unknown => match process_with(name, uid) {
                        Some(pid) => return Err(Held { pid: Some(pid), ..Held::default() }),
                        None => {
                            tracing::warn!(
                                "the name of this tree's lock is taken, and not by a process of this user as far as can be \
                                 seen; its file alone is locked"
                            );
                            return Ok(Self(None));
                        }
                    },
                }
                std::thread::sleep(PAUSE);
            }
        }

        fn sweep(&self) {
            let Some(socket) = &self.0 else { return };
            // Whoever knocked has left a place in the line of sixteen taken. Once it is full nobody can ask
            // any more who holds the name.
            while accept_with(socket, SocketFlags::CLOEXEC).is_ok() {}
        }
    }

    /// The name of a directory among these mounts; by its path alone where they cannot be told.
    fn name_of(dir: &Path, mounts: Option<&Path>, uid: u32) -> String {
        let mut place =
            mounts.map_or_else(Vec::new, |mounts| [mounts.as_os_str().as_bytes(), b"\0"].concat());
        place.extend(dir.as_os_str().as_bytes());
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, &place);
        format!("treewarden-tree-{uid}-{hash}")
    }

    fn socket() -> rustix::io::Result<OwnedFd> {
        // NONBLOCK: to connect to a full line would wait for its holder, which answers nobody. CLOEXEC: a CLI
        // with a copy of the socket would keep the name when its host is dead.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
    }

    impl Drop for Name {
        fn drop(&mut self) {
            // Let go by word and not only closed: see `Owner::Leaving`.
            if let Some(socket) = &self.0 {
                let _closed_anyhow = shutdown(socket, Shutdown::Both);
            }
        }
    }

    /// Who has a name.
    #[derive(Debug, PartialEq, Eq)]
    enum Owner {
        /// This process of this user; `None` if it cannot be seen from here.
        Is(Option<u32>, u32),
        /// Nobody who is still there.
        Leaving,
        /// So many knock that nothing is known.
        Unknown,
    }

    fn owner(address: &SocketAddrUnix) -> Owner {
        let Ok(socket) = socket() else { return Owner::Unknown };
        match connect(&socket, address) {
            Ok(()) => {}
            Err(Errno::CONNREFUSED) => return Owner::Leaving,
            Err(_) => return Owner::Unknown,
        }
        // Not rustix: it takes the id for one that is never 0, which is what a process of another namespace has here.
        match getsockopt(&socket, PeerCredentials) {
            Ok(peer) => judge(peer.pid(), peer.uid()),
            Err(_) => Owner::Unknown,
        }
    }

    /// The process of this user, or of root, that has a socket of this name; `None` if none can be seen.
    fn process_with(name: &str, uid: u32) -> Option<u32> {
        let sockets = std::fs::read_to_string("/proc/net/unix").ok()?;
        let links: Vec<String> = sockets.lines().filter_map(|line| socket_of(line, name)).collect();
        let has_it = |pid: &u32| {
            let its = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            its.filter_map(|fd| std::fs::read_link(fd.path()).ok())
                .any(|to| to.to_str().is_some_and(|to| links.iter().any(|link| link == to)))
        };
        let is_ours = |pid: &u32| {
            let user = std::fs::metadata(format!("/proc/{pid}")).map(|meta| meta.uid());
            user.is_ok_and(|user| user == uid || user == 0)
        };
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(|pid| is_ours(pid) && has_it(pid))
    }

    /// What a descriptor of the socket in this line of `/proc/net/unix` is linked to, if it has that name.
    fn socket_of(line: &str, name: &str) -> Option<String> {
        // Address, references, protocol, flags, type, state, inode and name.
        let mut fields = line.split_ascii_whitespace().skip(6);
        let (inode, path) = (fields.next()?, fields.next()?);
        (path.strip_prefix('@') == Some(name)).then(|| format!("socket:[{inode}]"))
    }

    /// Asks the kernel and not `/proc`, which may be another namespace's, or hidden.
    fn judge(pid: i32, uid: u32) -> Owner {
        match Pid::from_raw(pid) {
            // One that cannot be seen may live.
            None => Owner::Is(None, uid),
            Some(seen) if test_kill_process(seen) == Err(Errno::SRCH) => Owner::Leaving,
            Some(_) => Owner::Is(Some(pid.cast_unsigned()), uid),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_is_taken_once_and_free_when_its_holder_is_gone() {
            let dir = tempfile::tempdir().expect("a folder");
            let door = Door::close(dir.path()).expect("it is free");
            for _ in 0..100 {
                // However often somebody knocks: a full line of those who wait makes nobody wait for ever.
                let held = Door::close(dir.path()).expect_err("it is taken");
                assert!(held.pid.is_none_or(|pid| pid == std::process::id()));
            }
            door.sweep();
            let held = Door::close(dir.path()).expect_err("it is taken");
            assert_eq!(held.pid, Some(std::process::id()));
            drop(door);
            drop(Door::close(dir.path()).expect("it is free again"));
        }

        #[test]
        fn a_directory_is_known_after_a_move_and_a_path_after_a_removal() {
            let dir = tempfile::tempdir().expect("a folder");
            let (path, moved) = (dir.path().join("state"), dir.path().join("moved"));
            std::fs::create_dir(&path).expect("made");
            let door = Door::close(&path).expect("it is free");
            std::fs::rename(&path, &moved).expect("moved");
            Door::close(&moved).expect_err("it is the same directory");
            std::fs::create_dir(&path).expect("made");
            Door::close(&path).expect_err("it has the path of one on which a tree runs");
            drop(door);
            drop(Door::close(&moved).expect("it is free again"));
        }

        #[test]
        fn one_path_among_other_mounts_is_another_name() {
            let name = |mounts: Option<&str>| name_of(Path::new("/var/lib/tw"), mounts.map(Path::new), 7);
            assert_eq!(name(Some("mnt:[1]")), name(Some("mnt:[1]")));
            assert_ne!(name(Some("mnt:[1]")), name(Some("mnt:[2]")));
            assert_ne!(name(Some("mnt:[1]")), name(None));
        }

        #[test]
        fn a_holder_that_cannot_be_seen_is_not_taken_for_one_that_is_gone() {
            assert_eq!(judge(0, 7), Owner::Is(None, 7));
            let me = std::process::id();
            assert_eq!(judge(me.cast_signed(), 7), Owner::Is(Some(me), 7));
            // No process has this one: it is beyond what the kernel gives out.
            assert_eq!(judge(i32::MAX, 7), Owner::Leaving);
        }

        #[test]
        fn who_has_a_name_without_listening_is_found_if_it_is_ours_and_else_keeps_nobody_away() {
            let name = format!("treewarden-test-{}", Uuid::new_v4());
            let uid = rustix::process::geteuid().as_raw();
            let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("short");
            let silent = socket().expect("made");
            bind(&silent, &address).expect("it is free");
            let held = Name::take(&name, uid).expect_err("a process of ours has it");
            assert_eq!(held.pid, Some(std::process::id()));
            // As if we were somebody else; the super-user's is respected by everybody.
            assert_eq!(Name::take(&name, uid + 1).is_ok(), uid != 0);
            assert_eq!(process_with("treewarden-test-none", uid), None);
            // One that answers nobody, since more knock than it has a place for.
            listen(&silent, 0).expect("listens");
            for _ in 0..4 {
                let held = Name::take(&name, uid).expect_err("a process of ours has it");
                assert_eq!(held.pid, Some(std::process::id()));
            }
        }

        #[test]
        fn a_name_that_another_user_has_is_no_tree_of_ours() {
            let name = format!("treewarden-test-{}", Uuid::new_v4());
            let uid = rustix::process::geteuid().as_raw();
            let _theirs = Name::take(&name, uid).expect("it is free");
            // As if we were somebody else; the super-user's is respected by everybody.
            let ours = Name::take(&name, uid + 1);
            assert_eq!(ours.is_ok(), uid != 0);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::{Held, Path};

    /// Nothing: there are no such names here.
    #[derive(Debug)]
    pub(crate) struct Door;

    impl Door {
        pub(crate) fn close(_dir: &Path) -> Result<Self, Held> {
            Ok(Self)
        }

        pub(crate) fn sweep(&self) {}
    }
}
