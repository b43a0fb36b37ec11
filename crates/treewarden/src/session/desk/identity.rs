//! Whose conversation the desk serves: its record, its journal, its transcript.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use treewarden_core::session::{Delivery, OpenTurn};
use treewarden_proto::frame::Content;
use treewarden_proto::spec::PermissionMode;
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{SessionRecord, Settled as Stored, StoreError, TurnRow, TurnState};

use super::{Desk, Entry, Inner, TurnEntry};
use crate::host::Host;
use crate::session::handle::StartError;
use crate::session::options::SessionOptions;
use crate::session::outcome::{Outcome, OutcomeRecord};
use crate::warm::Want;
use treewarden_proto::SessionName;

impl Desk {
    /// Takes the name, with whatever an earlier host left open under it.
    pub(crate) fn open(
        host: &Host,
        options: &Arc<SessionOptions>,
        name: SessionName,
    ) -> Result<Arc<Self>, StartError> {
        let store = host.store();
        let record = store.record(&name).map_err(|error| StartError::store(&error))?;
        let record = record.filter(|record| carries_on(record, options));
        let open = match &record {
            Some(_) => store.open_turns(&name).map_err(|error| StartError::store(&error))?,
            None => Vec::new(),
        };
        let desk = Arc::new(Self::new(host.clone(), Arc::clone(options), name, record));
        for row in open {
            desk.restore(row);
        }
        host.claim(Arc::clone(&desk)).map_err(|holder| StartError::taken(&holder.name))
    }

