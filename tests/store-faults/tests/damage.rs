//! Bits that flip, files that are cut or gone: what is served then is what was written, and what is missing is said.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]
#![allow(clippy::print_stdout, reason = "how much was tried is for whoever looks")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use support::{WITNESS, folder, lease, names, open, wait};
use tempfile::TempDir;
use treewarden_proto::{SessionId, TurnId};
use treewarden_sqlite::SqliteStore;
use treewarden_store::{
    Backend, Change, Durability, NewTurn, Settle, StateDir, StoreError, StoreErrorKind, StoredTurn, Told,
    TurnRow,
};
use treewarden_store_faults::{Account, Chance, Step, seed, steps};

const DATABASE: &str = "treewarden.db";
const LOG: &str = "treewarden.db-wal";
const MEMORY: &str = "treewarden.db-shm";

/// Files of a store that did some steps: as a killed process leaves them, and as one that ended well does.
struct Base {
    killed: TempDir,
    ended: TempDir,
    /// What it held after each step.
    accounts: Vec<Account>,
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn base(chance: &mut Chance) -> Base {
    let steps = steps(&names(), 150, chance);
    let (killed, ended) = (folder(), folder());
    let mut state = StateDir::prepare(ended.path()).unwrap();
    let store = open(ended.path(), Durability::Process).unwrap();
    state.identify();
    wait(async {
        let mut tenures = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            step.run(&store, &mut tenures).await.unwrap();
            if n == 100 {
                // So that both the file and its log hold something.
                let db = rusqlite::Connection::open(ended.path().join(DATABASE)).unwrap();
                db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            }
        }
    });
    for record in Account::after_each(&steps).last().unwrap().records.values() {
        lease(ended.path(), &record.name, record.session_id);
    }
    copy(ended.path(), killed.path());
    drop(store);
    Base { killed, ended, accounts: Account::after_each(&steps) }
}

/// What was seen of a damaged store, the better first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Everything is there as it was last.
    Intact,
    /// It is not opened, and says why.
    Refused,
    /// Something is missing or older than it was, and that is said.
    Said,
    /// Something is missing or older than it was, and nothing is said.
    Silent,
    /// A name that had a record begins blank.
    Blank,
    /// Something is served that was never written.
    Wrong,
}

#[derive(Debug, Default)]
struct Found {
    worst: Option<Verdict>,
    said: Vec<String>,
    silent: Vec<String>,
}

impl Found {
    fn is(&mut self, verdict: Verdict) {
        self.worst = self.worst.max(Some(verdict));
    }

    fn misses(&mut self, what: String) {
        self.silent.push(what);
    }

    fn says(&mut self, error: &StoreError) {
        self.said.push(error.to_string());
    }

    fn verdict(&self) -> Verdict {
        let rest = match (self.silent.is_empty(), self.said.is_empty()) {
            (true, true) => Verdict::Intact,
            (false, true) => Verdict::Silent,
            _ => Verdict::Said,
        };
        self.worst.unwrap_or(rest).max(rest)
    }
}

/// Looks at everything that was ever written.
async fn look(store: &SqliteStore, base: &Base, found: &mut Found) {
    let newest = base.accounts.last().unwrap();
    for name in names() {
        match store.record(name.clone()).await {
            Ok(Told::Record(mut record)) => {
                record.updated_at = 0;
                let is = |account: &Account| account.records.get(&name) == Some(&*record);
                if !base.accounts.iter().any(is) {
                    found.is(Verdict::Wrong);
                } else if !is(newest) {
                    found.misses(format!("an older record of {name}"));
                }
            }
            Ok(Told::Never) => found.is(Verdict::Blank),
            Ok(Told::Lost { why, .. }) => found.said.push(why),
            Err(error) => found.says(&error),
        }
        match store.turns(name.clone(), usize::MAX).await {
            Ok(rows) => rows.iter().for_each(|row| judge(row, base, found)),
            Err(error) => found.says(&error),
        }
        match store.open_turns(name.clone()).await {
            Ok(rows) => rows.iter().for_each(|row| judge(row, base, found)),
            Err(error) => found.says(&error),
        }
    }
    for turn in newest.turns.values().flatten().map(|row| row.turn) {
        match store.turn(turn).await {
            Ok(Some(StoredTurn::Held(row))) => judge(&row, base, found),
            Ok(Some(StoredTurn::Expired)) => found.is(Verdict::Wrong),
            Ok(None) => found.misses(format!("turn {turn}")),
            Err(error) => found.says(&error),
        }
    }
    for (conversation, written) in &newest.lines {
        match store.lines(*conversation, String::new(), 0, usize::MAX).await {
            Ok(lines) => {
                let right = |lines: &treewarden_store::Lines| {
                    usize::try_from(lines.seq)
                        .ok()
                        .and_then(|seq| written.get(seq))
                        .is_some_and(|line| **line == *lines.entries)
                };
                if !lines.iter().all(right) {
                    found.is(Verdict::Wrong);
                } else if lines.len() < written.len() {
                    found.misses(format!("{} lines of {conversation}", written.len() - lines.len()));
                }
            }
            Err(error) => found.says(&error),
        }
    }
    // Last: what was read may have been set aside only then.
    match store.problems().await {
        Ok(problems) => found.said.extend(problems.into_iter().map(|problem| problem.reason)),
        Err(error) => found.says(&error),
    }
}

