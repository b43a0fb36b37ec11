//! The checksum of a row: over its table and each of its cells, with their types and lengths.
//!
//! SQLite has none: a bit that flips in a text or a number on the disk is read back as if it had been written so. The key is
//! a cell like the others, so that a row that stands in another's place is seen as well. It is no protection from people.

use rusqlite::types::ValueRef;

/// The sum of a row, as its last column keeps it.
pub(crate) fn sum(table: &str, cells: &[ValueRef<'_>]) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(table.as_bytes());
    for cell in cells {
        let (kind, number);
        // Each with its length, or else what moves from the end of one text to the begin of the next would not be seen.
        let bytes: &[u8] = match cell {
            ValueRef::Null => {
                kind = 0;
                &[]
            }
            ValueRef::Integer(value) => {
                kind = 1;
                number = value.to_le_bytes();
                &number
            }
            ValueRef::Real(value) => {
                kind = 2;
                number = value.to_le_bytes();
                &number
            }
            ValueRef::Text(text) => {
                kind = 3;
                text
            }
            ValueRef::Blob(blob) => {
                kind = 4;
                blob
            }
        };
        sum.update(&[kind]);
        sum.update(&(bytes.len() as u64).to_le_bytes());
        sum.update(bytes);
    }
    sum.finalize().into()
}

/// Which row cannot be read, and why.
#[derive(Debug, Clone)]
pub(crate) struct Bad {
    /// Its place in its table.
    pub(crate) row: i64,
    pub(crate) reason: String,
}

pub(crate) const DAMAGED: &str = "its checksum does not fit what stands there";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flip_of_a_bit_is_seen_in_every_cell() {
        let (text, blob) = (b"a prompt".to_vec(), vec![7; 16]);
        let cells = |text: &[u8], blob: &[u8], number| {
            sum(
                "turns",
                &[ValueRef::Integer(number), ValueRef::Text(text), ValueRef::Null, ValueRef::Blob(blob)],
            )
        };
        let right = cells(&text, &blob, 5);
        for bit in 0..64 {
            assert_ne!(right, cells(&text, &blob, 5 ^ (1 << bit)));
        }
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(right, cells(&flipped, &blob, 5));
        }
        for bit in 0..blob.len() * 8 {
            let mut flipped = blob.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(right, cells(&text, &flipped, 5));
        }
    }

    #[test]
    fn what_moves_to_the_next_cell_or_changes_its_type_or_table_is_seen() {
        let (text, blob) = (|text| ValueRef::Text(text), |bytes| ValueRef::Blob(bytes));
        let right = sum("turns", &[text(b"ab"), text(b"c")]);
        assert_ne!(right, sum("turns", &[text(b"a"), text(b"bc")]));
        assert_ne!(right, sum("turns", &[blob(b"ab"), text(b"c")]));
        assert_ne!(right, sum("turns", &[text(b"c"), text(b"ab")]));
        assert_ne!(right, sum("lines", &[text(b"ab"), text(b"c")]));
        assert_ne!(sum("turns", &[ValueRef::Null]), sum("turns", &[text(b"")]));
    }
}
