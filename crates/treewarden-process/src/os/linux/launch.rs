//! Starts a program in the manner of `posix_spawn`, with what that function cannot do: a signal at the host's death, a
//! session and a cgroup of its own.
//!
//! # Why not `fork`?
//!
//! `fork` copies the host's page tables: measured on one machine, 0.7 ms for a small host, 4 ms for one with 100 MB of
//! heap and 42 ms with 1 GB, in which the other threads of the host stop at their next write. A child that shares the
//! memory until it executes takes 0.5 ms for each of them, as `posix_spawn` does.
//!
//! # What the child may do
//!
//! It runs on a stack of its own in the host's memory, while the thread that made it waits in the kernel. So it makes
//! system calls only, takes no lock, allocates nothing, and no signal handler may run in it.
#![expect(unsafe_code, reason = "a child that shares the memory until it executes cannot be said otherwise")]

use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::WaitOptions;

use super::cgroup::Cgroup;
use super::clone::{self, Stack};
use crate::os::{Launched, Refusal, Stage};
use crate::pid::Pid;
use crate::program::Program;

/// The child's stack; it needs a few KB.
const STACK: usize = 64 << 10;

/// One more than the highest signal.
const SIGNALS: c_int = 65;

/// Starts `program` with the environment `marks` added to its own, in `cgroup` if there is one.
///
/// Must be called on a thread that never ends: at its end the kernel takes the host for dead.
pub(crate) fn launch(
    program: &Program,
    path: &Path,
    marks: &[(&str, &str)],
    cgroup: Option<&Cgroup>,
) -> Result<Launched, Refusal> {
    launch_by(make, program, path, marks, cgroup)
}

/// Makes the child, with the given stack, in a cgroup or in none.
type Make = fn(&mut Child, Option<&Cgroup>, &mut Stack) -> Result<i32, Refusal>;

fn launch_by(
    make: Make,
    program: &Program,
    path: &Path,
    marks: &[(&str, &str)],
    cgroup: Option<&Cgroup>,
) -> Result<Launched, Refusal> {
    let text = Text::of(program, path, marks).map_err(|_| refusal(Stage::Prepare, Errno::INVAL))?;
    let (theirs_in, stdin) = pipe()?;
    let (stdout, theirs_out) = pipe()?;
    let (stderr, theirs_err) = pipe()?;
    let (argv, envp) = (pointers(&text.args), pointers(&text.env));
    let mut child = Child {
        path: text.path.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        cwd: text.cwd.as_ptr(),
        door: -1,
        pipes: [theirs_in.as_raw_fd(), theirs_out.as_raw_fd(), theirs_err.as_raw_fd()],
        open_files: crate::limits::of_children().map(|limit| libc::rlimit {
            rlim_cur: limit.current.unwrap_or(libc::RLIM_INFINITY),
            rlim_max: limit.maximum.unwrap_or(libc::RLIM_INFINITY),
        }),
        host: rustix::process::getpid().as_raw_nonzero().get(),
        failed: None,
    };
    let pid = begin(make, &mut child, cgroup)?;
    match child.failed {
        None => {
            let pid = Pid::new(pid.as_raw_nonzero().get().unsigned_abs())
                .expect("a child is not the first process");
            Ok(Launched { pid, stdin, stdout, stderr })
        }
        Some((stage, errno)) => {
            // It has ended by now, and nobody else knows of it.
            while let Err(Errno::INTR) = rustix::process::waitpid(Some(pid), WaitOptions::empty()) {}
            Err(refusal(stage, Errno::from_raw_os_error(errno)))
        }
    }
}

fn refusal(stage: Stage, errno: Errno) -> Refusal {
    Refusal { stage, errno }
}

/// A pipe of which no end is one of the standard descriptors, so that the child can place them in any order.
fn pipe() -> Result<(OwnedFd, OwnedFd), Refusal> {
    let above_standard = |end: OwnedFd| match end.as_raw_fd() {
        0..=2 => rustix::io::fcntl_dupfd_cloexec(end.as_fd(), 3),
        _ => Ok(end),
    };
    let ends = pipe_with(PipeFlags::CLOEXEC);
    let ends = ends.and_then(|(read, write)| Ok((above_standard(read)?, above_standard(write)?)));
    ends.map_err(|errno| refusal(Stage::Prepare, errno))
}