fn judge(row: &TurnRow, base: &Base, found: &mut Found) {
    let mut row = row.clone();
    row.seq = 0;
    let is = |account: &Account| account.turns.values().flatten().any(|held| *held == row);
    if !base.accounts.iter().any(is) {
        found.is(Verdict::Wrong);
    } else if !is(base.accounts.last().unwrap()) {
        found.misses(format!("an older turn {}", row.turn));
    }
}

/// New turns are either refused in words, or there after one more opening.
async fn go_on(store: SqliteStore, dir: &Path) -> Result<&'static str, StoreError> {
    let mut asked = Vec::new();
    for name in names() {
        let (turn, at) = (TurnId::new(), 1_900_000_000_000);
        let (prompt, session_id) = ("\"new\"".into(), SessionId::random());
        let new =
            NewTurn { turn, name: name.clone(), session_id, prompt, at_most_once: false, opened_at: at };
        let settle =
            vec![Settle { turn, outcome: r#"{"outcome":"completed"}"#.into(), answered_in: None, at }];
        let change = Change { settle, ..Change::default() };
        let mut tenures = Vec::new();
        for step in [Step::Take(name.clone()), Step::Open(new), Step::Commit(name.clone(), Box::new(change))]
        {
            step.run(&store, &mut tenures).await.map_err(|refused| match refused {
                treewarden_store_faults::Refused::Store(error) => error,
                other => StoreError::new(StoreErrorKind::Other, format!("{other:?}")),
            })?;
        }
        asked.push(turn);
    }
    drop(store);
    let again = open(dir, Durability::Process)?;
    for turn in asked {
        match again.turn(turn).await? {
            Some(StoredTurn::Held(row)) if row.outcome.is_some() => {}
            _ if again.problems().await?.is_empty() => return Ok("LOST"),
            _ => return Ok("lost, and said"),
        }
    }
    Ok("there")
}

/// What was seen of a kind of damage, how often; the words of the first that was said; what was silent.
#[derive(Default)]
struct Row {
    seen: BTreeMap<Verdict, usize>,
    next: BTreeMap<String, usize>,
    words: Option<String>,
    silent: Vec<String>,
}

#[derive(Default)]
struct Table(BTreeMap<String, Row>);

impl Table {
    fn case(&mut self, kind: &str, base: &Base, from: &TempDir, hurt: &mut dyn FnMut(&Path)) {
        let dir = folder();
        copy(from.path(), dir.path());
        hurt(dir.path());
        let row = self.0.entry(kind.to_owned()).or_default();
        let store = match open(dir.path(), Durability::Process) {
            Ok(store) => store,
            Err(error) => {
                *row.seen.entry(Verdict::Refused).or_default() += 1;
                row.words.get_or_insert_with(|| error.to_string());
                return;
            }
        };
        let mut found = Found::default();
        wait(look(&store, base, &mut found));
        *row.seen.entry(found.verdict()).or_default() += 1;
        if let Some(words) = found.said.first() {
            row.words.get_or_insert_with(|| words.clone());
        } else {
            row.silent.append(&mut found.silent);
        }
        let next = match wait(go_on(store, dir.path())) {
            Ok(next) => next.to_owned(),
            Err(error) => format!("refused: {:?}", error.kind()),
        };
        *row.next.entry(next).or_default() += 1;
    }

    fn show(&self) {
        for (kind, row) in &self.0 {
            println!(
                "{kind:32} {:?}; new turns {:?}; said: {}",
                row.seen,
                row.next,
                row.words.as_deref().unwrap_or("-")
            );
            if row.seen.keys().any(|verdict| *verdict >= Verdict::Silent) {
                println!("{:32} silent: {:?}", "", &row.silent[..row.silent.len().min(5)]);
            }
        }
    }

    /// How many were worse than said.
    fn unsaid(&self) -> Vec<(&str, &BTreeMap<Verdict, usize>)> {
        let rows = self.0.iter().map(|(kind, row)| (kind.as_str(), &row.seen));
        rows.filter(|(_, seen)| seen.keys().any(|verdict| *verdict >= Verdict::Silent)).collect()
    }
}

fn flip(path: PathBuf, times: usize, chance: &mut Chance) {
    let mut bytes = fs::read(&path).unwrap();
    for _ in 0..times {
        let at = chance.below(bytes.len());
        bytes[at] ^= 1 << chance.below(8);
    }
    fs::write(path, bytes).unwrap();
}

fn cut(path: PathBuf, chance: &mut Chance) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(chance.below(usize::try_from(len).unwrap()) as u64).unwrap();
}

