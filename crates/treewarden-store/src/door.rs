//! The tree lock that no file removal opens: a socket that has a name and no file, where the system has such (Linux).
//!
//! It is named after the path of the state directory and the user, so that it outlives `tree.lock` and the directory
//! itself. It keeps apart the trees of one network namespace; those of several meet at the file. Nobody is ever answered
//! on it.

use std::path::Path;

use crate::Held;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::Door;
#[cfg(target_os = "linux")]
pub(crate) use linux::Door;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
        shutdown, socket_with, sockopt,
    };
    use uuid::Uuid;

    use super::{Held, Path};

    /// How often, and how far apart, a name is asked for again that nobody has any more.
    const TRIES: u32 = 200;
    const PAUSE: Duration = Duration::from_millis(5);

    /// A name that is ours while the value lives.
    #[derive(Debug)]
    pub(crate) struct Door(Option<OwnedFd>);

    impl Door {
        /// Takes the name of a directory, which is there.
        pub(crate) fn close(dir: &Path) -> Result<Self, Held> {
            let real = std::fs::canonicalize(dir).map_err(Held::unknown)?;
            let uid = rustix::process::geteuid().as_raw();
            let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, real.as_os_str().as_bytes());
            Self::named(&format!("treewarden-tree-{uid}-{hash}"), uid)
        }

        fn named(name: &str, uid: u32) -> Result<Self, Held> {
            let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(Held::unknown)?;
            let mut tries = 0;
            loop {
                let socket = socket().map_err(Held::unknown)?;
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
                    Owner::Is(pid, _) => return Err(Held { pid: Some(pid), ..Held::default() }),
                    Owner::Leaving | Owner::Unknown => return Err(Held::default()),
                }
                std::thread::sleep(PAUSE);
            }
        }

        /// Lets those go who knocked, so that the next one can.
        pub(crate) fn sweep(&self) {
            let Some(socket) = &self.0 else { return };
            while accept_with(socket, SocketFlags::CLOEXEC).is_ok() {}
        }
    }

    fn socket() -> rustix::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
    }

    impl Drop for Door {
        fn drop(&mut self) {
            // Let go by word and not only closed: see `Owner::Leaving`.
            if let Some(socket) = &self.0 {
                let _closed_anyhow = shutdown(socket, Shutdown::Both);
            }
        }
    }

    /// Who has a name.
    enum Owner {
        /// This process of this user.
        Is(u32, u32),
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
        let Ok(peer) = sockopt::socket_peercred(&socket) else { return Owner::Unknown };
        let (pid, uid) = (peer.pid.as_raw_nonzero().get(), peer.uid.as_raw());
        if Path::new("/proc").join(pid.to_string()).exists() {
            Owner::Is(pid.cast_unsigned(), uid)
        } else {
            Owner::Leaving
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
        fn a_name_that_another_user_has_is_no_tree_of_ours() {
            let name = format!("treewarden-test-{}", Uuid::new_v4());
            let uid = rustix::process::geteuid().as_raw();
            let _theirs = Door::named(&name, uid).expect("it is free");
            // As if we were somebody else; the super-user's is respected by everybody.
            let ours = Door::named(&name, uid + 1);
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
