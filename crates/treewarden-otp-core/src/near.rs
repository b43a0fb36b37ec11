//! A hash that keeps numbers together which were given one after another.
//!
//! A table of a hundred thousand children does not fit into the processor's cache. What is done with children in the
//! order of their numbers, as when many are started, then waits for memory once for eight of them, and not for each.
//!
//! It is for numbers that this program gave. Whoever can choose the keys can make them collide.

use std::hash::{BuildHasherDefault, Hasher};

/// Makes the hash of a map by such numbers.
pub type NearBuild = BuildHasherDefault<Near>;

/// Spreads blocks of eight numbers over a table, and lays the numbers of a block side by side.
#[derive(Debug, Default, Clone, Copy)]
pub struct Near(u64);

/// The golden ratio as a fraction of 2^64. It is odd, and its bits are spread, so that all bits of a number
/// count.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Near {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        let (block, place) = ((number >> 3) ^ self.0, number & 7);
        let product = u128::from(block) * SPREAD;
        let spread = (product >> 64) as u64 ^ product as u64;
        // The table compares the upper bits before it looks at a key, so they differ within a block as well.
        self.0 = ((spread & !7) | place) ^ (place << 57);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    fn hash(number: u64) -> u64 {
        NearBuild::default().hash_one(number)
    }

    #[test]
    fn the_numbers_of_a_block_lie_side_by_side() {
        for number in (0..8_000).step_by(8) {
            let first = hash(number) & 0xffff;
            assert!((0..8).all(|place| hash(number + place) & 0xffff == first + place), "{number}");
        }
    }

    #[test]
    fn the_numbers_of_a_block_differ_in_their_upper_bits() {
        let upper: HashSet<u64> = (0..8).map(|place| hash(4_000 + place) >> 57).collect();
        assert_eq!(upper.len(), 8);
    }

    /// As many blocks as there are places take about 63 % of these when they are spread by chance.
    #[test]
    fn blocks_are_spread_over_a_table_whatever_the_step_between_them() {
        const PLACES: u64 = 1 << 13;
        for step in [8, 24, 1 << 10, 1 << 16, 1 << 32] {
            let taken: HashSet<u64> = (0..PLACES).map(|n| hash(n * step) >> 3 & (PLACES - 1)).collect();
            assert!(taken.len() as u64 > PLACES / 2, "a step of {step}: {} places", taken.len());
        }
    }
}