fn zero_the_end(path: PathBuf, chance: &mut Chance) {
    let mut bytes = fs::read(&path).unwrap();
    let from = bytes.len() - 1 - chance.below(bytes.len().min(60_000) - 1);
    bytes[from..].fill(0);
    fs::write(path, bytes).unwrap();
}

/// Each kind of damage, `n` times in all or a little more.
fn hurt(n: usize) -> Table {
    let mut chance = Chance::new(seed());
    let base = base(&mut chance);
    let mut table = Table::default();
    let part = |of: usize| n.div_ceil(of);
    for (when, from) in [("killed", &base.killed), ("ended", &base.ended)] {
        let mut case = |kind: &str, times: usize, hurt: &mut dyn FnMut(&Path)| {
            (0..times).for_each(|_| table.case(&format!("{kind} ({when})"), &base, from, hurt));
        };
        case("nothing", 1, &mut |_| {});
        case("database: a bit", part(4), &mut |dir| flip(dir.join(DATABASE), 1, &mut chance));
        case("database: 20 bits", part(16), &mut |dir| flip(dir.join(DATABASE), 20, &mut chance));
        case("database: cut", part(16), &mut |dir| cut(dir.join(DATABASE), &mut chance));
        case("database: zeros at its end", part(32), &mut |dir| {
            zero_the_end(dir.join(DATABASE), &mut chance)
        });
        case("witness: a bit", part(32), &mut |dir| flip(dir.join(WITNESS), 1, &mut chance));
        case("witness: cut", part(64), &mut |dir| cut(dir.join(WITNESS), &mut chance));
        case("witness: removed", 1, &mut |dir| fs::remove_file(dir.join(WITNESS)).unwrap());
        case("all but leases: removed", 1, &mut |dir| {
            let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|path| path.is_file()).for_each(|path| fs::remove_file(path).unwrap());
        });
        case("database: removed", 1, &mut |dir| fs::remove_file(dir.join(DATABASE)).unwrap());
        case("database: emptied", 1, &mut |dir| fs::write(dir.join(DATABASE), "").unwrap());
        if from.path().join(LOG).exists() {
            case("log: a bit", part(8), &mut |dir| flip(dir.join(LOG), 1, &mut chance));
            case("log: cut", part(8), &mut |dir| cut(dir.join(LOG), &mut chance));
            case("log: zeros at its end", part(32), &mut |dir| zero_the_end(dir.join(LOG), &mut chance));
            case("log: removed", 1, &mut |dir| fs::remove_file(dir.join(LOG)).unwrap());
            case("memory: removed", 1, &mut |dir| fs::remove_file(dir.join(MEMORY)).unwrap());
            case("memory: a bit", part(64), &mut |dir| flip(dir.join(MEMORY), 1, &mut chance));
        }
    }
    table.show();
    table
}

#[test]
fn nothing_wrong_is_served_of_a_damaged_store_and_what_is_missing_is_said() {
    assert_eq!(hurt(64).unsaid(), []);
}

/// The long form: `just soak-store`.
#[test]
#[ignore = "takes minutes"]
fn soak() {
    assert_eq!(hurt(500).unsaid(), []);
}
