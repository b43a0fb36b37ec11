//! A session whose record is lost: it takes no turn until it is cleared, or takes a conversation over by its id.
//!
//! What its turns were stays in the journal meanwhile: they are put back with the record. Nothing but what is asked for here may
//! store a record of such a session, since any record ends the loss.

use std::path::{Path, PathBuf};

use treewarden_core::session::{Failure, FailureKind, Outcome};
use treewarden_proto::{SessionId, SessionName};
use treewarden_store::{Seen, SessionRecord};
use treewarden_transcript::{self as transcript, CutLine, Known, Look, Saved, Settled, TranscriptError};

use super::Desk;
use super::open::carries_on;
use super::rooms::{Job, Lost, PATIENCE};
use crate::host::Host;
use crate::session::error::QueryError;

impl Desk {
    /// What a turn of it can only fail with, if its record is lost.
    pub(crate) fn lost(&self) -> Option<Failure> {
        let rooms = self.lock();
        let Lost { why, session_id, .. } = rooms.identity.lost()?;
        let name = &self.name;
        let message = format!(
            "the conversation of {name} is lost, and the turn was not sent: {why}; {}, if its transcript is whole, and \
             `treewarden clear {name}` begins a new one",
            to_adopt(name, *session_id)
        );
        Some(Failure::new(FailureKind::ConversationLost, message))
    }

    /// Begins a new conversation in place of the one that is lost.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may have begun all the same.
    pub(crate) async fn begin_anew(&self) -> Result<(), QueryError> {
        let id = self.lock().next.new_id();
        self.end_loss(move |record| record.follow(id)).await
    }

    /// Has the name begin anew that the store knows as lost no more; one of a template is noted as that.
    pub(crate) async fn forgive(&self) {
        self.put_turns_back().await;
        let template = {
            let mut rooms = self.lock();
            let template = rooms.identity.lost().and_then(|lost| lost.template.clone());
            rooms.identity.give_up();
            template
        };
        if let Some(template) = template
            && let Err(why) = self.enlist(Some(&template)).await
        {
            tracing::error!(session = %self.name, why, "a session that begins anew does not come back with the next tree");
        }
    }

    /// Takes a conversation over by its id, in place of the record that is lost.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be taken over all the same.
    pub(crate) async fn adopt(&self, id: SessionId, config_dir: PathBuf) -> Result<(), QueryError> {
        let refused = |why: &str| QueryError::not_adopted(&self.name, id, why);
        if self.lock().identity.lost().is_none() {
            return Err(refused(
                "its record is there, with a conversation of its own; `resume` in its table of the config file has it carry on another",
            ));
        }
        self.host.refuse_anothers(&self.name, id).await.map_err(|why| refused(&why))?;
        let record = SessionRecord::new(self.name.clone(), id);
        if !carries_on(&record, &self.options()) {
            return Err(refused(
                "its options name another conversation, with which the next start would go on",
            ));
        }
        let seen = whole(&self.host, config_dir.clone(), id).await.map_err(|why| refused(&why))?;
        self.end_loss(move |record| taken_over(record, id, &config_dir, seen.clone())).await
    }

    async fn end_loss(
        &self,
        mut change: impl FnMut(&mut SessionRecord) + Send + 'static,
    ) -> Result<(), QueryError> {
        // The first call makes the record.
        self.with_record(|_| ());
        let edit = Box::new(move |record: &mut SessionRecord| {
            change(record);
            true
        });
        self.stored(Job::wanted(edit), PATIENCE)
            .await
            .map_err(|why| QueryError::not_noted(&format!("{} is as it was", self.name), &why.to_string()))?;
        self.put_turns_back().await;
        self.lock().identity.set_lost(None);
        Ok(())
    }

    /// Puts back the turns that the journal holds open, before others are taken.
    async fn put_turns_back(&self) {
        let rows = match self.host.store().open_turns(self.name.clone()).await {
            Ok(rows) => rows,
            Err(error) => {
                // The next host finds them.
                tracing::error!(session = %self.name, %error, "the open turns of a session cannot be read");
                return;
            }
        };
        let unreadable: Vec<_> = rows.into_iter().filter_map(|row| self.restore(row)).collect();
        for (turn, failure) in unreadable {
            tracing::error!(session = %self.name, %turn, reason = %failure, "a stored turn is not run");
            self.settle(turn, Outcome::Failed(failure), None);
        }
        self.ring(self.lock());
    }
}