    /// Puts back a turn that the journal holds open, before anything else is queued.
    fn restore(&self, row: TurnRow) {
        let delivery = if row.at_most_once { Delivery::AtMostOnce } else { Delivery::ExactlyOnce };
        let first = self.lock().entries.is_empty();
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
            prompt: Arc::new(content(row.prompt)),
            interruptions: row.interruptions,
            in_flight: false,
            restored: true,
            sinks: Vec::new(),
        };
        self.lock().entries.push_back(Entry::Turn(Box::new(entry)));
    }

    /// Reads the session's record; the first call makes it.
    pub(super) fn with_record<T>(&self, read: impl FnOnce(&SessionRecord) -> T) -> T {
        let mut inner = self.lock();
        let Inner { record, want, .. } = &mut *inner;
        read(record.get_or_insert_with(|| {
            let spec = &self.options().spec;
            let carried = spec.resume.filter(|_| !spec.fork_session);
            let given = carried.or(spec.session_id);
            let id = given.unwrap_or_else(|| new_id(want.as_deref_mut().filter(|_| spec.resume.is_none())));
            Box::new(SessionRecord::new(self.name.clone(), id))
        }))
    }

    /// A copy of the session's record.
    pub(crate) fn record(&self) -> SessionRecord {
        self.with_record(SessionRecord::clone)
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.with_record(|record| record.session_id)
    }

    /// Makes the record durable before a CLI is spawned, unless it is: only this sets the two folders.
    pub(crate) fn put_record(&self, cwd: &Path, config_dir: &Path) -> Result<(), StoreError> {
        let mut record = self.record();
        if record.cwd.as_deref() == Some(cwd) && record.config_dir.as_deref() == Some(config_dir) {
            return Ok(());
        }
        record.cwd = Some(cwd.to_owned());
        record.config_dir = Some(config_dir.to_owned());
        self.host.store().put(&record)?;
        let mut inner = self.lock();
        (inner.record, inner.recorded) = (Some(Box::new(record)), true);
        Ok(())
    }

    /// Makes the record durable as it is, unless some record of the session is.
    fn see_that_it_is_recorded(&self) -> Result<(), StoreError> {
        while !self.lock().recorded {
            let record = self.record();
            self.host.store().put(&record)?;
            // A start may have stored another one meanwhile, which this one would have replaced.
            let mut inner = self.lock();
            inner.recorded = inner.record.as_deref() == Some(&record);
        }
        Ok(())
    }

    /// Stores a change of the record; a failure is said and returned, and does not stop the session.
    pub(super) fn change_record(&self, change: impl FnOnce(&mut SessionRecord)) -> Option<String> {
        let mut record = self.record();
        change(&mut record);
        let stored = self.host.store().put(&record);
        self.lock().record = Some(Box::new(record));
        let error = stored.err().map(|error| error.to_string()).or_else(|| self.host.removed())?;
        tracing::error!(session = %self.name, error, "failed to store the record of a session");
        Some(error)
    }

    /// Follows the conversation to another id; `false` if it is the same, or one that was left behind.
    ///
    /// A CLI that was given a new conversation may name the old one once more (seen with 2.1.330).
    pub(crate) fn follow(&self, id: SessionId) -> bool {
        if self.with_record(|record| record.session_id == id || record.earlier_ids.contains(&id)) {
            return false;
        }
        self.leave_conversation(id);
        true
    }

    /// Gives the session a new conversation.
    pub(crate) fn new_conversation(&self) -> SessionId {
        let id = new_id(self.lock().want.as_deref_mut());
        self.leave_conversation(id);
        id
    }

    /// Notes durably whether the session is meant to be stopped; returns why that could not be stored.
    pub(crate) fn set_stopped(&self, stopped: bool) -> Option<String> {
        if self.is_stopped() == stopped {
            return None;
        }
        self.change_record(|record| record.stopped = stopped)
    }

    /// The session is meant to be stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().record.as_ref().is_some_and(|record| record.stopped)
    }

    /// The model and permission mode that were chosen at run time.
    pub(crate) fn overrides(&self) -> (Option<String>, Option<PermissionMode>) {
        let record = self.record();
        let mode = record.permission_mode.and_then(|mode| serde_json::from_value(mode.into()).ok());
        (record.model, mode)
    }

    /// The id was chosen by us and not by the spec, or was used by us before, so that whatever the CLI has under it is
    /// ours.
    pub(crate) fn owns_id(&self) -> bool {
        let spec = &self.options().spec;
        let (id, persisted) = self.with_record(|record| (Some(record.session_id), record.persisted));
        persisted || (spec.session_id != id && spec.resume != id)
    }

    /// The conversation is carried on from elsewhere, so that it must be on disk.
    pub(crate) fn must_exist(&self) -> bool {
        let spec = &self.options().spec;
        !spec.fork_session && spec.resume == Some(self.session_id())
    }

    /// The conversation to copy, if this session is a fork that nothing is on disk of yet, and was never cleared.
    pub(crate) fn fork_from(&self) -> Option<SessionId> {
        let spec = &self.options().spec;
        let (id, first) = self.with_record(|record| (record.session_id, record.earlier_ids.is_empty()));
        spec.resume.filter(|from| first && spec.fork_session && *from != id)
    }

    /// Makes a new turn durable.
    pub(crate) async fn open_turn(&self, turn: TurnId, prompt: &Content) -> Result<(), StoreError> {
        if !self.host.store().keeps_turns() {
            return Ok(());
        }
        let at_most_once = self.options().delivery == Delivery::AtMostOnce;
        let prompt = serde_json::to_value(prompt).unwrap_or_default();
        let row = TurnRow::new(turn, self.name.clone(), self.session_id(), prompt, at_most_once);
        // The next host looks for open turns under the names that have a record; a first turn may wait long for a CLI.
        self.see_that_it_is_recorded()?;
        let mut unopened = Unopened { desk: self, turn, given_up: true };
        let opened = self.host.store().open_turn_durable(&row).await;
        unopened.given_up = false;
        opened
    }

    fn asked_in(&self, turn: TurnId) -> Option<SessionId> {
        self.lock().turn_mut(turn).map(|entry| entry.asked_in)
    }

    /// Stores an outcome, and returns the one that counts: a turn has one outcome, and the first one stands.
    pub(super) fn store_outcome(&self, turn: TurnId, outcome: Outcome) -> Outcome {
        // A turn that waited behind a clear was asked in the conversation before it.
        let answered_in = outcome.answer().map(|answer| answer.session_id);
        let answered_in = answered_in.filter(|id| self.asked_in(turn) != Some(*id));
        let stored = self.host.store().settle_json(turn, answered_in, || outcome.to_json());
        match stored {
            Ok(Stored::Now) => {
                self.note_completed(turn, &outcome);
                outcome
            }
            Ok(Stored::Already(first)) => {
                self.forget_completed();
                match serde_json::from_str::<OutcomeRecord>(first.get()) {
                    Ok(first) => first.into_outcome(turn, self.session_id()),
                    Err(_) => outcome,
                }
            }
            Err(error) => {
                // The caller still gets it; after a crash of the host the turn is asked for again under the same id.
                tracing::error!(session = %self.name, %turn, %error, "failed to store the outcome of a turn");
                outcome
            }
        }
    }

    /// Counts a crash against the turns that it interrupted, and says which.
    pub(crate) fn interrupted(&self) -> Vec<(TurnId, u32)> {
        let mut hit = Vec::new();
        for entry in &mut self.lock().entries {
            if let Entry::Turn(entry) = entry
                && std::mem::take(&mut entry.in_flight)
            {
                entry.interruptions += 1;
                let interruptions = entry.interruptions;
                for sink in &entry.sinks {
                    sink.resumed(interruptions);
                }
                hit.push((entry.open.turn, interruptions));
            }
        }
        for (turn, _) in &hit {
            if let Err(error) = self.host.store().mark_interrupted(*turn) {
                tracing::warn!(session = %self.name, %turn, %error, "failed to count an interruption");
            }
        }
        hit
    }

    /// Notes that the CLI carries the turn on by itself: if it dies now, it dies under that turn.
    pub(crate) fn carried_on(&self, turn: TurnId) {
        if let Some(entry) = self.lock().turn_mut(turn)
            && !std::mem::replace(&mut entry.in_flight, true)
        {
            // Otherwise a turn that kills every CLI before it is sent to one would have attempts without end.
            entry.open.attempts += 1;
        }
    }

    /// Notes that a turn is being written to a CLI, and returns its prompt.
    pub(crate) fn sent(&self, turn: TurnId, deadline: Option<Instant>) -> Option<Arc<Content>> {
        let mut inner = self.lock();
        let entry = inner.turn_mut(turn)?;
        if !std::mem::replace(&mut entry.in_flight, true) {
            entry.open.attempts += 1;
        }
        entry.open.deadline = deadline;
        let prompt = Arc::clone(&entry.prompt);
        let at_most_once = entry.open.delivery == Delivery::AtMostOnce;
        let first = inner.record.as_ref().is_some_and(|record| !record.persisted);
        drop(inner);
        if first {
            // From here on the CLI may have something under the id, and it is this session's.
            let _said = self.change_record(|record| record.persisted = true);
        }
        if at_most_once && let Err(error) = self.host.store().mark_sent(turn) {
            tracing::warn!(session = %self.name, %turn, %error, "failed to note that a turn is sent");
        }
        Some(prompt)
    }
}

