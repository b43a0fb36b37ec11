//! macOS: the process group is all that holds a tree together.
//!
//! Processes are listed and described by `libproc`. The environment of another process cannot be read, there are no
//! cgroups, and no signal comes at the host's death: a leftover of a dead host is found by nobody.
#![expect(unsafe_code, reason = "libproc has no safe interface")]

use std::ffi::{OsStr, c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;

use crate::host::{Host, Realm};
use crate::limit::{KernelLimits, Unkept};
use crate::os::{Environ, Launched, Refusal, Stage, Stat};
use crate::pid::{Pid, Process};
use crate::program::{Cookie, Program};

/// There is nothing to wait by for many children at a time.
pub(crate) fn when_ended(_pid: Pid, _ended: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Starts `program` with the environment `marks` added to its own, in a session of its own.
pub(crate) fn launch(
    program: &Program,
    path: &Path,
    marks: &[(&str, &str)],
    _cgroup: Option<&Cgroup>,
) -> Result<Launched, Refusal> {
    let mut command = Command::new(path);
    command
        .arg0(&program.path)
        .args(&program.args)
        .env_clear()
        .envs(&program.env)
        .envs(marks.iter().map(|(name, value)| (OsStr::new(*name), OsStr::new(*value))))
        .current_dir(&program.cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
    let refused = |error: io::Error| {
        let stage = if program.cwd.is_dir() { Stage::Exec } else { Stage::Cwd };
        let stage = if error.kind() == io::ErrorKind::InvalidInput { Stage::Prepare } else { stage };
        Refusal { stage, errno: Errno::from_io_error(&error).unwrap_or(Errno::INVAL) }
    };
    let child = command.spawn().map_err(refused)?;
    let pid = Pid::new(child.id()).expect("a child is not the first process");
    match (child.stdin, child.stdout, child.stderr) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            Ok(Launched { pid, stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() })
        }
        _ => unreachable!("all three were asked for"),
    }
}

/// The ids of all processes.
pub(crate) fn pids() -> io::Result<Vec<Pid>> {
    let mut raw: Vec<c_int> = Vec::new();
    loop {
        // Some more than there are now, as others may be started meanwhile.
        // SAFETY: without a buffer the call only counts.
        let count = unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) };
        let room = usize::try_from(count).map_err(|_| io::Error::last_os_error())? + 64;
        raw.resize(room, 0);
        let bytes = c_int::try_from(room * size_of::<c_int>()).map_err(io::Error::other)?;
        // SAFETY: the buffer is as long as is said.
        let listed = unsafe { libc::proc_listallpids(raw.as_mut_ptr().cast::<c_void>(), bytes) };
        let listed = usize::try_from(listed).map_err(|_| io::Error::last_os_error())?;
        if listed < room {
            raw.truncate(listed);
            return Ok(raw.iter().filter_map(|pid| Pid::new(u32::try_from(*pid).ok()?)).collect());
        }
    }
}

/// What the kernel says of a process; `None` if there is none.
pub(crate) fn stat(pid: Pid) -> io::Result<Option<Stat>> {
    let raw = pid.as_rustix().as_raw_nonzero().get();
    let mut info = MaybeUninit::<libc::proc_bsdinfo>::zeroed();
    let size = c_int::try_from(size_of::<libc::proc_bsdinfo>()).expect("a small structure");
    // SAFETY: the buffer is as long as is said, and all zeros are a valid value of it.
    let (got, info) = unsafe {
        // A zombie is told only to those who ask for it.
        let got = libc::proc_pidinfo(raw, libc::PROC_PIDTBSDINFO, 1, info.as_mut_ptr().cast(), size);
        (got, info.assume_init())
    };
    if got == size {
        // SAFETY: it takes a number and returns one.
        let session = unsafe { libc::getsid(raw) };
        return Ok(Some(Stat {
            start_time: info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec,
            is_alive: info.pbi_status != libc::SZOMB,
            parent: info.pbi_ppid,
            group: info.pbi_pgid,
            session: u32::try_from(session).unwrap_or(0),
            memory: 0,
        }));
    }
    let error = io::Error::last_os_error();
    match Errno::from_io_error(&error) {
        Some(Errno::SRCH) => Ok(None),
        // Another user's cannot be a member of a tree of ours, so what it is does not matter.
        Some(Errno::PERM | Errno::ACCESS) => Ok(None),
        _ => Err(error),
    }
}

