//! Runs the checks, and tells which failed.
//!
//! Each check has a store of its own, and 300 s: one that takes longer hangs, and has failed. It is not for their order: a backend that
//! passes only after another check breaks the contract.
//!
//! The checks run one after another, each as a task of its own, so that a panic in one is caught and told with the others. Those that a check
//! spawns in turn are its own; one that ran over its time goes on until the runtime ends.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use treewarden_store::Backend;

use super::setup::{Open, Place};
use super::{completed, fence, lines, pruning, records, schedules, together, turns};

/// A check that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(300);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A check by its name, which is that of its function: what `except` takes and a failed run prints.
struct Check {
    name: &'static str,
    run: fn(Place) -> Running,
}

/// Makes the list from the paths of functions, so that no check can have another name than its function's.
macro_rules! checks {
    ($($module:ident::$name:ident,)*) => {
        [$(Check { name: stringify!($name), run: |place| Box::pin($module::$name(place)) }),*]
    };
}

/// Those that every backend is asked; each opens as many stores as it needs, each once.
static CHECKS: [Check; 39] = checks![
    fence::a_name_that_nobody_took_takes_no_commit,
    fence::each_taking_has_a_higher_epoch_and_goes_on_counting,
    fence::a_commit_of_an_earlier_epoch_changes_nothing,
    fence::a_commit_with_another_number_changes_nothing,
    fence::a_change_that_is_asked_again_is_stored_once,
    fence::a_change_is_not_asked_again_once_another_was_stored,
    fence::a_taking_ends_what_the_earlier_holder_asks_again,
    fence::a_change_is_stored_whole_or_not_at_all,
    fence::a_record_of_another_name_is_refused,
    fence::one_tenure_has_one_commit_however_many_ask,
    turns::a_turn_is_held_as_it_was_opened,
    turns::a_turn_is_opened_once,
    turns::open_turns_come_in_the_order_of_their_opening,
    turns::turns_come_newest_first_and_no_more_than_asked,
    turns::what_is_noted_of_a_turn_is_kept,
    turns::the_first_outcome_stands,
    turns::what_has_its_outcome_changes_no_more,
    turns::a_turn_that_the_name_does_not_hold_is_told_as_unknown,
    turns::a_turn_belongs_to_the_conversation_that_answered_it,
    turns::an_outcome_is_kept_as_it_came,
    turns::an_outcome_of_several_lines_is_kept_as_it_came,
    turns::a_prompt_may_be_any_text,
    records::a_record_is_kept_with_what_a_newer_version_wrote,
    records::a_record_is_replaced_as_a_whole,
    records::records_come_by_name_and_only_where_there_is_one,
    lines::lines_come_in_order_from_where_they_are_asked,
    lines::a_place_among_the_lines_is_taken_once,
    completed::completed_turns_are_told_down_to_one_that_the_cli_must_have_written,
    completed::no_more_completed_turns_are_told_than_a_start_can_use,
    pruning::pruning_leaves_the_newest_open_turns_and_what_the_cli_must_have,
    pruning::pruning_keeps_a_turn_only_if_count_and_age_allow_it,
    pruning::a_turn_of_the_last_minutes_stays,
    pruning::the_id_of_a_removed_turn_has_expired,
    pruning::a_new_turn_is_opened_though_the_clock_was_set_back,
    together::many_names_are_committed_at_once,
    together::a_name_and_its_open_turns_are_told_of_one_moment,
    together::what_is_asked_of_many_names_at_once_is_answered_to_each,
    together::a_call_that_was_dropped_is_found_out_by_asking_again,
    schedules::any_schedule_has_the_answers_of_the_store_in_memory,
];

/// Those that open their store more than once.
static AGAIN: [Check; 2] = checks![
    together::two_handles_of_one_store_see_each_other,
    together::what_is_stored_is_there_when_the_store_is_opened_again,
];

/// A run of all checks over one kind of store.
///
/// 39 checks, and two more with [`opens_again`](Self::opens_again). They run one after another, each on stores that `open` makes anew.
///
/// # Examples
///
/// A store that keeps its rows in a folder, and does not keep one promise yet:
///
/// ```no_run
/// use treewarden_store::MemoryStore;
/// use treewarden_testkit::store::Conformance;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// Conformance::new(|_folder| async { MemoryStore::new() })
///     .except("pruning_leaves_the_newest_open_turns_and_what_the_cli_must_have", "nothing is removed yet")
///     .run()
///     .await;
/// # }
/// ```
#[must_use = "nothing is checked until it is run"]
pub struct Conformance {
    /// Opens the store of a folder.
    open: Open,
    /// The checks of `AGAIN` run too.
    again: bool,
    /// The checks that may fail, each with the reason, in the order of the calls.
    excepted: Vec<(&'static str, &'static str)>,
}

