//! What happens in a tree, for whoever wants to know: reports as data, and as `tracing` events of one shape.
//!
//! A feed holds the last 1,024 events that a subscriber has not read, 8 MiB of them at most; one who is slower learns how
//! many it missed. Nobody who listens can slow a supervisor down, nor make it hold more.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use treewarden_otp_core::supervisor::{ChildId, Context, Offender, OffenderPid, Reason};

use super::child::RunningChild;
use super::live::Report;
use super::start::Place;
use crate::stream::{LIMITS, Listening, Stream, Unheard};

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

impl SupervisionEvent {
    /// How many bytes it holds, its texts included, also those that it shares with others.
    fn size(&self) -> usize {
        let names: usize = self.place.iter().map(|id| size_of::<ChildId>() + id.as_str().len()).sum();
        let words = match &self.report {
            Report::Error(_, Reason::Exit(reason), _) => words(reason),
            _ => 0,
        };
        size_of::<Self>() + self.supervisor.len() + names + words
    }
}

/// How long a text is, as it is shown; as long as a feed may be, if it cannot be shown.
fn words(reason: &dyn std::fmt::Display) -> usize {
    struct Length(usize);
    impl std::fmt::Write for Length {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let count = || {
        let mut length = Length(0);
        write!(length, "{reason}").map(|()| length.0)
    };
    // A child's error that panics when it is shown must not take the supervisor along.
    catch_unwind(AssertUnwindSafe(count)).ok().and_then(Result::ok).unwrap_or(LIMITS.bytes)
}

/// Says how many events a slow subscriber missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read every event of the feed: {0} were missed")]
pub struct Lagged(pub u64);

/// The reports of one supervisor and of those below it.
#[derive(Debug)]
pub struct Feed {
    outlet: Arc<Outlet>,
    listening: Option<Listening<SupervisionEvent>>,
}

/// Something that is called with each report as it is made.
pub(super) type Observer = Arc<dyn Fn(&SupervisionEvent) + Send + Sync>;

struct Outlet {
    /// Set by the first subscriber.
    stream: OnceLock<Arc<Stream<SupervisionEvent>>>,
    observer: Option<Observer>,
    parent: Option<Arc<Self>>,
}

impl Outlet {
    fn is_heard(&self) -> bool {
        self.observer.is_some() || self.stream.get().is_some_and(|stream| stream.is_heard())
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outlet")
    }
}

impl Clone for Feed {
    fn clone(&self) -> Self {
        Self { outlet: self.outlet.clone(), listening: None }
    }
}

impl Feed {
    /// Makes the feed of a supervisor, whose events the `parent` passes on.
    pub(super) fn below(parent: Option<&Self>, observer: Option<Observer>) -> Self {
        let parent = parent.map(|feed| feed.outlet.clone());
        Self { outlet: Arc::new(Outlet { stream: OnceLock::new(), observer, parent }), listening: None }
    }

    /// Begins to listen: events from now on.
    pub(super) fn subscribe(&self) -> Self {
        let stream = self.outlet.stream.get_or_init(|| Arc::new(Stream::new(LIMITS)));
        Self { outlet: self.outlet.clone(), listening: Some(stream.listen()) }
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
        if let Some(listening) = &mut self.listening {
            match listening.next().await {
                Ok(event) => return Ok(event),
                Err(Unheard::Missed(missed)) => return Err(Lagged(missed)),
                // Nobody ends the stream of a feed; if somebody did, no event ever would come.
                Err(Unheard::Ended) => {}
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
        let mut size = None;
        for current in heard {
            if let Some(observer) = &current.observer {
                // An observer that panics must not take the supervisor along.
                let _ = catch_unwind(AssertUnwindSafe(|| observer(&event)));
            }
            if let Some(stream) = current.stream.get() {
                stream.tell(|| (*size.get_or_insert_with(|| event.size()), event.clone()));
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