/// The id for a new conversation: that of a CLI that waits for one, or any.
fn new_id(want: Option<&mut Want>) -> SessionId {
    want.and_then(Want::promise).unwrap_or_else(SessionId::random)
}

/// A turn on its way to the journal: if its caller gives up meanwhile, it must not run at the next start.
struct Unopened<'a> {
    desk: &'a Desk,
    turn: TurnId,
    given_up: bool,
}

impl Drop for Unopened<'_> {
    fn drop(&mut self) {
        if !self.given_up {
            return;
        }
        let (store, turn) = (self.desk.host.store().clone(), self.turn);
        // The writer takes its jobs in order, so that this one comes after the row.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let cancelled =
                    store.settle_durable(turn, &OutcomeRecord::without_frame(&Outcome::Cancelled)).await;
                if let Err(error) = cancelled {
                    tracing::debug!(%turn, %error, "a turn that was given up was not stored");
                }
            });
        }
    }
}

/// Tells whether the record belongs to what the options ask for: the name wins, unless they name another conversation.
fn carries_on(record: &SessionRecord, options: &SessionOptions) -> bool {
    let spec = &options.spec;
    let wanted = if spec.fork_session { spec.session_id } else { spec.resume.or(spec.session_id) };
    wanted.is_none_or(|id| record.session_id == id || record.earlier_ids.contains(&id))
}

fn content(prompt: serde_json::Value) -> Content {
    serde_json::from_value(prompt).unwrap_or_else(|_| Content::Text(String::new()))
}
