//! Whether the conversation could be carried on from the disk, if its CLI were gone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use treewarden_core::session::Saved;
use treewarden_proto::SessionId;
use treewarden_transcript::{self as transcript, Known, Saved as OnDisk};

use super::Desk;

/// How long the last look may take: a stop waits for it.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// What a look at the disk found.
pub(crate) struct Look {
    pub(crate) saved: Saved,
    /// The conversation and the name of its first message, if that was not known yet.
    pub(crate) first: Option<(SessionId, String)>,
}

impl Desk {
    /// Looks for the last settled turn in the CLI's transcript, and sees to it that nobody's clean-up takes that. `place` is held
    /// until the disk has been looked at, also where nobody waits for that any more.
    ///
    /// It is demanded where the journal holds it: a start would refuse a transcript without it. What cannot be read counts
    /// as not saved.
    ///
    /// # Cancel safety
    ///
    /// The look at the disk goes on when the future is dropped.
    pub(crate) async fn look_at_disk(self: &Arc<Self>, place: Option<OwnedSemaphorePermit>) -> Look {
        let record = self.record();
        // No CLI of the session was ever started: there is nothing that could be missing.
        let Some(config_dir) = record.config_dir.clone() else {
            return Look { saved: Saved::Yes, first: None };
        };
        let known = match self.known(&record).await {
            Ok(known) => known,
            Err(error) => return not(format!("the last answer cannot be looked up: {error}")),
        };
        let desk = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || {
            // The permit is moved to the thread: a look that was not counted any more when its engine is dropped would
            // let more than `LOOKS` threads wait for the disk.
            let _until_it_is_done = place;
            desk.look_at(&config_dir, record.session_id, &known)
        });
        looked.await.unwrap_or_else(|error| not(format!("the disk was not looked at: {error}")))
    }

    fn look_at(&self, config_dir: &Path, id: SessionId, known: &Known) -> Look {
        let found = match transcript::look(config_dir, id, known) {
            Ok(found) => found,
            Err(error) => return not(format!("the last answer was not found on disk: {error}")),
        };
        let below = config_dir.join("projects");
        if let Some(why) = said(&found.saved, id, &below) {
            return not(why);
        }
        found.kept.iter().for_each(|kept| self.note_kept(kept));
        self.note_first_name(found.path);
        Look { saved: Saved::Yes, first: found.first.map(|first| (id, first)) }
    }

    /// Looks with which message the conversation begins, unless that is known: a session that is stopped before the look that
    /// follows its first turn would begin a new one, if the transcript were gone at its next start.
    pub(crate) async fn see_first(self: &Arc<Self>) {
        if !self.with_record(|record| record.persisted && record.first_message().is_none()) {
            return;
        }
        // A disk that does not answer keeps no stop waiting: the look goes on in its thread, and what it
        // finds is let go.
        if let Ok(Look { first: Some((id, first)), .. }) =
            tokio::time::timeout(LAST_LOOK, self.look_at_disk(None)).await
        {
            self.note_first(id, first);
        }
    }

    /// What would be lost if the CLI ended now; nothing if there is none, or if its end is under way with a removal.
    pub(crate) async fn unsaved(self: &Arc<Self>) -> Option<String> {
        let mut missing = None;
        // As the machine does, since a CLI prints its result before it has written it.
        let timing = self.options().timing();
        for _ in 0..timing.transcript_reads {
            // Without a CLI nothing can be lost with it, and one that is being removed is kept by no refusal.
            if !self.may_lose() {
                return None;
            }
            if missing.is_some() {
                tokio::time::sleep(timing.settle_grace).await;
            }
            match self.look_at_disk(None).await.saved {
                Saved::Yes => return None,
                Saved::No(why) => missing = Some(why),
            }
        }
        missing
    }

    fn may_lose(&self) -> bool {
        let rooms = self.lock();
        rooms.shown.has_cli() && !rooms.service.is_being_removed()
    }
}

fn not(why: String) -> Look {
    Look { saved: Saved::No(why), first: None }
}

/// What is not on disk, in words.
fn said(saved: &OnDisk, id: SessionId, below: &Path) -> Option<String> {
    let below = below.display();
    match saved {
        OnDisk::Yes => None,
        OnDisk::No { missing } => Some(format!(
            "the answer to turn {missing} is in no transcript of conversation {id} below {below}"
        )),
        OnDisk::Incomplete { missing } => Some(format!(
            "a part of conversation {id} was never written: its transcript goes on from {missing}, which is not in it"
        )),
        OnDisk::Cut { first } => Some(format!(
            "the beginning of conversation {id} is not on disk any more: message {first} was in its transcript below {below} \
             and is not in it now"
        )),
    }
}
