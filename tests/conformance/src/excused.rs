//! The differences from OTP that are meant, each with its reason.

/// Schedules whose traces may differ, and why.
pub const SCHEDULES: &[(&str, &str)] = &[(
    "simple_restart_ignore_quirk",
    "OTP 25 keeps a phantom child `undefined` when a restart returns `ignore`; we drop the child",
)];

/// Events that have no counterpart here, and why.
pub const EVENTS: &[(&str, &str)] = &[
    ("crash_report", "proc_lib's report of the dying process itself; ours are the supervisor's"),
    ("gen_error", "gen_server's report of the dying process itself; ours are the supervisor's"),
];