/// What the child hands to the kernel, as the kernel wants it.
struct Text {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
}

impl Text {
    fn of(program: &Program, path: &Path, marks: &[(&str, &str)]) -> Result<Self, std::ffi::NulError> {
        let text = |text: &OsStr| CString::new(text.as_bytes());
        let pair = |name: &OsStr, value: &OsStr| {
            let mut pair = OsString::with_capacity(name.len() + value.len() + 1);
            pair.push(name);
            pair.push("=");
            pair.push(value);
            text(&pair)
        };
        // A host that is itself a tool of a session has marks in its environment. Twice in one environment,
        // the outer one would be read first, and the tree be taken for the outer session's.
        let is_mark = |name: &OsStr| marks.iter().any(|(mark, _)| OsStr::new(mark) == name);
        let own =
            program.env.iter().filter(|(name, _)| !is_mark(name)).map(|(name, value)| pair(name, value));
        let added = marks.iter().map(|(name, value)| pair(name.as_ref(), value.as_ref()));
        let args =
            std::iter::once(program.path.as_os_str()).chain(program.args.iter().map(OsString::as_os_str));
        Ok(Self {
            path: text(path.as_os_str())?,
            args: args.map(text).collect::<Result<_, _>>()?,
            env: own.chain(added).collect::<Result<_, _>>()?,
            cwd: text(program.cwd.as_os_str())?,
        })
    }
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// What the child reads, and where it says why it failed.
struct Child {
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    cwd: *const c_char,
    door: RawFd,
    pipes: [RawFd; 3],
    /// The limit of open files that it is to have, if that is not the host's.
    open_files: Option<libc::rlimit>,
    host: i32,
    failed: Option<(Stage, c_int)>,
}

/// Makes the child, and waits until it executes its program or has failed.
fn begin(make: Make, child: &mut Child, cgroup: Option<&Cgroup>) -> Result<rustix::process::Pid, Refusal> {
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `before` and `all` are valid for writes, and are read only after they were written.
    let restored = unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        // Before the child is made, which inherits the mask: a handler of the host's that ran in it would
        // change the host's memory.
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr())
    };
    if restored != 0 {
        return Err(refusal(Stage::Prepare, Errno::from_raw_os_error(restored)));
    }
    let made = make(child, cgroup, &mut stack);
    // SAFETY: `before` was filled by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    let pid = made?;
    rustix::process::Pid::from_raw(pid).ok_or_else(|| refusal(Stage::Prepare, Errno::AGAIN))
}

/// Makes the child in its cgroup from the start, or else lets it enter that by its door.
fn make(child: &mut Child, cgroup: Option<&Cgroup>, stack: &mut Stack) -> Result<i32, Refusal> {
    let argument = ptr::from_mut(child).cast();
    let born = cgroup.and_then(|cgroup| cgroup.folder().ok()).and_then(|folder| {
        // SAFETY: `enter` never returns. This thread stands still until the child has executed or ended, so `child`, what
        // it points to and the stack outlive its use, and nothing is accessed from two sides. All signals are blocked,
        // so no handler runs in the child.
        unsafe { clone::child_in(&folder, stack, enter, argument) }.ok()
    });
    match born {
        Some(pid) => Ok(pid),
        None => make_by_door(child, cgroup, stack),
    }
}

/// Makes the child outside, and lets it enter its cgroup itself.
fn make_by_door(child: &mut Child, cgroup: Option<&Cgroup>, stack: &mut Stack) -> Result<i32, Refusal> {
    let door = cgroup.map(Cgroup::door).transpose();
    let door =
        door.map_err(|error| refusal(Stage::Cgroup, Errno::from_io_error(&error).unwrap_or(Errno::NOENT)))?;
    child.door = door.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    // SAFETY: as above.
    unsafe { clone::child(stack, enter, ptr::from_mut(child).cast()) }
        .map_err(|errno| refusal(Stage::Prepare, errno))
}

