//! Whether the conversation could be carried on from the disk, if its CLI were gone.

use std::sync::Arc;
use std::time::Duration;

use treewarden_core::session::Saved;
use treewarden_store::transcript;

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
        let (Some(turn), Some(config_dir)) = (self.last_settled(), record.config_dir) else {
            return Saved::Yes;
        };
        let id = record.session_id;
        match transcript::answer_to(&config_dir, id, turn) {
            Ok(Some(_)) => Saved::Yes,
            Ok(None) => Saved::No(format!(
                "the answer to turn {turn} is in no transcript of conversation {id} below {}",
                config_dir.join("projects").display()
            )),
            Err(error) => Saved::No(format!("the answer to turn {turn} was not found on disk: {error}")),
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
