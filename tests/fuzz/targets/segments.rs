//! What earlier versions left of a journal, of any bytes: the store opens, and what it was told then is there.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use treewarden_sqlite::{SqliteOptions, SqliteStore};

static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let dir = DIR.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path().join("state");
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("a folder");
    let mut segment = Vec::new();
    match data.strip_prefix(b"!") {
        Some(raw) => segment.extend_from_slice(raw),
        // Lines get a right head, so that what they say is reached.
        None => {
            for line in data.split(|byte| *byte == b'\n') {
                segment.extend_from_slice(format!("\n{:08x} {:08x} ", line.len(), checksum(line)).as_bytes());
                segment.extend_from_slice(line);
            }
        }
    }
    std::fs::write(dir.join("turns-1.log"), &segment).expect("written");
    for _ in 0..2 {
        drop(SqliteStore::open(&dir, SqliteOptions::default()).expect("it opens"));
    }
});

/// CRC-32, as `crc32fast` has it.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    };
    !bytes.iter().fold(!0, step)
}
