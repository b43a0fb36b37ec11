//! Puts what the segments say into the old table of turns: one row for each turn, however many facts there are of it.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, params};
use treewarden_proto::TurnId;
use treewarden_store::ProblemKind;

use super::fact::{Fact, Line, Opened, Outcome, lines};
use super::segment;
use crate::error::Fault;
use crate::quarantine::note;

/// Up to where a database has the journal: a segment, and a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Folded {
    pub(super) segment: u64,
    pub(super) place: u64,
}

/// Puts into `old_turns` what it does not have yet; returns the number of the last segment.
pub(super) fn fold(db: &Connection, dir: &Path, from: Folded) -> Result<u64, Fault> {
    let numbers = segment::numbers(dir)?;
    let mut expected = from.segment;
    // It was never removed before the database had all of it, and was then at the next one.
    if from.place > 0 && numbers.last().is_none_or(|last| *last < from.segment) {
        let why = format!(
            "this part of the journal is gone, and the database has its first {} bytes alone",
            from.place
        );
        note_gone(db, dir, from.segment, &why)?;
    }
    for &number in numbers.iter().filter(|number| **number >= from.segment) {
        if number != expected {
            note_gone(db, dir, expected, "this part of the journal is gone, and later ones are there")?;
        }
        expected = number + 1;
        let bytes = std::fs::read(segment::path(dir, number))?;
        let begin = if number == from.segment { begin(db, dir, from, &bytes)? } else { 0 };
        let mut batch = Batch::default();
        for (at, line, read) in lines(&bytes[begin..]) {
            match read {
                // What stands behind it is void, and was written once more to the next one.
                Line::Fact(Fact::Sealed) => break,
                Line::Fact(fact) => batch.add(fact),
                // Cut short by a full disk, or by a kill amid the write: nobody was told that it is stored.
                Line::Torn => {}
                Line::Damaged(reason) => {
                    let key = format!("turns-{number}.log:{}", begin + at);
                    tracing::error!(reason, key, "a fact of the journal cannot be read and is set aside");
                    note(db, ProblemKind::Turn, &key, &reason, &String::from_utf8_lossy(line))?;
                }
            }
        }
        batch.store(db)?;
    }
    Ok(numbers.last().copied().unwrap_or(0))
}

/// So many sessions are named.
const NAMED: usize = 20;

/// Notes that a segment is gone, with the sessions whose turns may have been in it: whose they were stood in it alone.
fn note_gone(db: &Connection, dir: &Path, number: u64, why: &str) -> Result<(), Fault> {
    let mut query = db.prepare("SELECT name FROM names UNION SELECT name FROM old_turns ORDER BY name")?;
    let names: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let of = match &names[..names.len().min(NAMED)] {
        [] => "no session is known".to_owned(),
        named => format!("these sessions may have some there: {}{more}", named.join(", ")),
    };
    let why = format!(
        "{why}: turns that were asked or answered in it are missing, an answered one may be run again; {of}"
    );
    tracing::error!(segment = number, "{why}");
    note(db, ProblemKind::Turn, &segment::path(dir, number).display().to_string(), &why, "")
}

/// Where to begin in the segment that the database has a part of.
///
/// After a power cut the place can be ahead of the file, or amid a line of what was written since: then the database has less
/// of the file than it says. What it has already it takes no second time, but for a count of interruptions.
fn begin(db: &Connection, dir: &Path, from: Folded, bytes: &[u8]) -> Result<usize, Fault> {
    let place = usize::try_from(from.place).unwrap_or(usize::MAX);
    if place == 0 || place == bytes.len() || bytes.get(place) == Some(&b'\n') {
        return Ok(place);
    }
    let key = segment::path(dir, from.segment).display().to_string();
    let why = "the database has read further in it than it reaches, as after a power cut; all of it was read once more";
    note(db, ProblemKind::Cut, &key, why, "")?;
    Ok(0)
}

/// What the facts of a segment come to.
#[derive(Default)]
struct Batch<'a> {
    changes: Vec<Change<'a>>,
    of: HashMap<TurnId, usize>,
}

/// What became of one turn.
#[derive(Default)]
struct Change<'a> {
    opened: Option<Opened<'a>>,
    sent: bool,
    interruptions: u32,
    settled: Option<Outcome<'a>>,
}

impl<'a> Batch<'a> {
    fn of(&mut self, turn: TurnId) -> &mut Change<'a> {
        let at = *self.of.entry(turn).or_insert_with(|| {
            self.changes.push(Change::default());
            self.changes.len() - 1
        });
        &mut self.changes[at]
    }

    fn add(&mut self, fact: Fact<'a>) {
        match fact {
            Fact::Opened(opened) => {
                self.of(opened.turn).opened.get_or_insert(opened);
            }
            Fact::Sent(turn) => self.of(turn).sent = true,
            Fact::Interrupted(turn) => {
                let change = self.of(turn);
                change.sent = true;
                change.interruptions += 1;
            }
            // The first one in the order of the file counts.
            Fact::Settled(settled) => {
                self.of(settled.turn).settled.get_or_insert(settled);
            }
            Fact::Sealed => {}
        }
    }

    fn store(self, db: &Connection) -> Result<(), Fault> {
        let mut turns: Vec<(usize, TurnId)> = self.of.into_iter().map(|(turn, at)| (at, turn)).collect();
        // The open turns of a session are run in the order in which they were opened.
        turns.sort_unstable_by_key(|(at, _)| *at);
        turns
            .into_iter()
            .zip(&self.changes)
            .try_for_each(|((_, turn), change)| change.store(db, &turn.to_string()))
    }
}

impl Change<'_> {
    fn store(&self, db: &Connection, turn: &str) -> Result<(), Fault> {
        let settled = self.settled.as_ref();
        let (at, outcome) = settled.map(|settled| (settled.at.cast_signed(), settled.outcome)).unzip();
        let answered_in = settled.and_then(|settled| settled.answered_in);
        if let Some(opened) = &self.opened {
            let inserted = db
                .prepare_cached(
                    "INSERT OR IGNORE INTO old_turns(turn, name, session_id, prompt, at_most_once, opened_at, sent,
                       interruptions, outcome, settled_at) VALUES (?,?,?,?,?,?,?,?,?,?)",
                )?
                .execute(params![
                    turn,
                    opened.name,
                    answered_in.unwrap_or(opened.session_id).to_string(),
                    opened.prompt,
                    opened.at_most_once,
                    opened.at.cast_signed(),
                    self.sent,
                    self.interruptions,
                    outcome,
                    at
                ])?;
            // Otherwise the row is there, and only what is new is added.
            if inserted == 1 {
                return Ok(());
            }
        }
        if self.sent {
            db.prepare_cached(
                "UPDATE old_turns SET sent = 1, interruptions = interruptions + ? WHERE turn = ?",
            )?
            .execute(params![self.interruptions, turn])?;
        }
        if outcome.is_some() {
            db.prepare_cached(
                "UPDATE old_turns SET outcome = ?, settled_at = ?, session_id = coalesce(?, session_id)
                 WHERE turn = ? AND outcome IS NULL",
            )?
            .execute(params![outcome, at, answered_in.map(|id| id.to_string()), turn])?;
        }
        Ok(())
    }
}
