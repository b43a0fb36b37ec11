//! The turns that a frame names: nearly always none or one, so that holding them costs no allocation.

use std::collections::HashSet;
use std::ops::Deref;

use crate::TurnId;

/// From so many on a set says whether an id is there already: a line may hold a million of them, and a look through all for each
/// would take minutes of the thread that every session shares.
const FEW: usize = 16;

/// The turns that a frame names as its own, without repeats and in the order of the frame.
///
/// It is read as a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnIds(List);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum List {
    #[default]
    None,
    One([TurnId; 1]),
    Many(Vec<TurnId>),
    /// In a box, so that the frames of nearly every line are not larger for it.
    VeryMany(Box<VeryMany>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct VeryMany {
    ids: Vec<TurnId>,
    known: HashSet<TurnId>,
}

impl TurnIds {
    /// The turns as a slice.
    pub fn as_slice(&self) -> &[TurnId] {
        match &self.0 {
            List::None => &[],
            List::One(one) => one,
            List::Many(many) => many,
            List::VeryMany(many) => &many.ids,
        }
    }

    /// Whether the turn is one of them; it takes no longer where they are many.
    pub fn contains(&self, id: &TurnId) -> bool {
        match &self.0 {
            List::VeryMany(many) => many.known.contains(id),
            _ => self.as_slice().contains(id),
        }
    }

    pub(super) fn push(&mut self, id: TurnId) {
        // A frame names a single prompt in both of its fields.
        match &mut self.0 {
            List::None => self.0 = List::One([id]),
            List::One([first]) if *first != id => self.0 = List::Many(vec![*first, id]),
            List::Many(many) if !many.contains(&id) => {
                many.push(id);
                if many.len() > FEW {
                    let ids = std::mem::take(many);
                    let known = ids.iter().copied().collect();
                    self.0 = List::VeryMany(Box::new(VeryMany { ids, known }));
                }
            }
            List::VeryMany(many) => {
                if many.known.insert(id) {
                    many.ids.push(id);
                }
            }
            List::One(_) | List::Many(_) => {}
        }
    }
}

impl Deref for TurnIds {
    type Target = [TurnId];

    fn deref(&self) -> &[TurnId] {
        self.as_slice()
    }
}

impl<'a> IntoIterator for &'a TurnIds {
    type Item = &'a TurnId;
    type IntoIter = std::slice::Iter<'a, TurnId>;

    fn into_iter(self) -> Self::IntoIter {
        self.as_slice().iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_order_and_stand_once_however_many_there_are() {
        for many in [1, 2, FEW, FEW + 1, 20_000] {
            let ids: Vec<TurnId> = (0..many).map(|_| TurnId::new()).collect();
            let mut read = TurnIds::default();
            for id in ids.iter().chain(ids.iter().rev()) {
                read.push(*id);
            }
            assert_eq!(read.as_slice(), ids, "{many}");
            assert!(ids.iter().all(|id| read.contains(id)) && !read.contains(&TurnId::new()));
        }
    }
}
