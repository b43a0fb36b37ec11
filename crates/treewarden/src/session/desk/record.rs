//! What changes in a session's record.
//!
//! A change is one of two kinds. What has happened (the CLI went on to another conversation) is shown at once, and stored as soon as
//! that can be. What is wanted (a template, the folders of a start) is not made unless it is stored, and shown only then. Nothing
//! but the task in `commit.rs` may put a record into the store: two who did that side by side would each lose what the other had
//! changed.

use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::Instant;

use tokio::sync::oneshot;
use treewarden_proto::frame::Spent;
use treewarden_proto::{SessionId, SessionName};
use treewarden_store::{Seen, SessionRecord};

use super::Desk;
use super::commit::told;
use super::rooms::{Done, Edit, Job, NotStored, PATIENCE, Rooms};

/// A change that has happened and is shown, and that is not on its way to the store yet.
#[must_use = "it is not stored unless it is settled or stored"]
pub(crate) struct Change {
    edit: Edit,
    /// The conversation that was left by it.
    left: Option<(PathBuf, SessionId)>,
}

impl Change {
    /// Two changes that are stored as one, in this order.
    pub(crate) fn both(first: Option<Self>, then: Self) -> Self {
        let Some(mut first) = first else { return then };
        let Self { mut edit, left } = then;
        let edit: Edit = Box::new(move |record| {
            let is_news = (first.edit)(record);
            edit(record) || is_news
        });
        Self { edit, left: first.left.or(left) }
    }

    /// For the store.
    pub(super) fn into_job(self) -> Job {
        Job::held(self.edit).releasing(self.left)
    }
}

impl Desk {
    /// Makes a change that has happened, and shows it; `None` if there is nothing to change.
    fn shown(&self, edit: Edit) -> Option<Change> {
        self.show_in(&mut self.lock(), edit)
    }

    fn show_in(&self, rooms: &mut Rooms, mut edit: Edit) -> Option<Change> {
        let mut record = self.record_in(rooms).clone();
        let left = record.config_dir.clone().map(|config_dir| (config_dir, record.session_id));
        if !edit(&mut record) {
            return None;
        }
        let left = left.filter(|(_, id)| record.session_id != *id);
        rooms.identity.show(record);
        Some(Change { edit, left })
    }

    /// Has a change stored that is shown already.
    pub(crate) fn store(&self, change: Change) {
        // In the place of a record that is lost it would be taken for the session's.
        if self.lost().is_none() {
            self.push(change.into_job());
        }
    }

    /// Makes a change that is wanted, once it is stored; `Ok(false)` if there is nothing to change.
    async fn change_record(&self, edit: Edit) -> Result<bool, NotStored> {
        self.change_record_by(edit, Some(Instant::now() + PATIENCE)).await
    }

    async fn change_record_by(&self, edit: Edit, until: Option<Instant>) -> Result<bool, NotStored> {
        // Any record would end the loss, and begin the session blank.
        if let Some(lost) = self.lost() {
            return Err(NotStored(lost.message.into()));
        }
        self.with_record(|_| ());
        self.stored_by(Job::wanted(edit), until).await
    }

    /// Until when a start waits for the store: for as long as the turn may that it is for, and for ten seconds at least. A store
    /// that is locked meanwhile is no reason to fail a turn that could still run in its time.
    pub(crate) fn start_waits_until(&self) -> Option<Instant> {
        let soon = Instant::now() + PATIENCE;
        let rooms = self.lock();
        let first = rooms.queue.first_open().and_then(|turn| rooms.queue.turn(turn));
        let Some(open) = first.map(|entry| &entry.open) else { return Some(soon) };
        let until = open.deadline.or_else(|| open.timeout.map(|timeout| Instant::now() + timeout))?;
        Some(until.max(soon))
    }

