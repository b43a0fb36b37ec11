//! Makes a child that shares the memory until it executes, and is born in its cgroup where the kernel can do that.
//!
//! # Why not enter the cgroup from the child?
//!
//! To move a process into a cgroup the kernel stops every fork and exit on the machine for a moment, and waits until all
//! processors have noticed: measured, 5 to 20 ms in a host with threads that work. A child that is born there moves
//! nothing: measured, it takes as long as one without a cgroup. The C library has no function for it, hence the few
//! instructions here.
#![expect(unsafe_code, reason = "a child that shares the memory until it executes cannot be said otherwise")]

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;

use rustix::io::Errno;

/// What runs in the child: it never returns.
pub(super) type Enter = extern "C" fn(*mut c_void) -> c_int;

/// The child's stack, in words that keep it aligned.
pub(super) type Stack = [u128];

/// Makes the child, and waits until it has executed or ended. Its id, or why there is none.
///
/// # Safety
///
/// `enter` must never return, and must use only what `argument` points to, which must be valid and left alone until the
/// child has executed or ended. All signals must be blocked.
pub(super) unsafe fn child(stack: &mut Stack, enter: Enter, argument: *mut c_void) -> Result<i32, Errno> {
    // VFORK keeps this thread in the kernel until the child has executed or ended: its stack and argument are
    // freed after that. SIGCHLD makes it a child that a plain wait finds.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the end of `stack` is the end of a live, aligned allocation on which nothing else runs; the rest is this
    // function's own contract.
    let pid = unsafe { libc::clone(enter, stack.as_mut_ptr_range().end.cast(), flags, argument) };
    if pid < 0 { Err(last_error()) } else { Ok(pid) }
}

/// As [`child`], born in the cgroup whose folder this is.
///
/// # Errors
///
/// Where the kernel or whoever confines this process does not allow it, as with any other failure; nothing was made.
///
/// # Safety
///
/// As for [`child`].
pub(super) unsafe fn child_in(
    cgroup: &File,
    stack: &mut Stack,
    enter: Enter,
    argument: *mut c_void,
) -> Result<i32, Errno> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        use std::os::fd::AsRawFd;

        let arguments = Arguments {
            flags: (libc::CLONE_VM | libc::CLONE_VFORK) as u64 | CLONE_INTO_CGROUP,
            exit_signal: libc::SIGCHLD as u64,
            stack: stack.as_mut_ptr() as u64,
            stack_size: size_of_val(stack) as u64,
            cgroup: cgroup.as_raw_fd().unsigned_abs().into(),
            ..Arguments::default()
        };
        // SAFETY: `arguments` is as the kernel wants it, `stack` is a live, aligned allocation on which nothing else
        // runs; the rest is this function's own contract.
        match unsafe { clone3(&arguments, enter, argument) } {
            made @ 1.. => Ok(i32::try_from(made).expect("a process id is an int")),
            error => Err(Errno::from_raw_os_error(i32::try_from(-error).unwrap_or(libc::EIO))),
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _unused = (cgroup, stack, enter, argument);
        Err(Errno::NOSYS)
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::AGAIN)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's `clone_args`, in its third version.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[repr(C)]
#[derive(Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Calls the kernel; the child goes on in `enter` on its own stack, this thread behind the call.
///
/// # Safety
///
/// As for [`child`]; `arguments` must name a stack of the child's own.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(arguments: &Arguments, enter: Enter, argument: *mut c_void) -> i64 {
    let result: i64;
    // SAFETY: the kernel keeps all registers but the three that are named as changed. The child, which sees a zero, has
    // a stack of its own, aligned as a call wants it, and does not come back from the call.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {argument}",
            "call {enter}",
            "ud2",
            "2:",
            argument = in(reg) argument,
            enter = in(reg) enter,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") arguments,
            in("rsi") size_of::<Arguments>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// Calls the kernel; the child goes on in `enter` on its own stack, this thread behind the call.
///
/// # Safety
///
/// As for [`child`]; `arguments` must name a stack of the child's own.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(arguments: &Arguments, enter: Enter, argument: *mut c_void) -> i64 {
    let result: i64;
    // SAFETY: the kernel keeps all registers but the one with the result. The child, which sees a zero, has a stack of
    // its own, aligned as a call wants it, and does not come back from the call.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {argument}",
            "blr {enter}",
            "brk 1",
            "2:",
            argument = in(reg) argument,
            enter = in(reg) enter,
            in("x8") libc::SYS_clone3,
            inlateout("x0") std::ptr::from_ref(arguments) => result,
            in("x1") size_of::<Arguments>(),
        );
    }
    result
}
