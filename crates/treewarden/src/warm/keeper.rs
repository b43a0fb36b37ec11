//! The task that keeps one pool filled.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use treewarden_core::warm::{Refill, Step};
use treewarden_otp_core::Backoff;

use super::Warm;
use super::pool::Pool;
use super::spare::{self, End};

/// Fills the pool until nobody wants it any more and its last CLI is gone.
pub(super) async fn keep(pool: Arc<Pool>, warm: Weak<Warm>) {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).jitter(0.0);
    let mut refill = Refill::new(backoff);
    let mut spares = JoinSet::new();
    loop {
        let at = match refill.step(Instant::now(), pool.stock()) {
            Step::Start => {
                match warm.upgrade() {
                    Some(warm) => begin(&mut spares, &pool, &warm),
                    // The host is gone: what still waits here is ended, and the loop ends with the last of
                    // it.
                    None => pool.close(),
                }
                continue;
            }
            Step::WaitUntil(at) => Some(at),
            Step::Wait => None,
        };
        // The pool is retired only when no task is left: each task has a process for which its slot stands.
        if spares.is_empty() && retire(&warm, &pool) {
            return;
        }
        // Each branch may be dropped without loss: the bell keeps one ring, and `join_next` hands out an end
        // once.
        tokio::select! {
            () = pool.bell.notified() => {}
            Some(ended) = spares.join_next(), if !spares.is_empty() => match ended {
                Ok((End::Served, _)) => {}
                Ok((End::Crowded, _)) => refill.crowded(Instant::now()),
                Ok((End::Failed, lived)) => refill.failed(Instant::now(), lived),
                // A task that panicked counts as one whose CLI died at once: refilled without a wait, a fault
                // that is always met would start CLIs without end.
                Err(_) => refill.failed(Instant::now(), Duration::ZERO),
            },
            () = sleep_until(at) => {}
        }
    }
}

fn begin(spares: &mut JoinSet<(End, Duration)>, pool: &Arc<Pool>, warm: &Arc<Warm>) {
    let (listed, orders) = pool.list();
    let (starting, age) = (Arc::clone(&warm.starting), warm.age);
    spares.spawn(spare::run(listed, orders, Arc::downgrade(warm), starting, age));
}

/// Takes the pool off the host's list if it is done.
fn retire(warm: &Weak<Warm>, pool: &Arc<Pool>) -> bool {
    match warm.upgrade() {
        Some(warm) => warm.retire(pool),
        None => pool.is_done(),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
