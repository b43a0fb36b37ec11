//! The last events, bounded in number and in bytes, and where each reader stands in them.
//!
//! It is pure: it takes no lock, reads no clock and wakes nobody. It must never keep anything for a reader: a reader is
//! the number of what it has seen, so that one who does not read costs nothing.

use std::collections::VecDeque;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many events at most.
    pub items: usize,
    /// How many bytes all of them together have at most, except that the newest is kept whatever its size.
    pub bytes: usize,
}

/// The last events, bounded in number and in bytes: the oldest go to make room.
#[derive(Debug)]
pub struct Ring<T> {
    limits: Limits,
    /// Each with its size, the oldest first. Their numbers are the last ones up to `last`, without a hole.
    kept: VecDeque<(T, usize)>,
    bytes: usize,
    /// The number of the newest event; 0 before the first.
    last: u64,
}

/// How far a reader has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    seen: u64,
    /// Why nobody can say how much it missed, if it has not been told so yet.
    stray: Option<Missed>,
}

impl Cursor {
    /// The number of the last event that it has seen, or was told that it missed.
    pub fn seen(self) -> u64 {
        self.seen
    }
}

/// What a reader has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// So many events, which are gone.
    Gone(u64),
    /// Nobody can say what: it comes from another life.
    OtherLife,
    /// Nobody can say what: it says that it has seen an event whose number was not given yet.
    NotGiven,
}

/// What there is for a reader.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// The next event.
    Event(T),
    /// There are events that the reader has not seen and will not.
    Missed(Missed),
    /// It has seen everything.
    Nothing,
}

impl<T> Ring<T> {
    /// An empty ring.
    pub fn new(limits: Limits) -> Self {
        Self { limits, kept: VecDeque::new(), bytes: 0, last: 0 }
    }

    /// The number of the newest event.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Adds an event, which is made with its number; the oldest go until there is room for it.
    ///
    /// The newest is kept whatever its size: whoever publishes sees that none is larger than the whole ring.
    pub fn push(&mut self, size: usize, event: impl FnOnce(u64) -> T) {
        while self.make_room(size).is_some() {}
        self.last += 1;
        self.bytes += size;
        self.kept.push_back((event(self.last), size));
    }

    /// Takes the oldest event out if there is no room for one of this size.
    ///
    /// [`push`](Self::push) does so as often as is needed. It is for whoever holds a lock meanwhile, and must not drop an event
    /// under that.
    pub fn make_room(&mut self, size: usize) -> Option<T> {
        let is_full =
            self.kept.len() >= self.limits.items || self.bytes.saturating_add(size) > self.limits.bytes;
        // With nothing left there is nothing to take out: an event that is greater than the bound would
        // otherwise go untold.
        if is_full { self.pop() } else { None }
    }

    /// Takes the oldest event out if its number is this one, or less.
    pub fn let_go(&mut self, heard: u64) -> Option<T> {
        if self.gone() < heard { self.pop() } else { None }
    }

    fn pop(&mut self) -> Option<T> {
        let (event, freed) = self.kept.pop_front()?;
        self.bytes -= freed;
        Some(event)
    }

    /// A reader of what comes from now on.
    pub fn now(&self) -> Cursor {
        Cursor { seen: self.last, stray: None }
    }

    /// A reader of all that is kept, and of what comes.
    pub fn kept(&self) -> Cursor {
        Cursor { seen: self.gone(), stray: None }
    }

    /// A reader that has seen this event and those before it, or comes from another ring (`None`).
    pub fn after(&self, seq: Option<u64>) -> Cursor {
        let stray = match seq {
            Some(seen) if seen <= self.last => return Cursor { seen, stray: None },
            // Waited for, it would be told of nothing that happens until then, without a word.
            Some(_) => Missed::NotGiven,
            None => Missed::OtherLife,
        };
        Cursor { seen: self.gone(), stray: Some(stray) }
    }

