//! Runs jobs together in one transaction, so that each stands or falls by itself.
//!
//! Each job has a savepoint: what fails takes itself back, and not the others. Where the transaction itself is lost (a full disk),
//! its jobs are run once more in two halves: so the ones that have room are stored, whatever a large one among them needs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;
use treewarden_store::{CommitError, StoreError, StoreErrorKind};

use super::job::Job;
use super::queue::{Queue, Waiting};
use crate::error::Fault;
use crate::place::Place;
use crate::transaction::Transaction;

/// Writes until the queue is closed.
pub(super) fn run(queue: &Queue, db: &Connection, place: &Place) {
    let group = Group { db, place };
    while let Some(taken) = queue.take() {
        // Whatever panics here, those who wait see that they were dropped, and the thread goes on.
        let ran = catch_unwind(AssertUnwindSafe(|| group.take_up(queue, taken)));
        if ran.is_err() {
            tracing::error!("a write to the state database panicked outside of its job");
            group.take_back();
        }
    }
}

fn jobs_of(taken: Vec<Waiting>) -> Vec<Box<dyn Job>> {
    taken.into_iter().map(|Waiting { job, .. }| job).collect()
}

fn locked(place: &Place) -> Fault {
    let why = format!(
        "use the state database {}: another program keeps it locked; end what has it open, or ask again",
        place.path().display()
    );
    StoreError::new(StoreErrorKind::Busy, why).into()
}

/// How a transaction ended.
enum Ended {
    /// It is stored, but for the jobs that failed by themselves.
    Stored,
    /// Nothing of it is stored, and each of its jobs may be tried without the others.
    Nothing(Fault),
    /// Nobody knows.
    Unknown(Fault),
}

struct Group<'a> {
    db: &'a Connection,
    place: &'a Place,
}

