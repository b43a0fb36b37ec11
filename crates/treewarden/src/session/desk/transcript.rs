//! What the desk knows of the CLI's transcript: what must stand in it, what it holds, and who else keeps it.

use std::path::PathBuf;
use std::sync::Once;

use serde::Deserialize;
use serde_json::value::RawValue;
use treewarden_proto::frame::{Body, Frame};
use treewarden_proto::{SessionId, TurnId};
use treewarden_transcript::{self as transcript, DiskAnswer, Kept, Settled};

use super::Desk;
use crate::session::outcome::Outcome;

/// So many turns that the CLI wrote nowhere are remembered behind the last that it did.
const MOST: usize = 64;

impl Desk {
    /// The turns of this conversation that came to an answer, newest first, down to the newest that the transcript must
    /// hold.
    pub(crate) fn last_settled(&self) -> Vec<Settled> {
        let id = self.session_id();
        if let Some((conversation, settled)) = &self.lock().completed
            && *conversation == id
        {
            return settled.clone();
        }
        let completed = self.host.store().completed(id).unwrap_or_default();
        let settled = |turn: treewarden_store::Completed| Settled {
            turn: turn.turn,
            written: turn.written,
            answered: turn.answered,
        };
        completed.into_iter().map(settled).collect()
    }

    /// No turn of this conversation must be in its transcript.
    pub(crate) fn must_hold_nothing(&self) -> bool {
        !self.last_settled().iter().any(|turn| turn.written)
    }

    /// Notes that another may have had the conversation, so that the journal has to be asked for its last answer.
    pub(crate) fn forget_completed(&self) {
        self.lock().completed = None;
    }

    /// Remembers a turn that the journal holds as completed.
    pub(super) fn note_completed(&self, turn: TurnId, outcome: &Outcome) {
        let Some(answer) = outcome.answer().filter(|_| self.host.store().keeps_turns()) else { return };
        let written = answer.result.as_ref().is_none_or(is_written);
        let settled = Settled { turn, written, answered: !answer.text.is_empty() };
        let completed = &mut self.lock().completed;
        match completed {
            _ if written => *completed = Some((answer.session_id, vec![settled])),
            Some((conversation, turns)) if *conversation == answer.session_id && turns.len() < MOST => {
                turns.insert(0, settled);
            }
            _ => *completed = None,
        }
    }

    /// Looks for the answer to a turn in the CLI's transcript.
    pub(crate) fn answer_on_disk(&self, turn: TurnId) -> Option<DiskAnswer> {
        let (config_dir, id) = self.place();
        transcript::answer_to(&config_dir?, id, turn).ok().flatten()
    }

    fn place(&self) -> (Option<PathBuf>, SessionId) {
        self.with_record(|record| (record.config_dir.clone(), record.session_id))
    }

    /// The transcript has its second name, or cannot have one.
    pub(crate) fn is_kept(&self) -> bool {
        let id = self.session_id();
        self.lock().kept == Some(id)
    }

    /// Gives the transcript its second name; it blocks.
    pub(crate) fn keep_transcript(&self) {
        if let (Some(config_dir), id) = self.place() {
            self.note_kept(id, &transcript::keep(&config_dir, id));
            self.note_first_name(transcript::find(&config_dir, id));
        }
    }

    /// Gives the transcript its first name back, if somebody's clean-up took it away while its CLI was quiet: the CLI would
    /// begin another file, which goes on from nowhere.
    pub(crate) fn see_to_first_name(&self) {
        let first = self.lock().first_name.clone();
        // One look at a name costs microseconds; the rest is done when it is gone.
        if let Some(first) = first
            && !first.exists()
            && let (Some(config_dir), id) = self.place()
        {
            match transcript::restore(&config_dir, id) {
                Ok(_) => {
                    tracing::warn!(session = %self.name, path = %first.display(), "a transcript that was taken away is put back")
                }
                Err(error) => {
                    tracing::error!(session = %self.name, %error, "a transcript that was taken away cannot be put back")
                }
            }
        }
    }

    /// Notes where the CLI's file lies.
    pub(crate) fn note_first_name(&self, path: Option<PathBuf>) {
        self.lock().first_name = path;
    }

    /// Notes what became of the second name.
    pub(crate) fn note_kept(&self, id: SessionId, kept: &Kept) {
        static TOLD: Once = Once::new();
        match kept {
            Kept::NoTranscript => return,
            Kept::Impossible { reason } => TOLD.call_once(|| {
                tracing::warn!(
                    session = %self.name, reason,
                    "transcripts have no second name here: what a CLI cleans up by age (`cleanupPeriodDays`) is lost"
                );
            }),
            _ => {}
        }
        self.lock().kept = Some(id);
    }

    /// Goes on to another conversation. The one that is left is kept no longer than the CLI keeps it.
    pub(super) fn leave_conversation(&self, to: SessionId) {
        let (config_dir, left) = self.place();
        self.note_first_name(None);
        self.change_record(|record| record.follow(to));
        let Some(config_dir) = config_dir else { return };
        let name = self.name.clone();
        let release = move || {
            if let Err(error) = transcript::release(&config_dir, left) {
                tracing::debug!(session = %name, %error, "a transcript that was left has its second name still");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(release)),
            Err(_) => release(),
        }
    }
}

/// The fields of a result that only a CLI that asked the model writes.
#[derive(Deserialize)]
struct Marks<'a> {
    #[serde(borrow, default)]
    terminal_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    num_turns: Option<&'a RawValue>,
}

/// Tells whether the CLI must have written the turn that ended with this result, as the journal does.
fn is_written(result: &Frame) -> bool {
    if let Ok(marks) = serde_json::from_str::<Marks<'_>>(result.json()) {
        let turns = marks.num_turns.and_then(|turns| turns.get().parse::<f64>().ok());
        return marks.terminal_reason.is_some() || turns.is_some_and(|turns| turns >= 1.0);
    }
    match result.body() {
        Ok(Body::Result(result)) => {
            result.terminal_reason.is_some() || result.num_turns.is_some_and(|turns| turns >= 1)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cli_answers_by_itself_is_written_nowhere() {
        let cases = [
            (
                r#"{"type":"result","num_turns":0,"result":"/help isn't available in this environment."}"#,
                false,
            ),
            (r#"{"type":"result","num_turns":0,"terminal_reason":null}"#, false),
            (r#"{"type":"result"}"#, false),
            (r#"{"type":"result","num_turns":1}"#, true),
            (r#"{"type":"result","num_turns":0,"terminal_reason":"completed"}"#, true),
            (r#"{"\ud800":1,"type":"result","num_turns":2}"#, true),
        ];
        for (line, expected) in cases {
            let frame = Frame::parse(line.as_bytes().into()).expect("a frame");
            assert_eq!(is_written(&frame), expected, "{line}");
        }
    }
}
