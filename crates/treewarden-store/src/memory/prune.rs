//! What is removed, since it is old or too much.

use std::collections::{HashMap, HashSet};

use treewarden_proto::SessionId;

use super::state::{Gone, State};
use crate::{Keep, Pruned, expiry};

impl State {
    pub(super) fn prune(&mut self, keep: Keep, now: u64) -> Pruned {
        let mut pruned = Pruned::default();
        for seq in self.old(keep, now) {
            if let Some(turn) = self.turns.remove(&seq) {
                let id = turn.row.turn;
                self.places.remove(&id);
                if expiry::made_at(id).is_some() {
                    let name = self.names.entry(turn.row.name).or_default();
                    name.watermark = name.watermark.max(Some(id));
                } else {
                    self.expired.insert(id, Gone { digest: expiry::digest(id, &turn.prompt), at: now });
                }
                pruned.turns += 1;
            }
        }
        let before = self.expired.len();
        self.expired.retain(|_, gone| is_within(gone.at, now, Some(keep.ids)));
        pruned.ids = before - self.expired.len();
        pruned
    }

    /// The places of the turns that go.
    fn old(&self, keep: Keep, now: u64) -> Vec<i64> {
        let mut kept: HashMap<_, usize> = HashMap::new();
        let mut anchored: HashSet<SessionId> = HashSet::new();
        let mut old = Vec::new();
        for (seq, turn) in self.turns.iter().rev() {
            let Some(settled_at) = turn.row.settled_at else { continue };
            let newer = kept.entry(&turn.row.name).or_default();
            let is_kept = keep.turns.is_none_or(|most| *newer < most) && is_within(settled_at, now, keep.age);
            *newer += 1;
            let is_anchor = turn.completed().is_some_and(|completed| completed.written)
                && anchored.insert(turn.row.session_id);
            if !is_kept && !is_anchor && !expiry::is_fresh(turn.row.opened_at, now) {
                old.push(*seq);
            }
        }
        old
    }
}

fn is_within(at: u64, now: u64, age: Option<std::time::Duration>) -> bool {
    age.is_none_or(|age| u128::from(now.saturating_sub(at)) <= age.as_millis())
}