    /// Makes the record durable before a CLI is spawned, with all that happened before; it
    /// [waits](Self::start_waits_until) for a store that may take it later.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be stored all the same.
    pub(crate) async fn put_record(&self, cwd: &Path, config_dir: &Path) -> Result<(), NotStored> {
        let (cwd, config_dir) = (Some(cwd.to_owned()), Some(config_dir.to_owned()));
        let put = move |record: &mut SessionRecord| {
            let is_news = record.cwd != cwd || record.config_dir != config_dir;
            record.cwd.clone_from(&cwd);
            record.config_dir.clone_from(&config_dir);
            is_news
        };
        // Where nothing is to change it waits for changes that are on their way: the conversation may have another id now.
        let is_put = self.with_record(|record| !put(&mut record.clone()));
        if is_put && !self.lock().commits.has_edits() {
            return Ok(());
        }
        self.change_record_by(Box::new(put), self.start_waits_until()).await.map(drop)
    }

    /// Makes the record durable as it is, unless some record of the session is.
    pub(super) async fn see_that_it_is_recorded(&self) -> Result<(), NotStored> {
        if !self.lock().identity.is_recorded() && self.lost().is_none() {
            self.change_record(Box::new(|_| true)).await?;
        }
        Ok(())
    }

    /// Follows the conversation to another id; `None` if it is the same, or one that was left behind.
    ///
    /// A CLI that was given a new conversation may name the old one once more (seen with 2.1.330).
    pub(crate) fn follow(&self, id: SessionId) -> Option<Change> {
        // Each turn of a CLI names the conversation, and it is hardly ever another one: this look spares the copies.
        if !self.with_record(|record| is_new(record, id)) {
            return None;
        }
        self.follow_in(&mut self.lock(), id)
    }

    fn follow_in(&self, rooms: &mut Rooms, id: SessionId) -> Option<Change> {
        // The file of the conversation that is left would otherwise be looked for under the new id.
        rooms.identity.set_first_name(None);
        let follow = Box::new(move |record: &mut SessionRecord| {
            let is_news = is_new(record, id);
            if is_news {
                record.follow(id);
            }
            is_news
        });
        self.show_in(rooms, follow)
    }

    /// Gives the session a new conversation; `done` is told when the next host would know of it.
    pub(crate) fn new_conversation(&self, done: Option<Done>) -> SessionId {
        self.new_conversation_in(self.lock(), done)
    }

    /// The same under a lock that is held: no turn comes in between.
    pub(super) fn new_conversation_in(
        &self,
        mut rooms: MutexGuard<'_, Rooms>,
        done: Option<Done>,
    ) -> SessionId {
        // What is lost is given up from here on.
        rooms.identity.set_lost(None);
        let id = rooms.next.new_id();
        let job = self.follow_in(&mut rooms, id).map_or_else(Job::default, Change::into_job);
        let starts = rooms.commits.push(match done {
            Some(done) => job.telling(done, Some(Instant::now() + PATIENCE)),
            None => job,
        });
        drop(rooms);
        self.see_to(starts);
        id
    }

    /// Notes with which message the conversation begins: a transcript without it is never taken for a new one.
    pub(crate) fn note_first(&self, id: SessionId, first: String) {
        let is_news = move |record: &SessionRecord, first: &String| {
            record.session_id == id && record.first_message() != Some(first)
        };
        // The record is looked at twice. The first look copies nothing, since most looks find nothing new.
        if self.with_record(|record| is_news(record, &first)) {
            let note = move |record: &mut SessionRecord| {
                let is_news = is_news(record, &first);
                if is_news {
                    record.seen = Some(Seen { session_id: id, first: first.clone() });
                }
                is_news
            };
            if let Some(change) = self.shown(Box::new(note)) {
                self.store(change);
            }
        }
    }

