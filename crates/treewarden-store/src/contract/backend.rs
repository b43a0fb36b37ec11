//! What a store does, whatever it keeps things in.

use std::fmt::Debug;
use std::path::PathBuf;
use std::pin::Pin;

use tokio::sync::watch;
use treewarden_proto::{SessionId, SessionName, TurnId};

use super::{
    Change, CommitError, Committed, Keep, Lines, LostNames, NameState, NewTurn, OpenError, Pruned,
    StoredTurn, Taken, Tenure, Told,
};
use crate::{Completed, Problem, SessionRecord, StoreError, TurnRow};

/// An answer that is on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store of records, turns, tenures and lines.
///
/// No call blocks its thread. Each ends within a deadline of the backend's own, and then says so
/// ([`CommitError::Unknown`], [`StoreErrorKind::Unknown`](crate::StoreErrorKind::Unknown)). A call begins with its first
/// poll; dropped after that, it may take effect all the same. The conformance kit of the test kit says the rest in tests.
pub trait Backend: Debug + Send + Sync + 'static {
    /// Takes the right to write a name, from whoever had it: with an epoch that is higher than every one before.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be stored.
    fn take(&self, name: SessionName) -> Pending<'_, Result<Taken, StoreError>>;

    /// Opens a turn; it is stored, as durably as the store is, when this returns.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the turn must not be sent then.
    fn open(&self, turn: NewTurn) -> Pending<'_, Result<(), OpenError>>;

    /// Stores all of a change or nothing of it, and answers with the tenure of the next commit.
    ///
    /// The same change with the same tenure is stored once, however often it is asked: so is found out what became of one
    /// whose answer was lost. Changes of several names are stored independently of each other.
    ///
    /// # Errors
    ///
    /// [`CommitError`], which says whether it is worth asking again.
    fn commit(&self, tenure: Tenure, change: Change) -> Pending<'_, Result<Committed, CommitError>>;

    /// What is known of a name.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read.
    fn record(&self, name: SessionName) -> Pending<'_, Result<Told, StoreError>>;

    /// What is known of a name and its open turns, both of one moment.
    ///
    /// A session begins with it, and a supervisor may start very many: so this is asked for several names at a time, each by a
    /// call of its own that is polled once, and again when its session begins.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if one of them cannot be read.
    fn name_state(&self, name: SessionName) -> Pending<'_, Result<NameState, StoreError>>;

    /// Every record that can be read, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn records(&self) -> Pending<'_, Result<Vec<SessionRecord>, StoreError>>;

    /// A turn by its id; `None` if there never was one that the store knows of.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read; of the kind [`Corrupt`](crate::StoreErrorKind::Corrupt) if it was there and is
    /// damaged, also after it was set aside: such a turn is not unknown.
    fn turn(&self, turn: TurnId) -> Pending<'_, Result<Option<StoredTurn>, StoreError>>;

    /// The open turns of a session, in the order in which they were opened.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn open_turns(&self, name: SessionName) -> Pending<'_, Result<Vec<TurnRow>, StoreError>>;

    /// The newest turns of a session, newest first; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn turns(&self, name: SessionName, limit: usize) -> Pending<'_, Result<Vec<TurnRow>, StoreError>>;

    /// The turns of a conversation whose outcome says `"outcome": "completed"`, newest first: down to the newest that the CLI
    /// must have written, with no more than 64 before it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn completed(&self, conversation: SessionId) -> Pending<'_, Result<Vec<Completed>, StoreError>>;

    /// Flushed lines of a transcript, from the flush of this number on, in order; at most `limit` flushes.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read, or some that were stored are missing: a transcript with a hole is not given out.
    fn lines(
        &self,
        conversation: SessionId,
        subpath: String,
        from: u64,
        limit: usize,
    ) -> Pending<'_, Result<Vec<Lines>, StoreError>>;

    /// What could not be read and was set aside, and what may be missing, as far as it is not over, oldest first.
    ///
    /// | a problem of | is over |
    /// |---|---|
    /// | a session | when no name that it concerns is lost any more |
    /// | a turn | when a turn of its id is there again, or its session has taken a conversation over or begun a new one since |
    /// | the whole store | when no name is lost, and a host has told of it before this opening, or the last name was mended since |
    /// | each | when [`forgive_lost`](Self::forgive_lost) was asked since |
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the list cannot be read.
    fn problems(&self) -> Pending<'_, Result<Vec<Problem>, StoreError>>;

    /// Notes that a host has told of every problem up to this number, so that none of them is new at the next opening.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if that cannot be stored: they are told once more then.
    fn note_told(&self, _number: u64) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    /// Rings when a problem is found, or is over, while the store is open; closed once the store is, and from the beginning for
    /// one that finds none.
    fn bell(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// The names whose records are gone, and which are not begun blank for that.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn lost(&self) -> Pending<'_, Result<LostNames, StoreError>> {
        Box::pin(async { Ok(LostNames::default()) })
    }

    /// Has the lost names begin anew, as names that never had a record, and every problem of now be over; returns how many names
    /// were known.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if that cannot be stored.
    fn forgive_lost(&self) -> Pending<'_, Result<usize, StoreError>> {
        Box::pin(async { Ok(0) })
    }

    /// Removes what is older or more than is to be kept; open turns never, nor the last completed turn of a conversation that
    /// the CLI must have written, nor a turn that was opened in the last ten minutes ([`expiry::FRESH`](crate::expiry::FRESH)).
    ///
    /// It works in steps, and others are served in between.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if a step cannot be stored; the steps before it stand.
    fn prune(&self, keep: Keep) -> Pending<'_, Result<Pruned, StoreError>>;

    /// Writes a whole copy of the store, as it is at one moment, into a folder that is made; others are served meanwhile.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be written, or the folder is there and not empty.
    fn backup(&self, to: PathBuf) -> Pending<'_, Result<(), StoreError>>;

    /// Stores what was accepted, takes no more, and lets go of what it keeps open, for a program that is about to end: what
    /// still has a handle of the store then would keep it from a clean end. It is asked nothing from then on.
    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {})
    }

    /// Tells whether turns are stored; records always are.
    fn keeps_turns(&self) -> bool;

    /// Looks whether what is stored still goes to where the next opening will look for it; blocks for a moment, and returns the
    /// path of what was removed and is made anew.
    ///
    /// # Errors
    ///
    /// [`StoreError`] of the kind [`Removed`](crate::StoreErrorKind::Removed) if it does not.
    fn look_again(&self) -> Result<Option<PathBuf>, StoreError>;
}
