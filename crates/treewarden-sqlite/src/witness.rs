//! The witness: a small file beside the database that says how far it was, so that an older one, or none, is not taken for it.
//!
//! It is written after each commit and never before one, so that a database that is whole is never behind it. It is not synced,
//! but at an opening and at an end in order: what a power cut leaves of it may say less than was stored, and that it was not
//! ended in order. It decides nothing: [`judge`] says what was found, and [`lost`](crate::lost) what that means for names.
//!
//! ```text
//! treewarden 1 generation=<32 hex digits> commits=<20 digits> at=<20 digits> boot=<36 letters, or -> state=<open|power|done> sum=<8 hex digits>
//! ```
//!
//! | the witness says | the database says | found |
//! |---|---|---|
//! | fewer commits, or as many | … of the same generation | nothing, unless the machine went down under it: [`Finding::Cut`] |
//! | more commits, on this boot, or after an end in order, or all of them synced | fewer | [`Finding::Older`] |
//! | more commits, on another boot | fewer | [`Finding::Cut`] |
//! | one generation | another, which did not follow it | [`Finding::Another`] |

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use treewarden_store::{Durability, lock, now};
use uuid::Uuid;

/// How long the file is, whatever it says: a shorter text would leave the end of the one before.
const LENGTH: usize = 192;

/// How often, and how far apart, its lock is tried.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(1);

/// How those who write the database leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Somebody has it open, and its newest commits may be in the system's memory alone.
    Open,
    /// Somebody has it open who syncs each commit.
    Power,
    /// It was left in order, all of it on the disk.
    Done,
}

/// What the witness says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) generation: Uuid,
    pub(crate) commits: u64,
    /// When it was written, in Unix milliseconds.
    pub(crate) at: u64,
    /// The boot of the machine; `None` where the system does not say.
    pub(crate) boot: Option<String>,
    pub(crate) state: State,
}

impl Seen {
    fn encode(&self) -> String {
        let Self { generation, commits, at, boot, state } = self;
        let (boot, state) = (boot.as_deref().unwrap_or("-"), word(*state));
        let text = format!(
            "treewarden 1 generation={} commits={commits:020} at={at:020} boot={boot} state={state}",
            generation.simple()
        );
        let sum = crc32fast::hash(text.as_bytes());
        format!("{:<width$}\n", format!("{text} sum={sum:08x}"), width = LENGTH - 1)
    }

    fn decode(text: &str) -> Option<Self> {
        let (text, sum) = text.trim_end().rsplit_once(" sum=")?;
        if u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(text.as_bytes()) {
            return None;
        }
        let mut words = text.strip_prefix("treewarden 1 ")?.split(' ');
        let mut next = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        Some(Self {
            generation: next("generation")?.parse().ok()?,
            commits: next("commits")?.parse().ok()?,
            at: next("at")?.parse().ok()?,
            boot: Some(next("boot")?).filter(|boot| *boot != "-").map(str::to_owned),
            state: match next("state")? {
                "power" => State::Power,
                "done" => State::Done,
                _ => State::Open,
            },
        })
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Open => "open",
        State::Power => "power",
        State::Done => "done",
    }
}

/// What the witness and the database come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// So many commits that were stored are not there, and no power cut can have taken them.
    Older { missing: u64 },
    /// The database is none that the witness knows.
    Another,
    /// The machine went down under it: so many commits are missing at least.
    Cut { missing: u64 },
    /// The witness cannot be read.
    Unreadable,
}

/// Compares what the witness says with the database of this generation, which has so many commits and follows the generation
/// `after`, on this boot of the machine.
pub(crate) fn judge(
    seen: &Seen,
    generation: Uuid,
    after: Option<Uuid>,
    commits: u64,
    boot: Option<&str>,
) -> Option<Finding> {
    if seen.generation != generation {
        return (Some(seen.generation) != after).then_some(Finding::Another);
    }
    let missing = seen.commits.saturating_sub(commits);
    let both = seen.boot.as_deref().zip(boot);
    let went_down = both.is_some_and(|(then, now)| then != now) && seen.state == State::Open;
    match missing {
        _ if went_down => Some(Finding::Cut { missing }),
        0 => None,
        // Where no boot is told, it may have been a power cut as well; what is said of an older copy is the safer of the two.
        missing => Some(Finding::Older { missing }),
    }
}

