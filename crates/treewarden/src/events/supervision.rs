//! A supervisor's report as an event.
//!
//! A report holds the child's actor, what it runs as, and the error that it ended with. None of that may outlive the child
//! in the ring, so only the words of it are kept.

use treewarden_otp::supervisor::{Context, Report, SupervisionEvent};

use super::happening::{Happening, SupervisionContext};

/// What a report says, as an event.
pub(crate) fn told(event: &SupervisionEvent) -> Happening {
    let (context, child, reason) = match &event.report {
        Report::Progress(child) => (SupervisionContext::Progress, Some(child), None),
        Report::Error(context, reason, child) => (of(*context), Some(child), Some(reason.to_string())),
        Report::Quarantined(child) => (SupervisionContext::Quarantined, Some(child), None),
        Report::Parked(child) => (SupervisionContext::Parked, Some(child), None),
        _ => (SupervisionContext::Other, None, None),
    };
    let child = child.map(|child| child.id.clone());
    Happening::Supervision { supervisor: event.supervisor.clone(), context, child, reason }
}

fn of(context: Context) -> SupervisionContext {
    match context {
        Context::StartError => SupervisionContext::StartError,
        Context::ChildTerminated => SupervisionContext::ChildTerminated,
        Context::ShutdownError => SupervisionContext::ShutdownError,
        Context::Shutdown => SupervisionContext::Shutdown,
        _ => SupervisionContext::Other,
    }
}
