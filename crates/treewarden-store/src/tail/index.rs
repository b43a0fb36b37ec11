//! The tail as one process knows it: the segment that it appends to, and which turns are open.
//!
//! It holds one entry for each open turn that it saw, and one for each turn that was settled in this segment.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use treewarden_proto::TurnId;

use super::Fact;
use super::fact::{Line, lines};
use super::fold::{fold_for_good, folded};
use super::folder::Folder;
use super::segment::{self, Segment};
use crate::{Durability, StoreError, StoreErrorKind, schema};

/// A segment of so many bytes is sealed, and put into the database in the background.
const SEGMENT: u64 = 2 << 20;
/// A segment grows to so many times that while the database has not got the one before it; then an append waits.
const PATIENCE: u64 = 4;

/// What an attempt to settle a turn found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    /// This one counts.
    Now,
    /// Another one counts.
    Already,
    /// The tail does not know the turn; the database may.
    Unknown,
}

/// The refusal of a turn that was opened before.
pub(crate) fn held(turn: TurnId) -> StoreError {
    let why = format!("open the turn {turn}: the journal holds it already");
    StoreError::new(StoreErrorKind::Other, why)
}

/// The tail; see the [module](super).
#[derive(Debug)]
pub(crate) struct Tail {
    dir: PathBuf,
    db: PathBuf,
    number: u64,
    /// None before the first append, unless it was there already.
    segment: Option<Segment>,
    /// Up to here the segment is known.
    seen: u64,
    /// Whether each turn is open, as of `seen`.
    turns: HashMap<TurnId, bool>,
    /// Appends are to survive a power loss, once they are synced.
    power: bool,
    synced: bool,
    wrote: bool,
    folder: Folder,
    newest: Arc<Newest>,
}

/// The newest of the turns that the tail does not know and the database may; ids of turns begin with their time.
#[derive(Debug, Default)]
pub(crate) struct Newest(AtomicU64);

impl Newest {
    /// Tells whether the database may hold a turn that the tail does not know.
    pub(crate) fn may_hold(&self, turn: TurnId) -> bool {
        time(turn) <= self.0.load(Ordering::Acquire)
    }

    fn note(&self, time: u64) {
        self.0.fetch_max(time, Ordering::AcqRel);
    }
}

/// The half of the id that says when it was made, to some millionths of a second.
fn time(turn: TurnId) -> u64 {
    turn.as_uuid().as_u64_pair().0
}

impl Tail {
    /// Reads what the database does not have yet.
    pub(crate) fn open(dir: PathBuf, opened: &schema::Opened, power: bool) -> Result<Self, StoreError> {
        let db = &opened.db;
        let (number, seen) = folded(db)?;
        let mut tail = Self {
            dir,
            db: opened.path.clone(),
            number,
            segment: None,
            seen,
            turns: HashMap::new(),
            power,
            synced: true,
            wrote: false,
            folder: Folder::default(),
            newest: Arc::default(),
        };
        tail.note_newest(db)?;
        if segment::path(&tail.dir, number).exists() {
            tail.enter(db)?;
        }
        Ok(tail)
    }

    /// Stores the line of a turn that was asked.
    pub(crate) fn opened(&mut self, turn: TurnId, line: &[u8]) -> Result<(), StoreError> {
        loop {
            if self.turns.contains_key(&turn) {
                return Err(held(turn));
            }
            // If another process opened the same turn just before, `append` has read that line, and it
            // counts.
            if self.append(line)? && !self.turns.contains_key(&turn) {
                self.turns.insert(turn, true);
                self.rotate();
                return Ok(());
            }
        }
    }

    /// Stores the line of a turn's outcome, unless it is known to have one.
    pub(crate) fn settled(&mut self, turn: TurnId, line: &[u8]) -> Result<Settling, StoreError> {
        loop {
            match self.turns.get(&turn) {
                None => return Ok(Settling::Unknown),
                Some(false) => return Ok(Settling::Already),
                Some(true) => {}
            }
            if self.append(line)?
                && let Some(open) = self.turns.get_mut(&turn)
                // `append` has read what others wrote before this line. If one of them settled the turn, that
                // outcome stands, and the next look says so.
                && std::mem::replace(open, false)
            {
                self.rotate();
                return Ok(Settling::Now);
            }
        }
    }