/// Where it lies.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("treewarden.commits")
}

/// Reads it, if it is there.
pub(crate) fn look(dir: &Path) -> io::Result<Option<Result<Seen, Finding>>> {
    let path = path(dir);
    let file = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(_) => lock::open(&path)?,
    };
    for _ in 0..TRIES {
        if let Some(seen) = read(&file)? {
            return Ok(Some(Ok(seen)));
        }
        // Whoever made it was killed before anything was written, and nothing was lost by that.
        if file.metadata()?.len() == 0 {
            return Ok(None);
        }
        // Another process may be writing it just now.
        thread::sleep(PAUSE);
    }
    Ok(Some(Err(Finding::Unreadable)))
}

fn read(file: &File) -> io::Result<Option<Seen>> {
    let mut bytes = [0; LENGTH];
    let len = file.read_at(&mut bytes, 0)?;
    Ok(std::str::from_utf8(&bytes[..len]).ok().and_then(Seen::decode))
}

/// The boot of the machine; `None` where the system does not say.
pub(crate) fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty() && !id.contains(' '))
}

/// The witness of an open database.
#[derive(Debug)]
pub(crate) struct Witness {
    path: PathBuf,
    file: File,
    generation: Uuid,
    boot: Option<String>,
    state: State,
    /// It was said that it cannot be written.
    told: AtomicBool,
}

impl Witness {
    /// Writes how far the database is that was opened, in place of what is there.
    pub(crate) fn begin(
        dir: &Path,
        generation: Uuid,
        commits: u64,
        durability: Durability,
    ) -> io::Result<Self> {
        let path = path(dir);
        let file = lock::open(&path)?;
        let state = if durability == Durability::Power { State::Power } else { State::Open };
        let this = Self { path, file, generation, boot: boot(), state, told: AtomicBool::new(false) };
        this.locked(|_| Some((commits, state)))?;
        // Once: what is written after it may go with the machine, and that it was open must not.
        this.file.sync_all()?;
        Ok(this)
    }

