//! What the tests of the supervisor share.

use std::time::Duration;

/// Polls until `probe` gives a value.
pub(crate) async fn eventually<T>(mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..2500 {
        if let Some(value) = probe().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("nothing happened within the deadline");
}
