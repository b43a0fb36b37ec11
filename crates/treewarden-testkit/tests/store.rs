//! The conformance kit on the stores of `treewarden-store`.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use treewarden_store::{MemoryStore, Store, StoreOptions};
use treewarden_testkit::store::Conformance;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_memory_keeps_the_contract() {
    let stores = Mutex::new(HashMap::<PathBuf, MemoryStore>::new());
    let open = move |folder| {
        let store = stores.lock().unwrap().entry(folder).or_default().clone();
        async { store }
    };
    Conformance::new(open).opens_again().run().await;
}

#[tokio::test]
async fn one_thread_is_enough_to_run_the_kit() {
    Conformance::new(|_folder| async { MemoryStore::new() }).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_schema_3_keeps_what_it_can_of_the_contract() {
    const NO_EPOCHS: &str = "schema 3 has no epochs, and no chain of commits";
    const NO_LINES: &str = "schema 3 has no lines";
    const BY_COUNT: &str = "schema 3 removes by count alone, at once, and keeps no ids";
    const A_LINE: &str = "schema 3 has a line of its log for each outcome";
    const APART: &str =
        "schema 3 stores the parts of a change one after another, and stops at an unknown turn";
    let open = |folder: PathBuf| async move { Store::open(&folder, StoreOptions::default()).unwrap() };
    let mut kit = Conformance::new(open);
    for (why, checks) in [
        (
            NO_EPOCHS,
            &[
                "a_name_that_nobody_took_takes_no_commit",
                "each_taking_has_a_higher_epoch_and_goes_on_counting",
                "a_commit_of_an_earlier_epoch_changes_nothing",
                "a_commit_with_another_number_changes_nothing",
                "a_change_that_is_asked_again_is_stored_once",
                "a_change_is_not_asked_again_once_another_was_stored",
                "a_taking_ends_what_the_earlier_holder_asks_again",
                "one_tenure_has_one_commit_however_many_ask",
                "a_call_that_was_dropped_is_found_out_by_asking_again",
                "any_schedule_has_the_answers_of_the_store_in_memory",
            ][..],
        ),
        (
            NO_LINES,
            &["lines_come_in_order_from_where_they_are_asked", "a_place_among_the_lines_is_taken_once"],
        ),
        (A_LINE, &["an_outcome_of_several_lines_is_kept_as_it_came"]),
        (
            BY_COUNT,
            &[
                "pruning_keeps_a_turn_only_if_count_and_age_allow_it",
                "a_turn_of_the_last_minutes_stays",
                "the_id_of_a_removed_turn_has_expired",
                "a_new_turn_is_opened_though_the_clock_was_set_back",
            ],
        ),
        (
            APART,
            &[
                "a_change_is_stored_whole_or_not_at_all",
                "a_record_of_another_name_is_refused",
                "what_has_its_outcome_changes_no_more",
                "a_turn_that_the_name_does_not_hold_is_told_as_unknown",
                "a_turn_is_opened_once",
            ],
        ),
    ] {
        for check in checks {
            kit = kit.except(check, why);
        }
    }
    kit.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_names_the_checks_and_what_was_excepted_in_vain() {
    let kit = Conformance::new(|_folder| async { MemoryStore::new() });
    let kit = kit.except("a_turn_is_opened_once", "it is not so").except("no_such_check", "nor this");
    let panic = tokio::spawn(kit.run()).await.unwrap_err().into_panic();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.contains("a_turn_is_opened_once: excepted, and it passes"), "{said}");
    assert!(said.contains("no_such_check: excepted, and no check has that name"), "{said}");
}
