//! Where the CLI keeps a conversation on disk.
//!
//! The names are computed, and nothing is read: the caller resolves symbolic links in the directory first, as the
//! CLI does.

use std::path::{Path, PathBuf};

use crate::SessionId;

/// The longest key that stands unshortened.
const MAX_KEY: usize = 200;

/// The name of the folder that the CLI keeps for a working directory, given by its real path.
///
/// Measured with CLI 2.1.330 and 2.1.197: each UTF-16 unit that is not an ASCII letter or digit becomes `-`, without Unicode
/// normalization, and a longer name than 200 is cut and gets a hash of the whole path.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use treewarden_proto::transcript::project_key;
///
/// assert_eq!(project_key(Path::new("/home/user/my project")), "-home-user-my-project");
/// ```
pub fn project_key(cwd: &Path) -> String {
    let path = cwd.to_string_lossy();
    // JavaScript's strings are UTF-16: an emoji is two units, and so two dashes.
    let units = || path.encode_utf16();
    let key: String = units().map(key_char).collect();
    if key.len() <= MAX_KEY {
        return key;
    }
    // The hash of 31 that wraps at 32 bits, as JavaScript computes it; any other would name a folder that the
    // CLI never makes.
    let hash = units().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // The key is ASCII alone, so that the cut cannot lie within a character. The sign of the hash is dropped,
    // as the CLI does.
    format!("{}-{}", &key[..MAX_KEY], base36(hash.unsigned_abs()))
}

/// The file of a conversation, under the CLI's configuration directory (`~/.claude` unless it is told otherwise).
pub fn transcript_path(config_dir: &Path, cwd: &Path, session: SessionId) -> PathBuf {
    config_dir.join("projects").join(project_key(cwd)).join(format!("{session}.jsonl"))
}

fn key_char(unit: u16) -> char {
    u8::try_from(unit).ok().filter(u8::is_ascii_alphanumeric).map_or('-', char::from)
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit(number % 36, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}
