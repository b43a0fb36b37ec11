//! A clock that goes on while the machine sleeps.
//!
//! It is for what passes whether the machine sleeps or not, such as a usage limit. For everything else there is
//! [`Instant`](std::time::Instant), which on Linux counts the time awake alone: a deadline of some seconds must not have passed
//! because somebody closed the lid. Neither ever goes back, whatever is done to the wall clock.
#![expect(unsafe_code, reason = "libc has the one interface that needs no further crate")]

use std::time::Duration;

/// How long the machine is up, the time that it slept included.
pub fn time_since_boot() -> Duration {
    // That of macOS goes on in sleep by itself (`mach_continuous_time`).
    #[cfg(target_os = "linux")]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid `timespec` that lives over the call, which writes nothing else.
    let failed = unsafe { libc::clock_gettime(CLOCK, &raw mut time) } != 0;
    // Every Linux since 2.6.39 has it. Without it the time stands still, and nobody is taken to have slept.
    if failed {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_go_back_and_is_never_behind_the_clock_that_stops_in_sleep() {
        let (boot, awake) = (time_since_boot(), std::time::Instant::now());
        let slept = time_since_boot().checked_sub(boot).expect("it does not go back");
        assert!(slept <= awake.elapsed() + Duration::from_secs(60));
        assert!(!boot.is_zero());
    }
}
