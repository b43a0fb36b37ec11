//! What the machine's children are made of here.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;
use treewarden_otp_core::supervisor as core;

use super::child::RunningChild;
use super::start::{Info, StartChild};

/// The machine's types, for real actors.
#[derive(Debug)]
pub(super) enum Live {}

/// A factory, which the machine only passes on.
#[derive(Clone)]
pub(crate) struct Factory(pub(super) Arc<dyn StartChild>);

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factory(..)")
    }
}

impl core::Types for Live {
    type Start = Factory;
    type Child = RunningChild;
    type Info = Info;
    type Caller = oneshot::Sender<Reply>;

    fn is_alive(child: &RunningChild) -> bool {
        child.is_alive()
    }
}

pub(super) type Machine = core::Machine<Live>;
pub(super) type Event = core::Event<Live>;
pub(super) type Action = core::Action<Live>;
pub(super) type Request = core::Request<Live>;
pub(super) type Reply = core::Reply<Live>;

/// A supervision report about a real child.
pub type Report = core::Report<RunningChild>;
