//! Whose conversation the session has: its record, what of it must be in the transcript, where that lies, and the lease on it.
//!
//! It is what is known in memory. It must never decide what becomes of a record: `Desk::write_record` does, which stores a
//! change before it is shown here.

use std::path::{Path, PathBuf};

use treewarden_proto::{SessionId, SessionName};
use treewarden_store::{LeaseWatch, SessionRecord};
use treewarden_transcript::Settled;

/// How many turns that the CLI wrote nowhere are remembered behind the last one that it wrote.
const MOST: usize = 64;

/// The record of the session is gone; see [`Told::Lost`](treewarden_store::Told::Lost).
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    /// What happened to it.
    pub(crate) why: String,
    /// The conversation that it is known to have had.
    pub(crate) session_id: Option<SessionId>,
    /// The template of which it was made, as far as that is known: its next record has it.
    pub(crate) template: Option<SessionName>,
}

/// Whose conversation the session has; see the [module](self).
#[derive(Debug)]
pub(crate) struct Identity {
    record: Option<Box<SessionRecord>>,
    /// It had a record, which is gone: nothing is stored in its place before somebody asks for a new conversation.
    lost: Option<Lost>,
    /// The store has a record of the session, this one or one before it.
    recorded: bool,
    /// The last turns that came to an answer in this conversation, newest first, as far as they are known without a look at
    /// the journal: they were settled here, under the lease that is held still.
    completed: Option<(SessionId, Vec<Settled>)>,
    /// Where the CLI's file of the conversation lies.
    first_name: Option<PathBuf>,
    /// It was told that this is another file than what was kept of the conversation.
    told_another: bool,
    /// A look at the lease of the CLI of the moment, or of the last one.
    lease: Option<LeaseWatch>,
}

impl Identity {
    /// What an earlier host left, if it left anything.
    pub(crate) fn new(record: Option<SessionRecord>) -> Self {
        Self {
            recorded: record.is_some(),
            record: record.map(Box::new),
            lost: None,
            completed: None,
            first_name: None,
            told_another: false,
            lease: None,
        }
    }

    pub(crate) fn record(&self) -> Option<&SessionRecord> {
        self.record.as_deref()
    }

    /// The record; the first call makes it.
    pub(crate) fn record_or(&mut self, make: impl FnOnce() -> SessionRecord) -> &SessionRecord {
        self.record.get_or_insert_with(|| Box::new(make()))
    }

    /// Shows a record to whoever reads it from now on.
    pub(crate) fn show(&mut self, record: SessionRecord) {
        self.record = Some(Box::new(record));
    }

    pub(crate) fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    pub(crate) fn set_lost(&mut self, lost: Option<Lost>) {
        self.lost = lost;
    }

    /// Has a session whose record is lost be one of a template from the end of that on; `false` if its record is not lost.
    pub(crate) fn join(&mut self, template: &SessionName) -> bool {
        let Some(lost) = &mut self.lost else { return false };
        lost.template = Some(template.clone());
        if let Some(record) = &mut self.record {
            record.template = Some(template.clone());
        }
        true
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// The store has a record of the session from now on.
    pub(crate) fn note_recorded(&mut self) {
        self.recorded = true;
    }

    /// The last turns of this conversation that came to an answer, if the journal need not be asked for them.
    pub(crate) fn completed(&self, id: SessionId) -> Option<&[Settled]> {
        self.completed.as_ref().filter(|(conversation, _)| *conversation == id).map(|(_, turns)| &**turns)
    }

    /// Remembers a turn that the journal holds as completed in this conversation.
    pub(crate) fn note_completed(&mut self, id: SessionId, turn: Settled) {
        let completed = &mut self.completed;
        match completed {
            // The newest turn that was written bounds what has to be there: what is older lies behind it in
            // the same file.
            _ if turn.written => *completed = Some((id, vec![turn])),
            Some((conversation, turns)) if *conversation == id && turns.len() < MOST => turns.insert(0, turn),
            // Too many, or another conversation's: what is forgotten here the journal still knows, and a list
            // with a gap would demand too little.
            _ => *completed = None,
        }
    }

    /// Another may have had the conversation, so that the journal has to be asked.
    pub(crate) fn forget_completed(&mut self) {
        self.completed = None;
    }

    /// Where the CLI's file lies, as far as it is known.
    pub(crate) fn first_name(&self) -> Option<&Path> {
        self.first_name.as_deref()
    }

    pub(crate) fn set_first_name(&mut self, path: Option<PathBuf>) {
        // A file under another name was not told of yet.
        (self.first_name, self.told_another) = (path, false);
    }

    pub(crate) fn told_another(&self) -> bool {
        self.told_another
    }

    /// It is told now that the file is another one.
    pub(crate) fn tell_another(&mut self) {
        self.told_another = true;
    }

    /// What was lost is given up: the next need of a record makes one of a new conversation.
    pub(crate) fn give_up(&mut self) {
        (self.lost, self.record) = (None, None);
    }

    pub(crate) fn lease(&self) -> Option<&LeaseWatch> {
        self.lease.as_ref()
    }

    pub(crate) fn set_lease(&mut self, lease: LeaseWatch) {
        self.lease = Some(lease);
    }
}

#[cfg(test)]
mod tests {
    use treewarden_proto::TurnId;

    use super::*;

    fn settled(written: bool) -> Settled {
        Settled { turn: TurnId::new(), written, answered: true }
    }

    #[test]
    fn what_must_be_in_the_transcript_goes_back_to_the_last_turn_that_was_written() {
        let id = SessionId::random();
        let mut identity = Identity::new(None);
        let [first, second, third] = [settled(true), settled(true), settled(false)];
        identity.note_completed(id, first);
        identity.note_completed(id, second);
        identity.note_completed(id, third);
        assert_eq!(identity.completed(id), Some(&[third, second][..]));
        assert_eq!(identity.completed(SessionId::random()), None, "nothing is known of another conversation");
        identity.forget_completed();
        assert_eq!(identity.completed(id), None);
    }

    #[test]
    fn of_turns_that_were_written_nowhere_the_journal_is_asked() {
        let id = SessionId::random();
        let mut identity = Identity::new(None);
        identity.note_completed(id, settled(false));
        assert_eq!(identity.completed(id), None, "what came before it is not known");
        identity.note_completed(id, settled(true));
        (1..MOST).for_each(|_| identity.note_completed(id, settled(false)));
        assert_eq!(identity.completed(id).map(<[_]>::len), Some(MOST));
        identity.note_completed(id, settled(false));
        assert_eq!(identity.completed(id), None, "there are more than are remembered");
    }

    #[test]
    fn another_file_under_the_first_name_is_told_once_for_each_name() {
        let mut identity = Identity::new(None);
        identity.set_first_name(Some("a".into()));
        identity.tell_another();
        assert!(identity.told_another());
        identity.set_first_name(Some("b".into()));
        assert!(!identity.told_another());
    }
}