    /// Stores what needs no answer.
    pub(crate) fn note(&mut self, fact: &Fact<'_>) -> Result<(), StoreError> {
        let line = fact.encode()?;
        while !self.append(&line)? {}
        self.rotate();
        Ok(())
    }

    pub(crate) fn newest(&self) -> Arc<Newest> {
        Arc::clone(&self.newest)
    }

    /// Asks the database, of whose turns no more is known here than which are open.
    fn note_newest(&self, db: &Connection) -> Result<(), StoreError> {
        let newest: Option<String> =
            db.query_row("SELECT CAST(max(turn) AS TEXT) FROM turns", [], |row| row.get(0))?;
        // If the greatest text is no id, it hides the newest of the ids: then the database is asked each
        // time.
        self.newest.note(newest.map_or(0, |turn| turn.parse().map_or(u64::MAX, time)));
        Ok(())
    }

    /// The segment is over: its turns that were settled are the database's from now on.
    fn forget_settled(&mut self) {
        let Self { turns, newest, .. } = self;
        turns.retain(|turn, open| {
            if !*open {
                // Before the entry goes: then only the database knows the turn, and without this note
                // `refuse_held` would not ask it, so that one id could be opened twice.
                newest.note(time(*turn));
            }
            *open
        });
    }

    pub(crate) fn knows(&self, turn: TurnId) -> bool {
        self.turns.contains_key(&turn)
    }

    /// The segment of the moment: what was read from the database stays true of the turns of no other.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Notes that the database held the turn, open, while the tail was at the segment of this number.
    pub(crate) fn found_open(&mut self, turn: TurnId, number: u64) {
        if self.number == number {
            self.turns.entry(turn).or_insert(true);
        }
    }

