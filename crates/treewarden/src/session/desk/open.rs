//! A desk is opened with whatever an earlier host left under its name.
//!
//! Nothing here may be done to a desk that somebody has already: what is put back comes before all that is queued.

use std::sync::Arc;
use std::time::Duration;

use treewarden_core::session::{Delivery, Failure, FailureKind, OpenTurn, Outcome, Prompt};
use treewarden_proto::{SessionName, TurnId};
use treewarden_store::{SessionRecord, Told, TurnRow, TurnState};

use super::Desk;
use super::rooms::{Entry, Lost, PATIENCE, TurnEntry};
use crate::host::Host;
use crate::session::options::SessionOptions;
use crate::session::start_error::StartError;

impl Desk {
    /// Takes the name, with whatever an earlier host left open under it.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the name is free.
    pub(crate) async fn open(
        host: &Host,
        options: &Arc<SessionOptions>,
        name: SessionName,
    ) -> Result<Arc<Self>, StartError> {
        let store = host.store();
        // What the one that had the name before has in hand comes first: its turns would be run again here.
        if let Some(earlier) = host.find(name.as_str()).filter(|earlier| earlier.is_closed()) {
            // Nobody else can: whoever opens the name anew goes on without what the store refuses.
            earlier.let_go();
            earlier.all_stored(PATIENCE).await.map_err(|error| StartError::in_hand(&name, &error))?;
        }
        let told = store.record(name.clone()).await.map_err(|error| StartError::store(&error))?;
        let (record, lost) = match told {
            Told::Record(record) => (Some(*record), None),
            Told::Never => (None, None),
            // The options say which conversation it goes on with, whatever its record was.
            Told::Lost { .. } if options.spec.resume.is_some() && !options.spec.fork_session => (None, None),
            // To begin it blank would lose a conversation.
            Told::Lost { why, session_id } => {
                let template = host.template_of(&name, session_id).await;
                (None, Some(Lost { why, session_id, template }))
            }
        };
        // A record of another conversation than the options name is left to that one, with its turns.
        let record = record.filter(|record| carries_on(record, options));
        // Those of a record that is lost are put back when that is over: here they could only fail.
        let open = match &record {
            Some(_) => store.open_turns(name.clone()).await.map_err(|error| StartError::store(&error))?,
            None => Vec::new(),
        };
        let desk = Self::new(host.clone(), Arc::clone(options), name, record);
        if let Some(Lost { why, .. }) = &lost {
            tracing::error!(session = %desk.name, why, "the conversation of a session is lost");
        }
        desk.lock().identity.set_lost(lost);
        // Before the name is claimed: from then on callers find the desk, and their turns must not come
        // before those that wait since an earlier host.
        let unreadable: Vec<_> = open.into_iter().filter_map(|row| desk.restore(row)).collect();
        let desk = host.claim(Arc::clone(&desk)).map_err(|holder| StartError::taken(&holder.name))?;
        // Behind the claim: whoever does not hold the name settles none of its turns.
        for (turn, failure) in unreadable {
            tracing::error!(session = %desk.name, %turn, reason = %failure, "a stored turn is not run");
            desk.settle(turn, Outcome::Failed(failure), None);
        }
        Ok(desk)
    }

    /// Puts back a turn that the journal holds open, before anything else is queued; one whose prompt cannot be read comes
    /// back with the failure that is its outcome.
    pub(super) fn restore(&self, row: TurnRow) -> Option<(TurnId, Failure)> {
        let prompt = match serde_json::from_value::<Prompt>(row.prompt) {
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
            // Nobody waits for it; the wall clock is the only one that both hosts have, and one that went back says 0.
            patience: self
                .patience(true, Duration::from_millis(treewarden_store::now().saturating_sub(row.opened_at))),
        };
        let entry = TurnEntry {
            open,
            asked_in: row.session_id,
            bytes: prompt.content().size(),
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
pub(super) fn carries_on(record: &SessionRecord, options: &SessionOptions) -> bool {
    let spec = &options.spec;
    let wanted = if spec.fork_session { spec.session_id } else { spec.resume.or(spec.session_id) };
    // A fork has a new conversation, and `resume` then names the one that it is made from.
    wanted.is_none_or(|id| record.session_id == id || record.earlier_ids.contains(&id))
}