    /// Writes that so many commits are stored.
    ///
    /// The commits of a generation only grow, whoever of several processes comes late.
    pub(crate) fn note(&self, commits: u64) {
        let write = |there: Option<Seen>| match there {
            Some(there) if there.state != State::Done && there.commits > commits => None,
            there => Some((there.map_or(0, |there| there.commits).max(commits), self.state)),
        };
        if let Err(error) = self.locked(write)
            && !self.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, path = %self.path.display(), "how far the state database is cannot be noted beside it");
        }
    }

    /// Writes that all of it is on the disk, and nobody has it open any more.
    pub(crate) fn done(&self) {
        // What cannot be written is told at the next start, if the machine goes down before that.
        let written = self.locked(|there| Some((there?.commits, State::Done)));
        let _told = written.and_then(|()| self.file.sync_all());
    }

    /// Tells whether it is where the next opening looks for it.
    pub(crate) fn is_in_place(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| lock::Place::of(&meta).is_at(&self.path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file anew, which was removed.
    pub(crate) fn again(&mut self) -> io::Result<()> {
        let (seen, file) = (read(&self.file)?, lock::open(&self.path)?);
        self.file = file;
        self.locked(|there| there.is_none().then_some((seen.map_or(0, |seen| seen.commits), self.state)))
    }

    /// Writes what `say` makes of what the witness says of this generation, if it makes anything of it.
    fn locked(&self, say: impl FnOnce(Option<Seen>) -> Option<(u64, State)>) -> io::Result<()> {
        let locked = self.lock();
        let written = read(&self.file).and_then(|there| {
            let Some((commits, state)) = say(there.filter(|there| there.generation == self.generation))
            else {
                return Ok(());
            };
            let (generation, boot) = (self.generation, self.boot.clone());
            let text = Seen { generation, commits, at: now(), boot, state }.encode();
            self.file.write_all_at(text.as_bytes(), 0)
        });
        if locked {
            self.file.unlock()?;
        }
        written
    }

    /// Whoever stops while it has the lock must not keep the others from their commits: so it is waited for a moment only.
    fn lock(&self) -> bool {
        (0..TRIES).any(|tried| {
            if tried > 0 {
                thread::sleep(PAUSE);
            }
            self.file.try_lock().is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(commits: u64, boot: Option<&str>, state: State) -> Seen {
        Seen { generation: Uuid::from_u128(1), commits, at: 7, boot: boot.map(str::to_owned), state }
    }

    #[test]
    fn what_is_written_is_read_and_a_flipped_bit_is_seen() {
        for state in [State::Open, State::Power, State::Done] {
            for boot in [None, Some("b86e2350-1627-4936-bf0e-9af1b39a1e63")] {
                let seen = seen(u64::MAX, boot, state);
                let text = seen.encode();
                assert_eq!((text.len(), Seen::decode(&text)), (LENGTH, Some(seen)));
                let flipped = text.replacen("commits=1", "commits=0", 1);
                assert_eq!(Seen::decode(&flipped), None);
            }
        }
        assert_eq!(Seen::decode(""), None);
    }

    #[test]
    fn each_state_of_the_two_is_told_from_the_others() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let of = |seen: &Seen, generation, commits, boot| judge(seen, generation, None, commits, boot);
        let here = Some("a");
        // The same, or a witness that came late.
        for commits in [5, 6] {
            assert_eq!(of(&seen(5, here, State::Open), one, commits, here), None);
        }
        // More than there is: on this boot, after an end in order, and where each commit was synced, no power cut took it.
        assert_eq!(of(&seen(5, here, State::Open), one, 3, here), Some(Finding::Older { missing: 2 }));
        for state in [State::Done, State::Power] {
            assert_eq!(of(&seen(5, Some("b"), state), one, 3, here), Some(Finding::Older { missing: 2 }));
            assert_eq!(of(&seen(5, Some("b"), state), one, 5, here), None);
        }
        assert_eq!(of(&seen(5, Some("b"), State::Open), one, 3, here), Some(Finding::Cut { missing: 2 }));
        // The witness itself may have lost its end.
        assert_eq!(of(&seen(5, Some("b"), State::Open), one, 9, here), Some(Finding::Cut { missing: 0 }));
        for (then, now) in [(None, None), (None, here), (here, None)] {
            assert_eq!(of(&seen(5, then, State::Open), one, 3, now), Some(Finding::Older { missing: 2 }));
            assert_eq!(of(&seen(5, then, State::Open), one, 5, now), None);
        }
        assert_eq!(of(&seen(5, here, State::Done), two, 9, here), Some(Finding::Another));
        assert_eq!(
            judge(&seen(5, here, State::Done), two, Some(one), 9, here),
            None,
            "it was told when it began"
        );
    }

    #[test]
    fn the_commits_of_several_processes_only_grow_and_an_end_in_order_is_over_with_the_next() {
        let dir = tempfile::tempdir().expect("a folder");
        let read = || look(dir.path()).expect("read").expect("there").expect("whole");
        let begin = |commits| Witness::begin(dir.path(), Uuid::from_u128(1), commits, Durability::Process);
        let (one, two) = (begin(1).expect("written"), begin(2).expect("written"));
        two.note(9);
        one.note(8);
        assert_eq!((read().commits, read().state), (9, State::Open));
        two.done();
        assert_eq!((read().commits, read().state), (9, State::Done));
        one.note(8);
        assert_eq!((read().commits, read().state), (9, State::Open), "somebody has it open");
        // Another database begins at its own count.
        let other = Witness::begin(dir.path(), Uuid::from_u128(2), 3, Durability::Power).expect("written");
        assert_eq!((read().commits, read().state, read().generation), (3, State::Power, Uuid::from_u128(2)));
        assert!(other.is_in_place());
    }

    #[test]
    fn a_witness_that_was_removed_is_made_anew_with_what_it_said() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut witness =
            Witness::begin(dir.path(), Uuid::from_u128(1), 4, Durability::Process).expect("written");
        fs::remove_file(witness.path()).expect("removed");
        assert!(!witness.is_in_place());
        witness.again().expect("made");
        assert!(witness.is_in_place());
        assert_eq!(look(dir.path()).expect("read").expect("there").expect("whole").commits, 4);
        fs::write(witness.path(), "else").expect("written");
        assert_eq!(look(dir.path()).expect("read"), Some(Err(Finding::Unreadable)));
    }
}
