//! Chooses what a power cut keeps of the changes that may be lost.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use crate::chance::Chance;
use crate::disk::Disk;
use crate::tape::Entry;

/// What a disk writes whole.
pub(crate) const SECTOR: usize = 512;

/// What becomes of a change that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is there.
    Kept,
    /// It is not.
    Lost,
    /// Some sectors of it are.
    Torn(Tear),
}

/// Which sectors of a torn write are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tear(u64);

impl Tear {
    /// Only this sector of the file, and those at 64, 128 and so on from it.
    pub fn only(sector: usize) -> Self {
        Self(1 << (sector % 64))
    }

    /// Tells whether a sector of the file is there.
    pub fn keeps(self, sector: usize) -> bool {
        self.0 >> (sector % 64) & 1 == 1
    }
}

/// What a power cut left.
#[derive(Debug, Clone)]
pub struct Cut {
    /// How it was chosen, for whoever sees the test fail.
    pub how: String,
    /// So many steps were begun before.
    pub begun: usize,
    /// So many steps were acknowledged before.
    pub acknowledged: usize,
    /// The files that are there.
    pub image: BTreeMap<PathBuf, Vec<u8>>,
}

/// How the fates are chosen.
#[derive(Debug, Clone, Copy)]
enum Choice {
    None,
    All,
    /// All but one.
    One,
    /// Each with even chance.
    Any,
    /// All up to one that is torn; and all but one that is torn.
    Torn {
        later: bool,
    },
    /// All up to one, as an orderly disk has it.
    Prefix,
}

/// Shows about `limit` different states that a machine may have kept, of all instants of a tape, chosen by chance; returns
/// how many there were.
///
/// Half of them are the plainest after acknowledgements, without any and with all of what is loose, as far as there are so many;
/// the others are spread over all instants.
pub fn cuts(
    start: &Disk,
    entries: &[Entry],
    limit: usize,
    chance: &mut Chance,
    mut look: impl FnMut(Cut),
) -> usize {
    let mut disk = start.clone();
    let (mut begun, mut acknowledged) = (0, 0);
    let (mut seen, mut shown) = (HashSet::new(), 0);
    let acknowledgements = entries.iter().filter(|entry| matches!(entry, Entry::Acknowledged(_))).count();
    let plain = (2 * acknowledgements).min(limit / 2);
    for (at, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Op(op) => disk.change(op),
            Entry::Begun(steps) => begun = *steps,
            Entry::Acknowledged(steps) => acknowledged = *steps,
        }
        let mut choices = Vec::new();
        if matches!(entry, Entry::Acknowledged(_)) && chance.below(2 * acknowledgements) < plain {
            choices.extend([Choice::None, Choice::All]);
        }
        // Their sum over all instants is what is left of the limit.
        let others = limit - plain;
        let share = (at + 1) * others / entries.len() - at * others / entries.len();
        choices.extend((0..share).map(|_| Choice::by(chance)));
        for choice in choices {
            let image = disk.image(fates(choice, &disk.loose(), chance));
            // What was looked at once, with as much acknowledged, needs no second look.
            if seen.insert((hash(&image), acknowledged)) {
                shown += 1;
                look(Cut {
                    how: format!("after entry {at} of the tape, {choice:?}"),
                    begun,
                    acknowledged,
                    image,
                });
            }
        }
    }
    shown
}

impl Choice {
    fn by(chance: &mut Chance) -> Self {
        match chance.below(10) {
            0 => Self::None,
            1 => Self::All,
            2 | 3 => Self::One,
            4 | 5 => Self::Any,
            6 => Self::Prefix,
            n => Self::Torn { later: n == 9 },
        }
    }
}

fn hash(image: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    hasher.finish()
}

fn fates(choice: Choice, loose: &[(usize, usize)], chance: &mut Chance) -> impl Fn(usize) -> Fate {
    let one = chance.below(loose.len());
    let mut fates = HashMap::new();
    for (n, (number, _)) in loose.iter().enumerate() {
        let fate = match choice {
            Choice::None => Fate::Lost,
            Choice::All => Fate::Kept,
            Choice::One if n == one => Fate::Lost,
            Choice::Any if chance.one_in(2) => Fate::Lost,
            Choice::Torn { .. } if n == one => Fate::Torn(Tear(chance.number())),
            Choice::Torn { later: false } | Choice::Prefix if n > one => Fate::Lost,
            _ => Fate::Kept,
        };
        fates.insert(*number, fate);
    }
    move |number| fates[&number]
}