    /// Takes a reader one step on.
    pub fn read(&self, cursor: &mut Cursor) -> Read<T>
    where
        T: Clone,
    {
        let gone = self.gone();
        if let Some(missed) = cursor.stray {
            *cursor = Cursor { seen: gone, stray: None };
            return Read::Missed(missed);
        }
        if cursor.seen < gone {
            let missed = gone - cursor.seen;
            cursor.seen = gone;
            return Read::Missed(Missed::Gone(missed));
        }
        // The index is less than `kept.len()`, or there is no such event yet.
        let index = usize::try_from(cursor.seen - gone).unwrap_or(usize::MAX);
        let Some((event, _)) = self.kept.get(index) else { return Read::Nothing };
        cursor.seen += 1;
        Read::Event(event.clone())
    }

    /// The number of the newest event that is not kept any more.
    fn gone(&self) -> u64 {
        self.last - self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(items: usize, bytes: usize) -> Ring<u64> {
        Ring::new(Limits { items, bytes })
    }

    fn push(ring: &mut Ring<u64>, size: usize) {
        ring.push(size, |seq| seq);
    }

    /// All that there is for a reader, until it has seen everything.
    fn rest(ring: &Ring<u64>, mut cursor: Cursor) -> Vec<Read<u64>> {
        let read = std::iter::from_fn(|| Some(ring.read(&mut cursor)).filter(|read| *read != Read::Nothing));
        read.collect()
    }

    fn events(seqs: std::ops::RangeInclusive<u64>) -> Vec<Read<u64>> {
        seqs.map(Read::Event).collect()
    }

    #[test]
    fn the_first_event_has_the_number_1_and_the_others_follow_without_a_hole() {
        let mut ring = ring(8, 100);
        let cursor = ring.now();
        assert_eq!((ring.last(), rest(&ring, cursor)), (0, Vec::new()));
        (0..3).for_each(|_| push(&mut ring, 1));
        assert_eq!((ring.last(), rest(&ring, cursor)), (3, events(1..=3)));
    }

    #[test]
    fn whoever_comes_late_gets_what_is_kept_and_what_comes() {
        let mut ring = ring(2, 100);
        (0..5).for_each(|_| push(&mut ring, 1));
        assert_eq!(rest(&ring, ring.kept()), events(4..=5), "without a word of what it did not ask for");
        assert_eq!(rest(&ring, ring.now()), Vec::new());
        assert_eq!(rest(&ring, ring.after(Some(4))), events(5..=5));
        assert_eq!(rest(&ring, ring.after(Some(3))), events(4..=5), "nothing is missing");
    }

    #[test]
    fn whoever_is_too_late_is_told_first_how_much_it_missed_and_once() {
        let mut ring = ring(2, 100);
        let slow = ring.now();
        (0..5).for_each(|_| push(&mut ring, 1));
        let told = vec![Read::Missed(Missed::Gone(3)), Read::Event(4), Read::Event(5)];
        assert_eq!(rest(&ring, slow), told);
        assert_eq!(rest(&ring, ring.after(Some(0))), told, "whether it waited or comes back");
        assert_eq!(rest(&ring, ring.after(Some(2)))[0], Read::Missed(Missed::Gone(1)));
        assert_eq!(ring.last(), 5, "a gap takes no number");
    }

    #[test]
    fn whoever_comes_from_another_life_is_told_so_even_if_nothing_has_happened_yet() {
        let mut ring = ring(2, 100);
        assert_eq!(rest(&ring, ring.after(None)), [Read::Missed(Missed::OtherLife)]);
        (0..3).for_each(|_| push(&mut ring, 1));
        let told = [Read::Missed(Missed::OtherLife), Read::Event(2), Read::Event(3)];
        assert_eq!(rest(&ring, ring.after(None)), told);
    }

    #[test]
    fn whoever_has_seen_what_has_not_happened_is_told_that_and_not_of_another_life() {
        let mut ring = ring(2, 100);
        (0..3).for_each(|_| push(&mut ring, 1));
        let told = [Read::Missed(Missed::NotGiven), Read::Event(2), Read::Event(3)];
        assert_eq!(rest(&ring, ring.after(Some(4))), told);
        assert_eq!(rest(&ring, ring.after(Some(3))), []);
    }

    #[test]
    fn the_oldest_go_until_there_is_room_for_the_bytes_of_the_newest() {
        let mut ring = ring(100, 10);
        (0..5).for_each(|_| push(&mut ring, 2));
        assert_eq!((ring.kept.len(), ring.bytes), (5, 10));
        push(&mut ring, 3);
        assert_eq!((ring.kept.len(), ring.bytes), (4, 9), "two of 2 bytes made room for one of 3");
        push(&mut ring, 11);
        assert_eq!((ring.kept.len(), ring.bytes), (1, 11), "the newest is kept in any case");
        push(&mut ring, 1);
        assert_eq!((ring.kept.len(), ring.bytes), (1, 1));
    }

    #[test]
    fn what_was_heard_is_let_go_and_is_no_gap_for_those_who_have_heard_it() {
        let mut ring = ring(8, 100);
        (0..4).for_each(|_| push(&mut ring, 5));
        let (heard, late) = (ring.after(Some(2)), ring.after(Some(1)));
        assert_eq!(std::iter::from_fn(|| ring.let_go(2)).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((ring.kept.len(), ring.bytes), (2, 10));
        assert_eq!(rest(&ring, heard), events(3..=4));
        assert_eq!(rest(&ring, late)[0], Read::Missed(Missed::Gone(1)));
        assert_eq!(std::iter::from_fn(|| ring.let_go(u64::MAX)).count(), 2);
        assert_eq!((ring.let_go(u64::MAX), ring.bytes), (None, 0));
        push(&mut ring, 1);
        assert_eq!(rest(&ring, ring.kept()), events(5..=5), "the numbers go on");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        Read(usize),
        Come(Option<u64>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_usize..40).prop_map(Step::Push),
            4 => any::<usize>().prop_map(Step::Read),
            1 => proptest::option::of(0_u64..40).prop_map(Step::Come),
        ]
    }

    /// A reader, and what it knows for certain.
    struct Model {
        cursor: Cursor,
        /// The last number that it has seen, or was told that it missed; unknown until it is told of another life.
        seen: Option<u64>,
    }

    proptest! {
        /// In whatever order is published and read, each reader gets numbers without a hole, or is told of exactly those
        /// that are missing; and the ring never holds more than it may.
        #[test]
        fn each_reader_gets_a_dense_sequence_or_an_exactly_counted_gap(
            items in 1_usize..6,
            bytes in 1_usize..80,
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut ring = ring(items, bytes);
            let mut readers = vec![Model { cursor: ring.now(), seen: Some(0) }];
            for step in steps {
                match step {
                    Step::Push(size) => {
                        push(&mut ring, size);
                        let sizes: usize = ring.kept.iter().map(|(_, size)| size).sum();
                        prop_assert_eq!(ring.bytes, sizes);
                        prop_assert!(ring.kept.len() <= items);
                        prop_assert!(ring.bytes <= bytes || ring.kept.len() == 1);
                    }
                    Step::Come(seq) => {
                        let seen = seq.filter(|seq| *seq <= ring.last());
                        readers.push(Model { cursor: ring.after(seq), seen });
                    }
                    Step::Read(who) => {
                        let who = who % readers.len();
                        let Model { cursor, seen } = &mut readers[who];
                        match (ring.read(cursor), *seen) {
                            (Read::Event(seq), Some(before)) => {
                                prop_assert_eq!(seq, before + 1);
                                *seen = Some(seq);
                            }
                            (Read::Missed(Missed::Gone(missed)), Some(before)) => {
                                prop_assert!(missed > 0);
                                *seen = Some(before + missed);
                                prop_assert_eq!(ring.kept.front().map(|(seq, _)| *seq), Some(before + missed + 1));
                            }
                            (Read::Missed(Missed::OtherLife | Missed::NotGiven), None) => *seen = Some(cursor.seen()),
                            (Read::Nothing, Some(before)) => prop_assert_eq!(before, ring.last()),
                            (read, seen) => prop_assert!(false, "{read:?} for one that has seen {seen:?}"),
                        }
                    }
                }
            }
        }
    }
}