/// The child: prepares itself and executes the program, or says why it cannot and ends.
extern "C" fn enter(child: *mut c_void) -> c_int {
    // SAFETY: `begin` passes a `Child` that nothing else accesses until this process has executed or ended, and whose
    // pointers are valid as long. `__errno_location` and `_exit` are always sound.
    unsafe {
        let child = &mut *child.cast::<Child>();
        let stage = prepare_and_execute(child);
        child.failed = Some((stage, *libc::__errno_location()));
        libc::_exit(127)
    }
}

/// Returns only if a step fails, with that step; `errno` says why.
///
/// # Safety
///
/// As for [`enter`]: called in the child only.
unsafe fn prepare_and_execute(child: &Child) -> Stage {
    // SAFETY: these are system calls on this process alone, with descriptors and strings that `child` keeps valid. The
    // child has a descriptor table and signal actions of its own, as neither CLONE_FILES nor CLONE_SIGHAND is set.
    unsafe {
        // The signal comes when the *thread* ends that made the child, which is why one thread makes them
        // all. It stays set when a program is executed, unless that is a set-user-ID one.
        if libc::setsid() < 0 || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) < 0 {
            return Stage::Prepare;
        }
        // The host may have died before the kernel was told; then there is nobody to report to either.
        if libc::getppid() != child.host {
            libc::_exit(127);
        }
        if child.door >= 0 && libc::write(child.door, c"0".as_ptr().cast(), 1) < 0 {
            return Stage::Cgroup;
        }
        let mut standard = 0;
        // The copies are not closed on execution, as the originals are. `dup2` onto the same number would
        // change nothing and leave that flag set: hence no pipe has a number below 3.
        while standard < 3 {
            if libc::dup2(child.pipes[standard as usize], standard) < 0 {
                return Stage::Prepare;
            }
            standard += 1;
        }
        if libc::chdir(child.cwd) < 0 {
            return Stage::Cwd;
        }
        // Nothing of the host's is inherited, whoever opened it. Old kernels do not know the call: then each
        // descriptor's own flag decides.
        libc::syscall(libc::SYS_close_range, 3, c_int::MAX, libc::CLOSE_RANGE_CLOEXEC);
        // Behind the descriptors: a limit below the number of one that is still needed would refuse its copy.
        if let Some(limit) = &child.open_files
            && libc::setrlimit(libc::RLIMIT_NOFILE, limit) < 0
        {
            return Stage::Prepare;
        }
        // Executing a program resets handlers, but not what is ignored. Rust programs ignore SIGPIPE:
        // inherited, a tool in a broken pipeline would write for ever.
        let mut default = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        default.sa_sigaction = libc::SIG_DFL;
        let mut signal = 1;
        while signal < SIGNALS {
            // The kernel refuses two of them, which cannot be caught anyway, and the C library two of its own.
            libc::sigaction(signal, &default, ptr::null_mut());
            signal += 1;
        }
        // The mask is inherited over the execution as well: left as it is, a CLI could not be told to end by
        // SIGTERM.
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::execve(child.path, child.argv, child.envp);
        Stage::Exec
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rustix::process::Signal;

    use super::*;
    use crate::program::Cookie;

    #[test]
    fn a_child_enters_its_cgroup_by_the_door_where_it_cannot_be_born_there() {
        let cookie = Cookie::new(format!("door-{}", std::process::id()));
        let Ok(cgroup) = Cgroup::create(&cookie) else {
            println!("skipped: no cgroup can be made here");
            return;
        };
        let program = Program {
            path: "/bin/sleep".into(),
            args: vec!["600".into()],
            env: BTreeMap::new(),
            cwd: "/".into(),
        };
        let launched = launch_by(make_by_door, &program, &program.path, &[], Some(&cgroup));
        let pid = launched.expect("it can be launched").pid;
        let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
        let inside = cgroup.remains().expect("it can be looked at");
        rustix::process::kill_process(pid.as_rustix(), Signal::KILL).expect("it lives");
        rustix::process::waitpid(Some(pid.as_rustix()), WaitOptions::empty()).expect("it is ours");
        assert!(own.contains(cookie.as_str()), "{own}");
        assert!(inside.is_some_and(|found| found.iter().any(|process| process.pid == pid)));
        assert!(matches!(cgroup.remains(), Ok(None)));
    }
}