impl Group<'_> {
    /// Begins a transaction for jobs, once that can be had, and runs those that still wait.
    fn take_up(&self, queue: &Queue, mut taken: Vec<Waiting>) {
        // A lock of another program ends with that program, or is waited for until nobody waits for this any more.
        let begun = loop {
            let (over, rest) = taken.into_iter().partition(Waiting::is_over);
            taken = rest;
            answer(jobs_of(over), &Err(failed(locked(self.place), self.place, 0)));
            if taken.is_empty() {
                break Ok(());
            }
            match self.statement("BEGIN IMMEDIATE") {
                Err(fault) if fault.kind() == StoreErrorKind::Busy => queue.found_locked(true),
                begun => break begun,
            }
        };
        queue.found_locked(false);
        taken.retain(|waiting| waiting.ticket.begin());
        let jobs = jobs_of(taken);
        match begun {
            Ok(()) if jobs.is_empty() => self.take_back(),
            Ok(()) => self.run(jobs),
            Err(fault) => self.fail(jobs, fault),
        }
    }

    /// Tells these jobs that nothing of them is stored.
    fn fail(&self, jobs: Vec<Box<dyn Job>>, fault: Fault) {
        let bytes = jobs.iter().map(|job| job.bytes()).max().unwrap_or_default();
        answer(jobs, &Err(failed(fault, self.place, bytes)));
    }

    /// Runs jobs in the transaction that was begun, and answers them.
    fn run(&self, mut jobs: Vec<Box<dyn Job>>) {
        let (ended, failures) = self.try_together(&mut jobs);
        match ended {
            Ended::Stored => {
                for (job, failure) in jobs.into_iter().zip(failures) {
                    let bytes = job.bytes();
                    if failure.is_none() {
                        self.place.findings().written(bytes);
                    }
                    job.answer(failure.map_or(Ok(()), |fault| Err(failed(fault, self.place, bytes))));
                }
            }
            Ended::Nothing(_) if jobs.len() > 1 => {
                let second = jobs.split_off(jobs.len() / 2);
                for half in [jobs, second] {
                    match self.statement("BEGIN IMMEDIATE") {
                        Ok(()) => self.run(half),
                        Err(fault) => self.fail(half, fault),
                    }
                }
            }
            Ended::Nothing(fault) => self.fail(jobs, fault),
            Ended::Unknown(fault) => {
                let bytes = jobs.iter().map(|job| job.bytes()).max().unwrap_or_default();
                let error = told(fault, self.place, bytes);
                let text = format!("{error}; nobody knows whether the write is stored");
                answer(jobs, &Err(CommitError::Unknown(StoreError::new(StoreErrorKind::Unknown, text))));
            }
        }
    }

    /// Runs all of them and commits. Each failure stands at the place of its job.
    fn try_together(&self, jobs: &mut [Box<dyn Job>]) -> (Ended, Vec<Option<Fault>>) {
        let mut failures = Vec::with_capacity(jobs.len());
        let to = match Transaction::of(self.db, self.place.dir()) {
            Ok(to) => to,
            Err(fault) => {
                self.take_back();
                return (Ended::Nothing(fault), failures);
            }
        };
        let is_alone = jobs.len() == 1;
        for job in jobs.iter_mut() {
            // One alone needs no savepoint: what fails takes back the transaction.
            let tried = if is_alone { self.run_one(&to, job) } else { self.try_one(&to, job) };
            let failure = tried.err();
            // SQLite ends the transaction by itself when the disk is full. A job that ran on would commit alone.
            if self.db.is_autocommit() {
                let fault = failure.unwrap_or_else(|| {
                    let why =
                        format!("use the state database {}: the disk or the quota is full, and nothing of this commit was stored; make room and ask again", self.place.path().display());
                    StoreError::new(StoreErrorKind::DiskFull, why).into()
                });
                return (Ended::Nothing(fault), failures);
            }
            failures.push(failure);
        }
        if failures.iter().all(Option::is_some) {
            self.take_back();
            return (Ended::Stored, failures);
        }
        // As late as can be: what was removed by now would take the commit along.
        let committed = to.count().and_then(|()| Ok(self.place.is_there()?));
        let committed = committed.and_then(|()| self.statement("COMMIT"));
        let Err(fault) = committed else {
            self.place.note(to.commits());
            if to.has_other_problems() {
                self.place.findings().ring();
            }
            return (Ended::Stored, failures);
        };
        self.take_back();
        let nothing = fault.is_of_nothing_stored();
        (if nothing { Ended::Nothing(fault) } else { Ended::Unknown(fault) }, failures)
    }

    fn try_one(&self, to: &Transaction<'_>, job: &mut Box<dyn Job>) -> Result<(), Fault> {
        self.statement("SAVEPOINT job")?;
        match self.run_one(to, job) {
            // Lost by now, and told by whoever looks next.
            Ok(()) if self.db.is_autocommit() => Ok(()),
            Ok(()) => self.statement("RELEASE job"),
            Err(fault) => {
                if !self.db.is_autocommit() {
                    // `ROLLBACK TO` leaves the savepoint open, hence the release.
                    self.statement("ROLLBACK TO job").and_then(|()| self.statement("RELEASE job"))?;
                }
                Err(fault)
            }
        }
    }

    fn run_one(&self, to: &Transaction<'_>, job: &mut Box<dyn Job>) -> Result<(), Fault> {
        catch_unwind(AssertUnwindSafe(|| job.run(to))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            let why =
                format!("use the state database {}: the write panicked, which is a fault of treewarden ({text}); nothing of it is stored", self.place.path().display());
            Err(StoreError::new(StoreErrorKind::Other, why).into())
        })
    }

    fn statement(&self, statement: &str) -> Result<(), Fault> {
        self.db.prepare_cached(statement)?.execute([])?;
        Ok(())
    }

    /// A transaction that is left open would have each later one refused.
    fn take_back(&self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "what was begun in the database cannot be taken back");
        }
    }
}

fn answer(jobs: Vec<Box<dyn Job>>, ended: &Result<(), CommitError>) {
    jobs.into_iter().for_each(|job| job.answer(ended.clone()));
}

/// A fault in words; one of the disk is told to whoever looks after the machine as well.
fn told(fault: Fault, place: &Place, bytes: usize) -> StoreError {
    let is_of_the_disk = fault.is_of_the_disk();
    let error = fault.tell(place.path());
    if is_of_the_disk {
        place.findings().refused(&place.path().display().to_string(), &error, bytes);
    }
    error
}

fn failed(fault: Fault, place: &Place, bytes: usize) -> CommitError {
    let error = told(fault, place, bytes);
    place.found(&error);
    // What it was itself, and not what the kind would say of it: here nothing is stored.
    let retryable = matches!(error.kind(), StoreErrorKind::Busy | StoreErrorKind::DiskFull);
    CommitError::Failed { error, retryable }
}
