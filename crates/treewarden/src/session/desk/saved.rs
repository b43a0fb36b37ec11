//! Whether the conversation could be carried on from the disk, if its CLI were gone.

use std::sync::Arc;
use std::time::Duration;

use treewarden_core::session::Saved;
use treewarden_transcript::{self as transcript, Saved as OnDisk};

use super::Desk;

/// So often is the disk looked at before a turn counts as missing, and so long after each time: a CLI prints its result
/// before it has written it.
const LOOKS: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(300);

impl Desk {
    /// Looks for the last settled turn in the CLI's transcript.
    ///
    /// It is demanded where the journal holds it: a start would refuse a transcript without it. What cannot be read counts
    /// as not saved.
    pub(crate) fn saved_on_disk(&self) -> Saved {
        if !self.host.store().keeps_turns() {
            return Saved::Yes;
        }
        let record = self.record();
        let (settled, id) = (self.last_settled(), record.session_id);
        let Some(config_dir) = record.config_dir.filter(|_| !settled.is_empty()) else { return Saved::Yes };
        match transcript::holds(&config_dir, id, &settled) {
            Ok(OnDisk::Yes) => {
                self.note_kept(id, &transcript::keep_anew(&config_dir, id));
                Saved::Yes
            }
            Ok(OnDisk::No { missing }) => Saved::No(format!(
                "the answer to turn {missing} is in no transcript of conversation {id} below {}",
                config_dir.join("projects").display()
            )),
            Ok(OnDisk::Incomplete { missing }) => Saved::No(format!(
                "a part of conversation {id} was never written: its transcript goes on from {missing}, which is not in it"
            )),
            Err(error) => Saved::No(format!("the last answer was not found on disk: {error}")),
        }
    }

    /// What would be lost if the CLI ended now; nothing if there is none.
    pub(crate) async fn unsaved(self: &Arc<Self>) -> Option<String> {
        let mut missing = None;
        for _ in 0..LOOKS {
            // Without a CLI nothing can be lost with it.
            self.lock().condition.pid?;
            if missing.is_some() {
                tokio::time::sleep(BETWEEN).await;
            }
            let desk = Arc::clone(self);
            match tokio::task::spawn_blocking(move || desk.saved_on_disk()).await {
                Ok(Saved::Yes) => return None,
                Ok(Saved::No(why)) => missing = Some(why),
                Err(error) => missing = Some(format!("the disk was not looked at: {error}")),
            }
        }
        missing
    }
}
