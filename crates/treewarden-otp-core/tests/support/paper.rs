//! What the tests of the supervisor machine share: children of paper, and random flags.

use proptest::prelude::*;
use treewarden_otp_core::supervisor::{AutoShutdown, Flags, Restart, RunId, Strategy as Restarts, Types};

/// Children are their own pids, callers are numbers.
#[derive(Debug)]
pub(crate) enum Paper {}

impl Types for Paper {
    type Start = ();
    type Child = RunId;
    type Info = ();
    type Caller = usize;

    fn is_alive(_: &RunId) -> bool {
        true
    }
}

pub(crate) fn restart() -> impl Strategy<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
}

pub(crate) fn flags() -> impl Strategy<Value = Flags> {
    let strategy =
        prop_oneof![Just(Restarts::OneForOne), Just(Restarts::OneForAll), Just(Restarts::RestForOne)];
    let auto = prop_oneof![
        Just(AutoShutdown::Never),
        Just(AutoShutdown::AnySignificant),
        Just(AutoShutdown::AllSignificant)
    ];
    (strategy, 0..8u32, 1..4u32, auto).prop_map(|(strategy, max_restarts, max_seconds, auto_shutdown)| {
        Flags { strategy, max_restarts, max_seconds, auto_shutdown, ..Flags::default() }
    })
}
