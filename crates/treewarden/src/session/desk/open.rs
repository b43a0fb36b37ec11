//! A desk is opened with whatever an earlier host left under its name.
//!
//! Nothing here may be done to a desk that somebody has already: what is put back comes before all that is queued.

use std::sync::Arc;

use treewarden_core::session::{Delivery, Failure, FailureKind, OpenTurn, Outcome};
use treewarden_proto::frame::Content;
use treewarden_proto::{SessionName, TurnId};
use treewarden_store::{SessionRecord, TurnRow, TurnState};

use super::Desk;
use super::rooms::{Entry, TurnEntry};
use crate::host::Host;
use crate::session::options::SessionOptions;
use crate::session::start_error::StartError;

impl Desk {
    /// Takes the name, with whatever an earlier host left open under it.
    pub(crate) fn open(
        host: &Host,
        options: &Arc<SessionOptions>,
        name: SessionName,
    ) -> Result<Arc<Self>, StartError> {
        let store = host.store();
        let record = store.record(&name).map_err(|error| StartError::store(&error))?;
        // A record of another conversation than the options name is left to that one, with its turns.
        let record = record.filter(|record| carries_on(record, options));
        let open = match &record {
            Some(_) => store.open_turns(&name).map_err(|error| StartError::store(&error))?,
            None => Vec::new(),
        };
        let desk = Arc::new(Self::new(host.clone(), Arc::clone(options), name, record));
        // Before the name is claimed: from then on callers find the desk, and their turns must not come
        // before those that wait since an earlier host.
        let unreadable: Vec<_> = open.into_iter().filter_map(|row| desk.restore(row)).collect();
        let desk = host.claim(Arc::clone(&desk)).map_err(|holder| StartError::taken(&holder.name))?;
        // Behind the claim: whoever does not hold the name settles none of its turns.
        for (turn, failure) in unreadable {
            tracing::error!(session = %desk.name, %turn, reason = %failure, "a stored turn is not run");
            desk.settle(turn, Outcome::Failed(failure));
        }
        Ok(desk)
    }

    /// Puts back a turn that the journal holds open, before anything else is queued; one whose prompt cannot be read comes
    /// back with the failure that is its outcome.
    fn restore(&self, row: TurnRow) -> Option<(TurnId, Failure)> {
        let prompt = match serde_json::from_value::<Content>(row.prompt) {
            Ok(prompt) => prompt,
            // Another prompt in its place, even a blank one, would be answered as if it had been asked.
            Err(error) => {
                let message = format!(
                    "the prompt that is stored for the turn cannot be read, and so it was not sent: {error}"
                );
                return Some((row.turn, Failure::new(FailureKind::NotStarted, message)));
            }
        };
        let delivery = if row.at_most_once { Delivery::AtMostOnce } else { Delivery::ExactlyOnce };
        let first = self.first_open().is_none();
        // Only the first can have been written to a CLI. Whether it was is noted where it matters; otherwise it is
        // taken for granted, since resending is safe.
        let sent = first && (row.state != TurnState::Queued || delivery == Delivery::ExactlyOnce);
        let open = OpenTurn {
            turn: row.turn,
            attempts: u32::from(sent).max(row.interruptions),
            delivery,
            timeout: self.timeout(),
            deadline: None,
        };
        let entry = TurnEntry {
            open,
            asked_in: row.session_id,
            prompt: Arc::new(prompt),
            interruptions: row.interruptions,
            in_flight: false,
            restored: true,
            sinks: Vec::new(),
        };
        self.lock().queue.push(Entry::Turn(Box::new(entry)));
        None
    }
}

/// Tells whether the record belongs to what the options ask for: the name wins, unless they name another conversation.
fn carries_on(record: &SessionRecord, options: &SessionOptions) -> bool {
    let spec = &options.spec;
    let wanted = if spec.fork_session { spec.session_id } else { spec.resume.or(spec.session_id) };
    // A fork has a new conversation, and `resume` then names the one that it is made from.
    wanted.is_none_or(|id| record.session_id == id || record.earlier_ids.contains(&id))
}
