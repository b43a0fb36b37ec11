//! What happens in a tree, for whoever wants to know: reports as data, and as `tracing` events of one shape.
//!
//! A feed holds the last 1024 events for each subscriber; one who is slower learns how many it missed. Nobody who
//! listens can slow a supervisor down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;
use treewarden_otp_core::supervisor::{ChildId, Context, Offender, OffenderPid, Reason};

use super::child::RunningChild;
use super::live::Report;
use super::start::Place;

const CAPACITY: usize = 1024;

/// One report, and the supervisor that made it.
#[derive(Debug, Clone)]
pub struct SupervisionEvent {
    /// The supervisor's place in the tree, for people: the names joined with `/`; empty for a root without a name.
    pub supervisor: Arc<str>,
    /// The same as the names from the root down, which tells two supervisors apart also where a name holds a `/`.
    pub place: Arc<[ChildId]>,
    /// What it reports.
    pub report: Report,
}

/// Says how many events a slow subscriber missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read every event of the feed: {0} were missed")]
pub struct Lagged(pub u64);

/// The reports of one supervisor and of those below it.
#[derive(Debug)]
pub struct Feed {
    outlet: Arc<Outlet>,
    receiver: Option<broadcast::Receiver<SupervisionEvent>>,
}

/// Something that is called with each report as it is made.
pub(super) type Observer = Arc<dyn Fn(&SupervisionEvent) + Send + Sync>;

struct Outlet {
    /// Set by the first subscriber.
    sender: OnceLock<broadcast::Sender<SupervisionEvent>>,
    observer: Option<Observer>,
    parent: Option<Arc<Self>>,
}

impl Outlet {
    fn is_heard(&self) -> bool {
        self.observer.is_some() || self.sender.get().is_some_and(|sender| sender.receiver_count() > 0)
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outlet")
    }
}

impl Clone for Feed {
    fn clone(&self) -> Self {
        Self { outlet: self.outlet.clone(), receiver: None }
    }
}

impl Feed {
    /// Makes the feed of a supervisor, whose events the `parent` passes on.
    pub(super) fn below(parent: Option<&Self>, observer: Option<Observer>) -> Self {
        let parent = parent.map(|feed| feed.outlet.clone());
        Self { outlet: Arc::new(Outlet { sender: OnceLock::new(), observer, parent }), receiver: None }
    }

    /// Begins to listen: events from now on.
    pub(super) fn subscribe(&self) -> Self {
        let receiver = self.outlet.sender.get_or_init(|| broadcast::channel(CAPACITY).0).subscribe();
        Self { outlet: self.outlet.clone(), receiver: Some(receiver) }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// How many events were missed, when this subscriber was too slow; the next call goes on after them.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<SupervisionEvent, Lagged> {
        if let Some(receiver) = &mut self.receiver {
            match receiver.recv().await {
                Ok(event) => return Ok(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => return Err(Lagged(missed)),
                // The feed holds its own sender, so that this does not come; if it did, no event ever would.
                Err(broadcast::error::RecvError::Closed) => {}
            }
        }
        std::future::pending().await
    }

    /// Says whether somebody would learn of a start.
    pub(super) fn hears_progress(&self) -> bool {
        tracing::enabled!(target: "treewarden_otp::supervisor", tracing::Level::INFO)
            || self.outlets().any(Outlet::is_heard)
    }

    pub(super) fn publish(&self, at: &Place, report: Report) {
        trace(&at.path, &report);
        let mut heard = self.outlets().filter(|outlet| outlet.is_heard()).peekable();
        if heard.peek().is_none() {
            return;
        }
        let event = SupervisionEvent { supervisor: at.path.clone(), place: at.names.clone(), report };
        for current in heard {
            if let Some(observer) = &current.observer {
                // An observer that panics must not take the supervisor along.
                let _ = catch_unwind(AssertUnwindSafe(|| observer(&event)));
            }
            if let Some(sender) = current.sender.get() {
                // Nobody left to hear it is no error.
                let _ = sender.send(event.clone());
            }
        }
    }

    /// This supervisor's outlet, and those of the supervisors above it.
    fn outlets(&self) -> impl Iterator<Item = &Outlet> {
        std::iter::successors(Some(&*self.outlet), |outlet| outlet.parent.as_deref())
    }
}

fn trace(supervisor: &Arc<str>, report: &Report) {
    match report {
        Report::Progress(child) => tracing::info!(
            target: "treewarden_otp::supervisor", %supervisor, context = "progress", child = %child.id, pid = show(child)
        ),
        Report::Error(context, Reason::Exit(reason), child) => error(supervisor, *context, reason, child),
        Report::Error(context, _, child) => {
            error(supervisor, *context, &"reached_max_restart_intensity", child);
        }
        Report::Quarantined(child) => tracing::error!(
            target: "treewarden_otp::supervisor", %supervisor, context = "quarantined", child = %child.id,
            pid = show(child), "a killed child is still there: a handler of it does not yield"
        ),
        Report::Parked(child) => tracing::error!(
            target: "treewarden_otp::supervisor", %supervisor, context = "parked", child = %child.id, pid = show(child)
        ),
        Report::UnexpectedMessage => tracing::warn!(
            target: "treewarden_otp::supervisor", %supervisor, context = "unexpected_message"
        ),
        _ => {}
    }
}

fn error(
    supervisor: &Arc<str>,
    context: Context,
    reason: &dyn std::fmt::Display,
    child: &Offender<RunningChild>,
) {
    tracing::error!(
        target: "treewarden_otp::supervisor", %supervisor, context = context.as_str(), child = %child.id,
        pid = show(child), %reason
    );
}

fn show(child: &Offender<RunningChild>) -> tracing::field::DisplayValue<String> {
    tracing::field::display(match &child.pid {
        OffenderPid::Running(pid, _) => pid.to_string(),
        OffenderPid::Restarting(Some((pid, _))) => format!("restarting {pid}"),
        OffenderPid::Restarting(None) => "restarting".to_owned(),
        OffenderPid::Many(1) => "1 child".to_owned(),
        OffenderPid::Many(count) => format!("{count} children"),
        _ => "undefined".to_owned(),
    })
}
