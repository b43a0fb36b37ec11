//! The name of the folder that the CLI keeps for a working directory.
//!
//! It has to be what the real CLI makes of the same path, or else a transcript is looked for where none is.
//!
//! | working directory | folder below `projects` |
//! |---|---|
//! | `/home/user/a_b.c` | `-home-user-a-b-c` |
//! | more than 200 units | the first 200, a dash, and a hash of the path in base 36 |
//!
//! Two directories can have the same name (`/a/b` and `/a-b`), as in the real CLI; their transcripts then lie side by side, told apart by the
//! id of the conversation alone. It is pure: nothing looks whether the directory is there.

use std::path::Path;

/// The longest name that stands unshortened.
///
/// In UTF-16 units, which are bytes here as all that is left is ASCII.
const MAX: usize = 200;

/// Names the folder of a working directory: what is no ASCII letter or digit is a dash, and a long name is cut and told apart
/// by a hash, as in CLI 2.1.332.
pub(super) fn project_key(cwd: &Path) -> String {
    let path = cwd.to_string_lossy();
    // By UTF-16 units, as JavaScript counts: an emoji is two dashes.
    let key = path.encode_utf16().map(|unit| match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii_alphanumeric() => char::from(byte),
        _ => '-',
    });
    let key: String = key.collect();
    if key.len() <= MAX {
        return key;
    }
    let unit = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = path.encode_utf16().fold(0, unit);
    format!("{}-{}", &key[..MAX], base36(hash.unsigned_abs()))
}

/// The number in digits and small letters, as JavaScript's `toString(36)` writes it, without leading zeros.
fn base36(mut number: u32) -> String {
    let mut digits = String::new();
    loop {
        digits.insert(0, char::from_digit(number % 36, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_the_name_that_the_cli_was_seen_to_give_it() {
        let key = |path: &str| project_key(Path::new(path));
        assert_eq!(key("/home/user/caf\u{e9}_x.y"), "-home-user-caf--x-y");
        assert_eq!(key("/home/user/\u{1f600}emoji"), "-home-user---emoji");
        let long = key(&format!("/home/user/{}/{}", "A".repeat(100), "b-._~".repeat(25)));
        assert_eq!(long.len(), 207);
        assert!(long.ends_with("-b---7p49rq"), "{long}");
        let [x, y, z, w] = ["x", "y", "z", "w"].map(|letter| letter.repeat(60));
        let long = key(&format!("/home/user/{x}/{y}/{z}/\u{fc}{w}"));
        assert!(long.ends_with("ww-yk80sw"), "{long}");
    }
}
