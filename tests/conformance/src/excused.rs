//! The differences from OTP that are meant, each with its reason.

/// Schedules whose traces may differ, and why.
pub const SCHEDULES: &[(&str, &str)] = &[
    (
        "simple_restart_ignore_quirk",
        "OTP 25 keeps a phantom child `undefined` when a restart returns `ignore`; we drop the child",
    ),
    (
        "simple_count_after_terminating_a_restarting_child",
        "OTP 25 goes on counting the child as restarting, and so counts one active child too few",
    ),
];

/// Events that have no counterpart here, and why.
pub const EVENTS: &[(&str, &str)] = &[
    ("crash_report", "proc_lib's report of the dying process itself; ours are the supervisor's"),
    ("gen_error", "gen_server's report of the dying process itself; ours are the supervisor's"),
];