impl fmt::Debug for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conformance").field("excepted", &self.excepted).finish_non_exhaustive()
    }
}

impl Conformance {
    /// Checks the stores that `open` makes: each is empty, and may keep what it has in the folder that is given, which is there
    /// and empty too.
    ///
    /// A store may be dropped while tasks of its own still run; its folder is removed once the check is over, and no check waits for more than its
    /// calls.
    pub fn new<S, F>(open: impl Fn(PathBuf) -> F + Send + Sync + 'static) -> Self
    where
        S: Backend,
        F: Future<Output = S> + Send + 'static,
    {
        let open: Open = Arc::new(move |folder| {
            let opened = open(folder);
            Box::pin(async move { Arc::new(opened.await) as Arc<dyn Backend> })
        });
        Self { open, again: false, excepted: Vec::new() }
    }

    /// Also checks that a folder which is opened again, or twice at once, is one store.
    ///
    /// It is for a backend that keeps what it has in the folder. It opens the same folder a second time, once while the first store is still there and
    /// once after that was dropped without [`close`](Backend::close).
    ///
    /// # Examples
    ///
    /// A store in memory does so if the opener hands out the same one for the same folder:
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use std::path::PathBuf;
    /// use std::sync::Mutex;
    ///
    /// use treewarden_store::MemoryStore;
    /// use treewarden_testkit::store::Conformance;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let stores = Mutex::new(HashMap::<PathBuf, MemoryStore>::new());
    /// let open = move |folder| {
    ///     let store = stores.lock().expect("no panic").entry(folder).or_default().clone();
    ///     async { store }
    /// };
    /// Conformance::new(open).opens_again().run().await;
    /// # }
    /// ```
    pub fn opens_again(mut self) -> Self {
        self.again = true;
        self
    }

    /// Lets a check fail, for a reason that is shown. One that passes all the same fails the run, so that the list stays true.
    ///
    /// A name that no check has fails the run too. `reason` is for whoever reads the code, and shows in the `Debug` of the run.
    pub fn except(mut self, check: &'static str, reason: &'static str) -> Self {
        self.excepted.push((check, reason));
        self
    }

    /// Runs the checks one after another, on a runtime of tokio with a timer.
    ///
    /// # Panics
    ///
    /// If any failed, with the name and the words of each; the words of its place are on stderr.
    ///
    /// # Cancel safety
    ///
    /// The check that is under way goes on when the future is dropped.
    pub async fn run(self) {
        let all: Vec<&Check> = CHECKS.iter().chain(AGAIN.iter().filter(|_| self.again)).collect();
        let mut failed = Vec::new();
        for (name, _) in &self.excepted {
            if !all.iter().any(|check| check.name == *name) {
                failed.push(format!("{name}: excepted, and no check has that name"));
            }
        }
        for check in &all {
            let excepted = self.excepted.iter().find(|(name, _)| *name == check.name);
            match (self.once(check).await, excepted) {
                (Ok(()), None) | (Err(_), Some(_)) => {}
                (Err(why), None) => failed.push(format!("{}: {why}", check.name)),
                (Ok(()), Some(_)) => failed.push(format!("{}: excepted, and it passes", check.name)),
            }
        }
        let (count, failed) = (all.len(), failed.join("\n  "));
        assert!(failed.is_empty(), "the store does not keep the contract ({count} checks):\n  {failed}");
    }

    /// Runs one check on a folder of its own.
    ///
    /// # Errors
    ///
    /// The words of its panic, or that it does not end in time.
    async fn once(&self, check: &Check) -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no folder can be made: {error}"))?;
        let place = Place::new(Arc::clone(&self.open), folder.path());
        let task = tokio::spawn((check.run)(place));
        match tokio::time::timeout(DEADLINE, task).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match error.try_into_panic() {
                Ok(panic) => said(&*panic),
                Err(error) => error.to_string(),
            }),
            Err(_) => Err(format!("it does not end within {} s", DEADLINE.as_secs())),
        }
    }
}

/// The words of a panic; those of `panic!` and `assert!` are one of two types.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}
