//! Which signals this process takes.

use std::mem::MaybeUninit;
use std::ptr;

/// Has this thread, and every thread that it starts from now on, take all signals.
///
/// A program inherits what whoever executed it had blocked: a daemon that was started from a thread with SIGTERM blocked could not be
/// told to end.
#[expect(unsafe_code, reason = "the mask of a thread is set by a call of the C library alone")]
pub fn take_all_signals() {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` fills the set in whole before it is read, and the mask is this thread's own.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        // It fails only for a way of setting that does not exist.
        let _set = libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}