/// Cannot be read here.
pub(crate) fn environ(_pid: Pid, buffer: &mut Vec<u8>) -> io::Result<Environ> {
    buffer.clear();
    Ok(Environ::Denied)
}

/// Not asked: nothing can be told of another host's processes here.
pub(crate) fn user(_pid: Pid) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Nothing is adopted here.
pub(crate) fn adopted() -> Option<Vec<Pid>> {
    Some(Vec::new())
}

/// The session of this process.
pub(crate) fn own_session() -> u32 {
    // SAFETY: it takes a number and returns one.
    u32::try_from(unsafe { libc::getsid(0) }).unwrap_or(0)
}

/// The name of a process, for a person to read.
pub(crate) fn name(pid: Pid) -> String {
    let mut name = [0_u8; 64];
    let raw = pid.as_rustix().as_raw_nonzero().get();
    // SAFETY: the buffer is as long as is said.
    let len = unsafe { libc::proc_name(raw, name.as_mut_ptr().cast::<c_void>(), 64) };
    let name = usize::try_from(len).ok().and_then(|len| name.get(..len)).filter(|name| !name.is_empty());
    name.map_or_else(|| "?".to_owned(), |name| String::from_utf8_lossy(name).into_owned())
}

/// There are no namespaces.
pub(crate) fn realm() -> Realm {
    Realm::default()
}

/// There are no namespaces.
pub(crate) fn net_namespace() -> u64 {
    0
}

/// What cannot be had here: whether a host lives is told by its process id and start time.
#[derive(Debug)]
pub(crate) enum HostLock {}

impl HostLock {
    pub(crate) fn take() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn number(&self) -> u64 {
        match *self {}
    }
}

/// Cannot be asked here.
pub(crate) fn is_held(_number: u64) -> Option<bool> {
    None
}

/// What cannot be made here.
#[derive(Debug)]
pub(crate) enum Cgroup {}

impl Cgroup {
    pub(crate) fn create(_cookie: &Cookie) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn set_leader(&mut self, _leader: crate::pid::Pid) {
        match *self {}
    }

    pub(crate) fn remains(&self) -> io::Result<Option<Vec<Process>>> {
        match *self {}
    }

    pub(crate) fn take_over(self) -> Self {
        match self {}
    }

    pub(crate) fn kill(&self) -> bool {
        match *self {}
    }

    pub(crate) fn path(&self) -> &Path {
        match *self {}
    }
}

/// Memory is not measured here.
pub(crate) fn own_share(_pid: Pid) -> Option<u64> {
    None
}

/// There are no cgroups.
pub(crate) fn kernel_kills(_cgroup: &Path) -> u64 {
    0
}

/// There are no cgroups.
pub(crate) fn pids_in(_cgroup: &Path) -> io::Result<Vec<Pid>> {
    Ok(Vec::new())
}

/// There are no cgroups.
pub(crate) fn limit(_cgroup: &Path, _limits: &KernelLimits) -> Vec<Unkept> {
    Vec::new()
}

/// There are no cgroups.
pub(crate) fn make_room() -> Result<(), String> {
    Err("there are no cgroups on this system".to_owned())
}

/// There are no cgroups.
pub(crate) fn controllers() -> Vec<String> {
    Vec::new()
}

/// None can have been left.
pub(crate) fn cgroups(_cookie: Option<&Cookie>) -> io::Result<Vec<(Host, u32, Cgroup)>> {
    Ok(Vec::new())
}

/// There are none.
pub(crate) fn is_in_another_tree(_pid: Pid, _own: Option<&Cgroup>) -> io::Result<bool> {
    Ok(false)
}
