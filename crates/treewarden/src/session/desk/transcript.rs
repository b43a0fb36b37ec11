//! What the desk knows of the CLI's transcript: what must stand in it, what it holds, and who else keeps it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use treewarden_core::session::{Outcome, Saved};
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{SessionRecord, StoreError, is_written};
use treewarden_transcript::{self as transcript, DiskAnswer, Kept, Known, Settled};

use super::Desk;
use super::rooms::Rooms;
use crate::events::Happening;

impl Desk {
    /// What the transcript of the record's conversation must hold. A journal that cannot be read is not taken for an empty
    /// one.
    pub(crate) async fn known(&self, record: &SessionRecord) -> Result<Known, StoreError> {
        let first = record.first_message().map(str::to_owned);
        Ok(Known { settled: self.last_settled(record.session_id).await?, first })
    }

    async fn last_settled(&self, id: SessionId) -> Result<Vec<Settled>, StoreError> {
        let remembered = self.lock().identity.completed(id).map(<[_]>::to_vec);
        if let Some(settled) = remembered {
            return Ok(settled);
        }
        let settled = |turn: treewarden_store::Completed| Settled {
            turn: turn.turn,
            written: turn.written,
            answered: turn.answered,
        };
        Ok(self.host.store().completed(id).await?.into_iter().map(settled).collect())
    }

    /// No turn of this conversation must be in its transcript.
    pub(crate) async fn must_hold_nothing(&self) -> bool {
        // A journal that cannot be read may hold turns, and is no reason to begin a blank conversation.
        let settled = self.last_settled(self.session_id()).await;
        settled.is_ok_and(|settled| !settled.iter().any(|turn| turn.written))
    }

    /// Notes that another may have had the conversation, so that the journal has to be asked for its last answer.
    pub(crate) fn forget_completed(&self) {
        self.lock().identity.forget_completed();
    }

    /// Remembers a turn that the journal holds as completed, or the host in hand.
    pub(super) fn note_completed(&self, rooms: &mut Rooms, turn: TurnId, outcome: &Outcome) {
        let Some(answer) = outcome.answer().filter(|_| self.host.store().keeps_turns()) else { return };
        // An outcome without a result was read from the transcript, and so is written.
        let written = answer.result.as_deref().is_none_or(is_written);
        let settled = Settled { turn, written, answered: !answer.text.is_empty() };
        rooms.identity.note_completed(answer.session_id, settled);
    }

    /// Looks for the answer to a turn in the CLI's transcript.
    pub(crate) fn answer_on_disk(&self, turn: TurnId) -> Option<DiskAnswer> {
        let (config_dir, id) = self.place();
        // A transcript that cannot be read counts as one without the answer: the machine asks again, as often
        // as `transcript_reads` says.
        transcript::answer_to(&config_dir?, id, turn).ok().flatten()
    }

    fn place(&self) -> (Option<PathBuf>, SessionId) {
        self.with_record(|record| (record.config_dir.clone(), record.session_id))
    }

    /// Gives the transcript its first name back, if somebody's clean-up took it away while its CLI was quiet: the CLI would
    /// begin another file, which goes on from nowhere.
    pub(crate) fn see_to_first_name(&self) {
        let first = self.lock().identity.first_name().map(Path::to_owned);
        // One look at a name costs microseconds; the rest is done when it is gone.
        if first.is_some_and(|first| !first.exists())
            && let (Some(config_dir), id) = self.place()
        {
            match transcript::restore(&config_dir, id) {
                Ok(Some(path)) => self.tell_mended(&path),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(session = %self.name, %error, "a transcript that was taken away cannot be put back")
                }
            }
        }
    }

    /// Looks whether both names of the transcript are there, and gives it back the one that is not; `true` if they are of two
    /// files, which nobody was told yet.
    pub(crate) fn has_another_transcript(&self) -> bool {
        self.see_to_first_name();
        let (first, told) = {
            let rooms = self.lock();
            (rooms.identity.first_name().map(Path::to_owned), rooms.identity.told_another())
        };
        let Some(first) = first else { return false };
        let (Some(config_dir), id) = self.place() else { return false };
        let second = transcript::second_name(&config_dir, &first, id);
        if second.exists() {
            return !told && !transcript::are_one(&first, &second);
        }
        if transcript::keep(&config_dir, id) == Kept::Linked {
            self.tell_mended(&second);
        }
        false
    }

    /// Says once that the CLI began another file, unless that is the whole conversation all the same.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time; then the next look says so.
    pub(crate) async fn look_at_another_transcript(self: &Arc<Self>) {
        let first = self.lock().identity.first_name().map(Path::to_owned);
        let Some(first) = first else { return };
        // The look at the whole file comes last: it takes by far the longest.
        if self.look_at_disk(None).await.saved != Saved::Yes {
            self.lock().identity.tell_another();
            let text = "was removed while a CLI wrote it, which began another; what came before is kept, and is joined to \
                        it when the session's next CLI starts";
            self.tell_removed(format!("{} {text}", first.display()));
        }
    }

    fn tell_mended(&self, path: &Path) {
        self.tell_removed(format!("{} was removed, and is there again", path.display()));
    }

    /// Says that what was removed is made good.
    pub(crate) fn tell_removed(&self, what: String) {
        tracing::error!(session = %self.name, mended = true, "{what}");
        self.publish(Happening::Removed { what, mended: true });
    }

    /// Notes where the CLI's file lies.
    pub(crate) fn note_first_name(&self, path: Option<PathBuf>) {
        self.lock().identity.set_first_name(path);
    }

    /// Says once if transcripts can have no second name here.
    pub(crate) fn note_kept(&self, kept: &Kept) {
        // Told once in a program: whether there can be links is up to the file system, and each session would
        // say the same.
        static TOLD: Once = Once::new();
        if let Kept::Impossible { reason } = kept {
            TOLD.call_once(|| {
                tracing::warn!(
                    session = %self.name, reason,
                    "transcripts have no second name here: what a CLI cleans up by age (`cleanupPeriodDays`) is lost"
                );
            });
        }
    }

    /// Says that a transcript that had been emptied or replaced is whole again.
    pub(crate) fn note_put_back(&self, path: &Path, from: &Path) {
        let what = format!(
            "the transcript {} had lost what it held, and was put together again from {}",
            path.display(),
            from.display()
        );
        tracing::warn!(session = %self.name, "{what}");
        self.publish(Happening::Removed { what, mended: true });
    }

    /// Keeps a conversation that was left no longer than the CLI keeps it.
    pub(super) fn release_transcript(&self, config_dir: PathBuf, left: SessionId) {
        let name = self.name.clone();
        // A second name that stays takes room on the disk, and does nothing else.
        let release = move || {
            if let Err(error) = transcript::release(&config_dir, left) {
                tracing::debug!(session = %name, %error, "a transcript that was left has its second name still");
            }
        };
        // To remove a name waits for the disk, and this is called from the engine's loop.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(release)),
            Err(_) => release(),
        }
    }
}
