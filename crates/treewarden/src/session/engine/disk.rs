//! What the engine asks of the disk while a CLI lives: the answer to a turn, and whether the last one is there.
//!
//! The reads run on threads that may block, one of each kind at a time. Nothing here decides what a find means, and nothing
//! here may be waited for: what was found comes back as an event.

use std::sync::Arc;

use treewarden_core::session::{Evidence, Found};
use treewarden_proto::TurnId;
use treewarden_transcript::DiskAnswer;

use super::{Engine, Event};
use crate::session::desk::Look;

impl Engine {
    pub(super) fn read_transcript(&mut self, turn: TurnId) {
        let desk = Arc::clone(&self.desk);
        self.reading = Some(Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || desk.answer_on_disk(turn));
            // A read that panicked found nothing: the machine reads again, as often as `transcript_reads`
            // says.
            (turn, read.await.ok().flatten())
        }));
    }

    /// Looks whether the last settled turn is on disk; a look that is under way still is followed by another, so that one
    /// thread at most waits for a disk that does not answer.
    pub(super) fn look_on_disk(&mut self) {
        // A look that is under way may have begun before the last turn was settled. What it finds says
        // nothing of that turn, and is not told to the machine.
        self.look_once_more = self.looking.is_some();
        if !self.look_once_more {
            let desk = Arc::clone(&self.desk);
            self.looking = Some(Box::pin(async move {
                // Many sessions may end their turns at the same moment: without the permit each look would
                // take a thread of its own.
                let place = Arc::clone(&desk.host.inner.looks).acquire_owned().await;
                desk.look_at_disk(place.ok()).await
            }));
        }
    }

    pub(super) fn transcript_read(&mut self, turn: TurnId, answer: Option<DiskAnswer>) {
        self.reading = None;
        let found = match found(answer) {
            // A transcript that cannot be read now does not undo what the start procedure found in it:
            // another writer went on behind the turn's prompt, and the CLI must not be asked to go on.
            Found::Nothing if self.is_overtaken(turn) => Found::Overtaken,
            found => found,
        };
        self.go_on_with_woven(turn, !matches!(found, Found::Nothing));
        self.handle(Event::TranscriptRead(turn, found));
    }

    pub(super) fn looked(&mut self, look: Look) {
        self.looking = None;
        if let Some((id, first)) = look.first {
            self.desk.note_first(id, first);
        }
        if self.look_once_more {
            self.look_on_disk();
        } else {
            self.handle(Event::OnDisk(look.saved));
        }
    }
}

fn found(answer: Option<DiskAnswer>) -> Found<Evidence> {
    match answer {
        Some(answer) if answer.interrupted => Found::Interruption,
        Some(answer) if answer.complete => Found::Answer(Evidence::OnDisk(answer.text)),
        Some(answer) if answer.overtaken => Found::Overtaken,
        // An answer without its end may still be being written; delivered now, it would be cut off.
        _ => Found::Nothing,
    }
}