    /// Counts what a CLI of the session has spent; `None` if that was nothing and is known to have been.
    ///
    /// The sum is made once: made again on a record that has it in it already, as one may whose commit was not answered, it would
    /// count twice.
    pub(crate) fn note_spent(&self, spent: Spent) -> Option<Change> {
        let mut sum = None;
        self.shown(Box::new(move |record: &mut SessionRecord| {
            let sum = *sum.get_or_insert_with(|| record.spent.unwrap_or_default() + spent);
            record.spent.replace(sum) != Some(sum)
        }))
    }

    /// Notes durably of which template the session was made, or that it is of none any more; either way it is not stopped.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be noted all the same.
    pub(super) async fn set_template(&self, template: Option<SessionName>) -> Result<(), NotStored> {
        let set = move |record: &mut SessionRecord| {
            record.template.clone_from(&template);
            record.stopped = false;
            true
        };
        self.change_record(Box::new(set)).await.map(drop)
    }

    /// Notes durably that the session is of no template any more, and leaves it stopped if it is; without a record there is
    /// nothing to note.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be noted all the same.
    pub(crate) async fn leave_template(&self) -> Result<(), NotStored> {
        let leave = |record: &mut SessionRecord| record.template.take().is_some();
        self.change_record(Box::new(leave)).await.map(drop)
    }

    /// Notes durably whether the session is meant to be stopped; returns why that could not be stored. It holds until the host
    /// ends all the same.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it is noted all the same.
    pub(crate) async fn set_stopped(&self, stopped: bool) -> Option<String> {
        if self.is_stopped() == stopped {
            // A session that has no record yet is given one by its first need of an id, which a CLI that is started ahead may
            // have by then.
            return None;
        }
        let set =
            move |record: &mut SessionRecord| std::mem::replace(&mut record.stopped, stopped) != stopped;
        let change = self.shown(Box::new(set))?;
        if let Some(lost) = self.lost() {
            return Some(lost.message);
        }
        let (done, wait) = oneshot::channel();
        self.push(change.into_job().telling(done, Some(Instant::now() + PATIENCE)));
        match told(wait).await {
            // A database that was removed takes what is written without a word, into a file that nobody will
            // find.
            Ok(_) => self.host.removed(),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Tells whether the session never had the conversation of this id.
fn is_new(record: &SessionRecord, id: SessionId) -> bool {
    record.session_id != id && !record.earlier_ids.contains(&id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use treewarden_proto::spec::SessionSpec;
    use treewarden_store::Told;

    use super::*;
    use crate::host::Host;
    use crate::session::options::SessionOptions;

    /// So many changes does each of two make.
    const CHANGES: u64 = 100;

    async fn desk(dir: &Path) -> Arc<Desk> {
        let host = Host::options().state_dir(dir.join("state")).open().expect("a host can be opened");
        let options = Arc::new(SessionOptions::from(SessionSpec::new()));
        Desk::open(&host, &options, name()).await.expect("nobody has the name")
    }

    fn name() -> SessionName {
        SessionName::new("a").expect("a name")
    }

    async fn stored(desk: &Desk) -> SessionRecord {
        match desk.host.store().record(name()).await.expect("the store can be read") {
            Told::Record(record) => *record,
            told => panic!("it has a record: {told:?}"),
        }
    }

    fn count(record: &SessionRecord) -> u64 {
        record.extra.get("count").and_then(serde_json::Value::as_u64).unwrap_or_default()
    }

    #[tokio::test]
    async fn changes_of_two_who_meet_are_all_shown_and_stored() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path()).await;
        let change = || async {
            for _ in 0..CHANGES {
                let add = |record: &mut SessionRecord| {
                    let count = count(record) + 1;
                    record.extra.insert("count".to_owned(), count.into());
                    true
                };
                assert!(desk.change_record(Box::new(add)).await.expect("it can be stored"));
            }
        };
        tokio::join!(change(), change());
        assert_eq!(count(&desk.record()), 2 * CHANGES);
        assert_eq!(count(&stored(&desk).await), 2 * CHANGES);
    }

    #[tokio::test]
    async fn a_start_and_a_stop_that_meet_lose_nothing_of_each_other() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path()).await;
        for round in 0..CHANGES {
            let cwd = dir.path().join(round.to_string());
            let stopped = round % 2 == 0;
            let (put, unnoted) = tokio::join!(desk.put_record(&cwd, &cwd), desk.set_stopped(stopped));
            put.expect("it can be stored");
            assert_eq!(unnoted, None);
            for record in [desk.record(), stored(&desk).await] {
                assert_eq!((record.cwd.as_ref(), record.stopped), (Some(&cwd), stopped));
            }
        }
    }

