//! The conformance kit on this store.

use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::Durability;
use treewarden_testkit::store::Conformance;

async fn check(durability: Durability) {
    let open = move |folder: std::path::PathBuf| async move {
        SqliteStore::open(&folder, SqliteOptions::default().durability(durability)).unwrap()
    };
    Conformance::new(open).opens_again().run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_survives_the_process_keeps_the_contract() {
    check(Durability::Process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_survives_the_machine_keeps_the_contract() {
    check(Durability::Power).await;
}
