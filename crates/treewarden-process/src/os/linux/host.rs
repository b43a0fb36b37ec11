//! What tells one host from another, and whether it lives: namespaces, the boot, and a name that a host holds.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::io::Errno;

use crate::host::Realm;

/// The namespaces in which numbers of a host are meant, and the boot.
pub(crate) fn realm() -> Realm {
    Realm {
        pids: namespace("self/ns/pid"),
        times: namespace("self/ns/time"),
        users: namespace("self/ns/user"),
        boot: random("boot_id"),
    }
}

/// The namespace in which this thread asks for names: one may have left that of the others.
pub(crate) fn net_namespace() -> u64 {
    namespace("thread-self/ns/net")
}

fn namespace(name: &str) -> u64 {
    // 0 on a kernel that has no such namespace, as for times before 5.6: there all processes share one.
    fs::metadata(format!("/proc/{name}")).map_or(0, |meta| meta.ino())
}

/// The first half of an identifier that the kernel makes.
fn random(name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/sys/kernel/random/{name}")).unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

/// A name that is held as long as this process lives, however it ends, and that every user of the network namespace can
/// ask for. It has no file that somebody could remove.
#[derive(Debug)]
pub(crate) struct HostLock {
    number: u64,
    _held: UnixDatagram,
}

impl HostLock {
    /// Takes a name of its own.
    pub(crate) fn take() -> io::Result<Self> {
        let number = random("uuid");
        if number == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { number, _held: UnixDatagram::bind_addr(&address(number)?)? })
    }

    /// The name, as a number other than 0.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// Tells whether somebody holds the name; `None` if that cannot be asked.
pub(crate) fn is_held(number: u64) -> Option<bool> {
    let asking = UnixDatagram::unbound().and_then(|socket| socket.connect_addr(&address(number)?));
    match asking {
        Ok(()) => Some(true),
        Err(error) => match Errno::from_io_error(&error) {
            // The only answer that says that nobody has it. No descriptor left, or a confinement that forbids
            // the call, says nothing: a live host must not look dead by that.
            Some(Errno::CONNREFUSED) => Some(false),
            _ => None,
        },
    }
}

fn address(number: u64) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("treewarden-host-{number:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_as_long_as_its_holder_lives_and_no_longer() {
        let lock = HostLock::take().expect("a name can be taken");
        let number = lock.number();
        assert_eq!(is_held(number), Some(true));
        drop(lock);
        assert_eq!(is_held(number), Some(false));
    }
}
