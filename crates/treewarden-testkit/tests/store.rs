//! The conformance kit on the stores of `treewarden-store`.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use treewarden_store::MemoryStore;
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
async fn a_run_that_fails_names_the_checks_and_what_was_excepted_in_vain() {
    let kit = Conformance::new(|_folder| async { MemoryStore::new() });
    let kit = kit.except("a_turn_is_opened_once", "it is not so").except("no_such_check", "nor this");
    let panic = tokio::spawn(kit.run()).await.unwrap_err().into_panic();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.contains("a_turn_is_opened_once: excepted, and it passes"), "{said}");
    assert!(said.contains("no_such_check: excepted, and no check has that name"), "{said}");
}