/// Makes the record one of a conversation that is on disk.
pub(in crate::session) fn taken_over(
    record: &mut SessionRecord,
    id: SessionId,
    config_dir: &Path,
    first: Option<String>,
) {
    record.follow(id);
    record.persisted = true;
    record.config_dir = Some(config_dir.to_owned());
    record.seen = first.map(|first| Seen { session_id: id, first });
}

/// Looks whether a conversation's transcript is whole, as far as the journal tells what it must hold; its first message.
pub(in crate::session) async fn whole(
    host: &Host,
    config_dir: PathBuf,
    id: SessionId,
) -> Result<Option<String>, String> {
    let completed = host.store().completed(id).await.map_err(|error| error.to_string())?;
    let settled = completed.into_iter().map(|turn| Settled {
        turn: turn.turn,
        written: turn.written,
        answered: turn.answered,
    });
    let known = Known { settled: settled.collect(), first: None };
    let _place = host.inner.looks.acquire().await;
    let look = tokio::task::spawn_blocking(move || look(&config_dir, id, &known));
    let look = look.await.map_err(|_| "the look at its transcript was given up".to_owned())??;
    match look.saved {
        Saved::Yes => Ok(look.first),
        Saved::No { missing } => {
            Err(format!("its transcript does not have the turn {missing}, which was answered in it"))
        }
        Saved::Incomplete { missing } => {
            Err(format!("its transcript has not the line {missing}, and so not what is before it"))
        }
        Saved::Cut { .. } => Err("its transcript was cut off or replaced".to_owned()),
    }
}

/// Looks at a transcript that is there; one that ends in the middle of a line must be known to have all before that.
fn look(config_dir: &Path, id: SessionId, known: &Known) -> Result<Look, String> {
    let failed = |error: TranscriptError| format!("failed to {error}");
    // Of one that is not there nothing can be missing.
    let path = transcript::find_any(config_dir, id)
        .map_err(|error| format!("failed to look through {}: {error}", config_dir.display()))?;
    let Some(path) = path else {
        return Err(format!(
            "no transcript of it is in {dir}; put a copy of {id}.jsonl back below {dir}/projects, where its folder is named after the \
             session's cwd",
            dir = config_dir.display()
        ));
    };
    let cut = transcript::cut_line(config_dir, id).map_err(failed)?;
    if let Some(CutLine { line, .. }) = cut
        && !ends_with_an_answer(config_dir, id, known).map_err(failed)?
    {
        return Err(format!(
            "line {line} of {}, with which its transcript ends, is cut off in the middle, and may be its last answer; put a \
             whole copy of the file there, or remove that line to go on without it",
            path.display()
        ));
    }
    let look = transcript::look(config_dir, id, known).map_err(failed)?;
    // The first message is looked for in the CLI's own file.
    if look.path.is_some() && look.saved == Saved::Yes && look.first.is_none() {
        return Err(format!("its transcript {} has no message", path.display()));
    }
    Ok(look)
}

/// The last turn that the journal holds as answered stands there with the end of its answer, so that nothing that was told is
/// behind it.
fn ends_with_an_answer(config_dir: &Path, id: SessionId, known: &Known) -> Result<bool, TranscriptError> {
    let Some(last) = known.settled.iter().find(|turn| turn.written) else { return Ok(false) };
    let answer = transcript::answer_to(config_dir, id, last.turn)?;
    Ok(answer.is_some_and(|answer| answer.complete && !answer.overtaken))
}

/// What has a name take over its conversation, in words.
pub(in crate::session) fn to_adopt(name: &SessionName, id: Option<SessionId>) -> String {
    match id {
        Some(id) => format!("`treewarden adopt {name} {id}` takes over the conversation that it had"),
        None => format!(
            "`treewarden adopt {name} ID` takes over the conversation of that id, which is the name of its transcript, \
             `ID.jsonl` below `projects` in the CLI's config directory"
        ),
    }
}