    #[tokio::test]
    async fn what_is_wanted_is_shown_to_nobody_before_it_is_stored_and_what_has_happened_at_once() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path()).await;
        let cwd = dir.path().to_owned();
        let mut putting = Box::pin(desk.put_record(&cwd, &cwd));
        assert!(futures_util::poll!(&mut putting).is_pending());
        assert_eq!(desk.record().cwd, None, "and whoever reads the record does not wait for it");
        putting.await.expect("it can be stored");
        assert_eq!(desk.record().cwd.as_ref(), Some(&cwd));
        let next = desk.new_conversation(None);
        assert_eq!(desk.session_id(), next);
        desk.all_stored(PATIENCE).await.expect("it can be stored");
        assert_eq!(stored(&desk).await.session_id, next);
    }

    #[tokio::test]
    async fn a_conversation_that_was_left_is_not_followed_to_again() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path()).await;
        let (first, second) = (desk.session_id(), SessionId::random());
        desk.store(desk.follow(second).expect("it is another"));
        assert!(desk.follow(second).is_none(), "it has it");
        assert!(desk.follow(first).is_none(), "it had it");
        let third = desk.new_conversation(None);
        desk.all_stored(PATIENCE).await.expect("it can be stored");
        assert_eq!(stored(&desk).await.session_id, third);
        assert_eq!(stored(&desk).await.earlier_ids, [first, second]);
    }

    #[tokio::test]
    async fn what_was_spent_is_counted_once_however_often_it_is_stored() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path()).await;
        let before = desk.record();
        let mut spent = Spent::default();
        (spent.cost_usd, spent.usage.output_tokens) = (0.25, 5);
        let mut first = desk.note_spent(spent).expect("it is news");
        assert_eq!(desk.status().cost_usd, Some(0.25), "it is shown at once");
        // As when the store's answer was lost: the record that is read anew may have it in it, or not.
        let (mut stored_already, mut unstored) = (desk.record(), before);
        assert!(!(first.edit)(&mut stored_already) && (first.edit)(&mut unstored));
        assert_eq!((stored_already.spent, unstored.spent), (Some(spent), Some(spent)));
        let next = SessionId::random();
        let both = Change::both(desk.follow(next), desk.note_spent(spent).expect("it is news"));
        desk.store(first);
        desk.store(both);
        desk.all_stored(PATIENCE).await.expect("it can be stored");
        let record = stored(&desk).await;
        assert_eq!((record.session_id, record.spent), (next, Some(spent + spent)), "over conversations");
        assert!(desk.note_spent(Spent::default()).is_none(), "nothing was spent");
    }

    #[tokio::test]
    async fn a_session_that_leaves_its_template_keeps_all_else_of_its_record() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path()).await;
        desk.set_template(Some(name())).await.expect("it can be stored");
        assert_eq!(desk.set_stopped(true).await, None);
        let before = stored(&desk).await;
        desk.leave_template().await.expect("it can be stored");
        for record in [desk.record(), stored(&desk).await] {
            assert_eq!((record.template, record.stopped, record.session_id), (None, true, before.session_id));
        }
    }

    #[tokio::test]
    async fn a_session_that_nobody_asked_for_anything_has_no_record() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let desk = desk(dir.path()).await;
        assert_eq!(desk.set_stopped(false).await, None);
        assert_eq!(desk.status().session_id, None);
    }
}
