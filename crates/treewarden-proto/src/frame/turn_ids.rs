//! The turns that a frame names: nearly always none or one, so that holding them costs no allocation.

use std::ops::Deref;

use crate::TurnId;

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
}

impl TurnIds {
    /// The turns as a slice.
    pub fn as_slice(&self) -> &[TurnId] {
        match &self.0 {
            List::None => &[],
            List::One(one) => one,
            List::Many(many) => many,
        }
    }

    pub(super) fn push(&mut self, id: TurnId) {
        // A frame names a single prompt in both of its fields.
        if self.contains(&id) {
            return;
        }
        match &mut self.0 {
            List::None => self.0 = List::One([id]),
            List::One([first]) => self.0 = List::Many(vec![*first, id]),
            List::Many(many) => many.push(id),
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
