//! What changes in a session's record, and the one place that does it.
//!
//! Nothing but [`Desk::write_record`] may put a record into the store or show one: two who did that side by side would each lose
//! what the other had changed.

use std::path::Path;
use std::sync::PoisonError;

use treewarden_proto::{SessionId, SessionName};
use treewarden_store::{Seen, SessionRecord, StoreError};

use super::Desk;

/// What becomes of a change that cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unstored {
    /// It holds until the host ends: what it says has happened.
    Holds,
    /// It was not made, and whoever wanted it is told.
    IsDropped,
}

impl Desk {
    /// Changes the record, stores it, and only then shows it; `false` if `change` says that there is nothing to change.
    ///
    /// Those who change it go one after the other, from their look at the record to the moment when others see theirs:
    /// otherwise the later of two would store and show a record without what the earlier changed. Those who read it do not
    /// wait for the store.
    fn write_record(
        &self,
        unstored: Unstored,
        change: impl FnOnce(&mut SessionRecord) -> bool,
    ) -> Result<bool, StoreError> {
        // `writers` first. The desk's lock is taken under it for moments only, and is free while the store
        // writes: whoever held it here would keep every caller of the session waiting for the disk.
        let _order = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.record();
        if !change(&mut record) {
            return Ok(false);
        }
        let stored = self.host.store().put(&record);
        let mut rooms = self.lock();
        if stored.is_ok() {
            rooms.identity.note_recorded();
        }
        if stored.is_ok() || unstored == Unstored::Holds {
            rooms.identity.show(record);
        }
        stored.map(|()| true)
    }

    /// Makes the record durable before a CLI is spawned, unless it is: only this sets the two folders.
    pub(crate) fn put_record(&self, cwd: &Path, config_dir: &Path) -> Result<(), StoreError> {
        let put = |record: &mut SessionRecord| {
            if record.cwd.as_deref() == Some(cwd) && record.config_dir.as_deref() == Some(config_dir) {
                return false;
            }
            record.cwd = Some(cwd.to_owned());
            record.config_dir = Some(config_dir.to_owned());
            true
        };
        self.write_record(Unstored::IsDropped, put).map(|_| ())
    }

    /// Makes the record durable as it is, unless some record of the session is.
    pub(super) fn see_that_it_is_recorded(&self) -> Result<(), StoreError> {
        if !self.lock().identity.is_recorded() {
            self.write_record(Unstored::IsDropped, |_| true)?;
        }
        Ok(())
    }

    /// Changes the record, if `change` says that it did; a failure to store that is said and returned, and does not stop the
    /// session.
    pub(super) fn change_record(&self, change: impl FnOnce(&mut SessionRecord) -> bool) -> Option<String> {
        let error = match self.write_record(Unstored::Holds, change) {
            Ok(false) => return None,
            // A database that was removed takes what is written without a word, into a file that nobody will
            // find.
            Ok(true) => self.host.removed()?,
            Err(error) => error.to_string(),
        };
        tracing::error!(session = %self.name, error, "failed to store the record of a session");
        Some(error)
    }

    /// Follows the conversation to another id; `false` if it is the same, or one that was left behind.
    ///
    /// A CLI that was given a new conversation may name the old one once more (seen with 2.1.330).
    pub(crate) fn follow(&self, id: SessionId) -> bool {
        // Each turn of a CLI names the conversation, and it is hardly ever another one: this look spares most
        // of them the wait for those who write the record.
        self.with_record(|record| is_new(record, id)) && self.leave_conversation(id)
    }

    /// Gives the session a new conversation.
    pub(crate) fn new_conversation(&self) -> SessionId {
        let id = self.lock().next.new_id();
        self.leave_conversation(id);
        id
    }

    /// Goes on to another conversation, unless the session had it before. The one that is left is kept no longer than the CLI
    /// keeps it.
    fn leave_conversation(&self, to: SessionId) -> bool {
        // Before the id changes: the file of the conversation that is left would otherwise be looked for
        // under the new id.
        self.note_first_name(None);
        let mut left = None;
        // What could not be stored was said by `change_record`. The session goes on with the new conversation
        // all the same.
        let _said = self.change_record(|record| {
            if !is_new(record, to) {
                return false;
            }
            left = Some((record.config_dir.clone(), record.session_id));
            record.follow(to);
            true
        });
        // Only when the record names the other one: until then a start would carry on what is left here, and
        // a CLI's clean-up may take it once its second name is gone.
        if let Some((Some(config_dir), left)) = &left {
            self.release_transcript(config_dir.clone(), *left);
        }
        left.is_some()
    }

    /// Notes that a CLI may have something under the id from here on, and that it is this session's.
    pub(super) fn note_persisted(&self) {
        let _said = self.change_record(|record| !std::mem::replace(&mut record.persisted, true));
    }

    /// Notes with which message the conversation begins, durably: a transcript without it is never taken for a new one.
    pub(crate) fn note_first(&self, id: SessionId, first: String) {
        let is_news =
            |record: &SessionRecord| record.session_id == id && record.first_message() != Some(&first);
        // The record is looked at twice. The first look takes no turn among the writers, since most looks
        // find nothing new; the second one does, since the conversation may be another one by then.
        if self.with_record(is_news) {
            let _said = self.change_record(|record| {
                let is_news = is_news(record);
                if is_news {
                    record.seen = Some(Seen { session_id: id, first: first.clone() });
                }
                is_news
            });
        }
    }

    /// Notes durably of which template the session was made, or that it is of none any more; either way it is not stopped.
    pub(super) fn set_template(&self, template: Option<SessionName>) -> Result<(), StoreError> {
        let set = |record: &mut SessionRecord| {
            record.template = template;
            record.stopped = false;
            true
        };
        self.write_record(Unstored::IsDropped, set).map(|_| ())
    }