    /// Makes everything that was appended survive a power loss.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(segment) = self.segment.as_ref().filter(|_| self.power && !self.synced) {
            segment.sync()?;
            self.synced = true;
        }
        Ok(())
    }

    /// Appends a line; `false` if the segment was sealed before, and the line must be written to the next one.
    fn append(&mut self, line: &[u8]) -> Result<bool, StoreError> {
        if self.segment.is_none() {
            self.enter(&self.connect()?)?;
        }
        let segment = self.segment.as_mut().expect("the segment was entered");
        let end = segment.append(line)?;
        // Before anything can fail below: the line stands in the file, to be synced and to be folded when
        // this is dropped.
        (self.wrote, self.synced) = (true, false);
        let begin = end - line.len() as u64;
        if begin > self.seen {
            let between = segment.read(self.seen, begin)?;
            if self.learn(&between).1 {
                self.sync()?;
                self.enter_next(&self.connect()?)?;
                return Ok(false);
            }
        }
        self.seen = end;
        let segment = self.segment.as_ref().expect("the segment was entered");
        if !segment.is_in_place() {
            // Another process may have sealed it just now, and the database has it all; else nobody will ever read it.
            let (path, rest) = (segment.path().to_owned(), segment.read(end, segment.len()?)?);
            if !self.learn(&rest).1 {
                return Err(StoreError::removed(&path));
            }
        }
        Ok(true)
    }

    /// Looks whether what is appended will be read by anybody.
    pub(crate) fn look_again(&self) -> Result<(), StoreError> {
        let Some(segment) = self.segment.as_ref().filter(|segment| !segment.is_in_place()) else {
            return Ok(());
        };
        // A segment is removed when another process has sealed it and the database has all of it: no loss.
        let mut sealed = false;
        lines(&segment.read(self.seen, segment.len()?)?, |_, _, line| {
            sealed |= matches!(line, Line::Fact(Fact::Sealed));
            !sealed
        });
        if sealed { Ok(()) } else { Err(StoreError::removed(segment.path())) }
    }

    fn enter_next(&mut self, db: &Connection) -> Result<(), StoreError> {
        (self.number, self.seen) = (self.number + 1, 0);
        self.enter(db)
    }

    /// Goes on at the segment of the moment, or a later one if it is over, and reads what others wrote there.
    fn enter(&mut self, db: &Connection) -> Result<(), StoreError> {
        loop {
            let segment = Segment::open(&self.dir, self.number)?;
            // A segment that the database has had is gone, and must not be made anew.
            let (number, seen) = folded(db)?;
            if number > self.number {
                // It was made by the opening above. Left there, a later new database would begin at it
                // (`first_segment`), find no seal, and never come to the segments behind it.
                if segment.len()? == 0 {
                    segment::remove(&self.dir, self.number)?;
                }
                // What happened in between is known to the database alone.
                self.turns.clear();
                self.note_newest(db)?;
                (self.number, self.seen) = (number, seen);
                continue;
            }
            let bytes = segment.read(self.seen, segment.len()?)?;
            let (read, sealed) = self.learn(&bytes);
            self.seen += read;
            if sealed {
                (self.number, self.seen) = (self.number + 1, 0);
                continue;
            }
            if self.power {
                // A file that was made survives with its folder.
                std::fs::File::open(&self.dir)?.sync_all()?;
            }
            self.segment = Some(segment);
            return Ok(());
        }
    }

    /// Takes note of what the segment holds; returns how much it read and whether the segment is sealed.
    fn learn(&mut self, bytes: &[u8]) -> (u64, bool) {
        let mut sealed = false;
        let read = lines(bytes, |_, _, line| {
            match line {
                Line::Fact(Fact::Opened(opened)) => {
                    self.turns.entry(opened.turn).or_insert(true);
                }
                Line::Fact(Fact::Settled(settled)) => {
                    self.turns.insert(settled.turn, false);
                }
                Line::Fact(Fact::Sealed) => sealed = true,
                _ => {}
            }
            !sealed
        });
        if sealed {
            self.forget_settled();
        }
        (read as u64, sealed)
    }

    /// Goes on to the next segment if this one is full, and has the database take it in the background.
    fn rotate(&mut self) {
        if self.seen < SEGMENT {
            return;
        }
        // The fold of the segment before is under way, and to seal this one waits for it. Callers wait only
        // once this segment is four times too long: else a slow disk would let the tail grow without end.
        if self.folder.is_busy() && self.seen < PATIENCE * SEGMENT {
            return;
        }
        if let Err(error) = self.seal() {
            // What was stored is stored. The next append tries again.
            tracing::warn!(%error, "a segment of the journal cannot be sealed");
        }
    }

    fn seal(&mut self) -> Result<(), StoreError> {
        self.folder.wait();
        // Later syncs are of another file.
        self.sync()?;
        let db = self.connect()?;
        // Otherwise another process has sealed it just before, and `append` has gone on to the next segment.
        if self.append(&Fact::Sealed.encode()?)? {
            self.forget_settled();
            self.enter_next(&db)?;
        }
        let dir = self.dir.clone();
        let fold = move || {
            if let Err(error) = fold_for_good(&db, &dir) {
                // It is tried again with the next segment, and whenever the journal is asked.
                tracing::warn!(%error, "a segment of the journal is not in the database yet");
            }
        };
        Ok(self.folder.begin(Box::new(fold))?)
    }

    /// A connection whose commits are synced, since a segment goes when the database has it.
    fn connect(&self) -> Result<Connection, StoreError> {
        schema::connect(&self.db, Durability::Power)
    }
}

impl Drop for Tail {
    /// Leaves everything in the database, if there is room; otherwise the next one finds it in the tail.
    fn drop(&mut self) {
        self.folder.wait();
        if !self.wrote {
            return;
        }
        let folded = (|| {
            // Whoever else has the directory open goes on in the next segment.
            while !self.append(&Fact::Sealed.encode()?)? {}
            fold_for_good(&self.connect()?, &self.dir)
        })();
        if let Err(error) = folded {
            tracing::warn!(%error, "the tail of the journal is not in the database yet");
        }
    }
}
