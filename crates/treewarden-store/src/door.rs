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

    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
        socket_with, sockopt,
    };
    use uuid::Uuid;

    use super::{Held, Path};

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
            let socket = socket().map_err(Held::unknown)?;
            match bind(&socket, &address).and_then(|()| listen(&socket, 16)) {
                Ok(()) => Ok(Self(Some(socket))),
                Err(Errno::ADDRINUSE) => match owner(&address) {
                    // Anybody may take any name: one that another user has is no tree of ours.
                    Some((_, other)) if other != uid && other != 0 => {
                        tracing::warn!(
                            user = other,
                            "another user has the name of this tree's lock; its file alone is locked"
                        );
                        Ok(Self(None))
                    }
                    found => Err(Held { pid: found.map(|(pid, _)| pid), ..Held::default() }),
                },
                Err(error) => Err(Held::unknown(error)),
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

    /// The process and the user that have a name.
    fn owner(address: &SocketAddrUnix) -> Option<(u32, u32)> {
        let socket = socket().ok()?;
        connect(&socket, address).ok()?;
        let peer = sockopt::socket_peercred(&socket).ok()?;
        Some((u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?, peer.uid.as_raw()))
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