    /// Notes durably that the session is of no template any more, and leaves it stopped if it is.
    pub(crate) fn leave_template(&self) -> Result<(), StoreError> {
        let leave = |record: &mut SessionRecord| record.template.take().is_some();
        if self.lock().identity.is_recorded() {
            return self.write_record(Unstored::IsDropped, leave).map(drop);
        }
        // The store may have a record of another conversation than the options name, which stays as it is but for that.
        let _order = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut record) = self.host.store().record(&self.name)? else { return Ok(()) };
        if leave(&mut record) {
            self.host.store().put(&record)?;
        }
        Ok(())
    }

    /// Notes durably whether the session is meant to be stopped; returns why that could not be stored.
    pub(crate) fn set_stopped(&self, stopped: bool) -> Option<String> {
        if self.is_stopped() == stopped {
            // A session that has no record yet is given one by its first need of an id, which a CLI that is started ahead may
            // have by then.
            return None;
        }
        self.change_record(|record| std::mem::replace(&mut record.stopped, stopped) != stopped)
    }
}

/// Tells whether the session never had the conversation of this id.
fn is_new(record: &SessionRecord, id: SessionId) -> bool {
    record.session_id != id && !record.earlier_ids.contains(&id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use treewarden_proto::spec::SessionSpec;

    use super::*;
    use crate::host::Host;
    use crate::session::options::SessionOptions;

    /// So many changes does each of two make.
    const CHANGES: u64 = 100;

    fn desk(dir: &Path) -> Arc<Desk> {
        let host = Host::options().state_dir(dir.join("state")).open().expect("a host can be opened");
        let options = Arc::new(SessionOptions::from(SessionSpec::new()));
        Desk::open(&host, &options, name()).expect("nobody has the name")
    }

    fn name() -> SessionName {
        SessionName::new("a").expect("a name")
    }

    fn stored(desk: &Desk) -> SessionRecord {
        desk.host.store().record(&name()).expect("the store can be read").expect("it has the record")
    }

    fn count(record: &SessionRecord) -> u64 {
        record.extra.get("count").and_then(serde_json::Value::as_u64).unwrap_or_default()
    }

    #[test]
    fn changes_of_two_who_meet_are_all_shown_and_stored() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path());
        let change = || {
            for _ in 0..CHANGES {
                let failed = desk.change_record(|record| {
                    let count = count(record) + 1;
                    // Whoever may come between the look and the change does.
                    thread::yield_now();
                    record.extra.insert("count".to_owned(), count.into());
                    true
                });
                assert_eq!(failed, None);
            }
        };
        thread::scope(|scope| {
            scope.spawn(change);
            scope.spawn(change);
        });
        assert_eq!(count(&desk.record()), 2 * CHANGES);
        assert_eq!(count(&stored(&desk)), 2 * CHANGES);
    }

    #[test]
    fn a_start_and_a_stop_that_meet_lose_nothing_of_each_other() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path());
        for round in 0..CHANGES {
            let cwd = dir.path().join(round.to_string());
            let stopped = round % 2 == 0;
            thread::scope(|scope| {
                scope.spawn(|| desk.put_record(&cwd, &cwd).expect("it can be stored"));
                scope.spawn(|| assert_eq!(desk.set_stopped(stopped), None));
            });
            for record in [desk.record(), stored(&desk)] {
                assert_eq!((record.cwd.as_ref(), record.stopped), (Some(&cwd), stopped));
            }
        }
    }

    #[test]
    fn what_a_change_says_is_shown_to_nobody_before_it_is_stored() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path());
        let failed = desk.change_record(|record| {
            record.stopped = true;
            assert!(!desk.is_stopped(), "and whoever reads the record does not wait for it");
            true
        });
        assert_eq!(failed, None);
        assert!(desk.is_stopped() && stored(&desk).stopped);
    }

    #[test]
    fn a_conversation_that_was_left_is_not_followed_to_again() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path());
        let (first, second) = (desk.session_id(), SessionId::random());
        assert!(desk.follow(second));
        assert!(!desk.follow(second), "it has it");
        assert!(!desk.follow(first), "it had it");
        let third = desk.new_conversation();
        assert_eq!(stored(&desk).session_id, third);
        assert_eq!(stored(&desk).earlier_ids, [first, second]);
    }

    #[test]
    fn a_session_that_leaves_its_template_keeps_all_else_of_its_record() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path());
        desk.leave_template().expect("it is of none");
        assert_eq!(desk.status().session_id, None, "it makes no record");
        desk.set_template(Some(name())).expect("it can be stored");
        assert_eq!(desk.set_stopped(true), None);
        let before = stored(&desk);
        desk.leave_template().expect("it can be stored");
        for record in [desk.record(), stored(&desk)] {
            assert_eq!((record.template, record.stopped, record.session_id), (None, true, before.session_id));
        }
    }

    #[test]
    fn a_record_of_another_conversation_than_is_named_leaves_its_template_and_is_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let first = desk(dir.path());
        first.set_template(Some(name())).expect("it can be stored");
        let (host, before) = (first.host.clone(), stored(&first));
        host.disclaim(&first);
        let options = SessionOptions::from(SessionSpec::new().resume(SessionId::random()));
        let second = Desk::open(&host, &Arc::new(options), name()).expect("nobody has the name");
        second.leave_template().expect("it can be stored");
        assert_eq!((stored(&second).template, stored(&second).session_id), (None, before.session_id));
    }

    #[test]
    fn a_session_that_nobody_asked_for_anything_has_no_record() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path());
        assert_eq!(desk.set_stopped(false), None);
        assert_eq!(desk.status().session_id, None);
    }
}
