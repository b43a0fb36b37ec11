//! A config file of any text: a tree, or a report that gives no value of an environment away.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

/// A value that may stand in an environment, and nowhere else.
const SECRET: &str = "SECRET_VALUE_XYZ";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match treewarden::config::parse(text, Path::new("/x/y.toml")) {
        Ok(tree) => {
            let shown = format!("{tree:?}");
            assert!(!shown.contains(SECRET) || !is_hidden(text), "{shown}");
        }
        Err(error) => {
            let report = format!("{error}");
            assert!(!report.contains(SECRET) || !is_hidden(text), "{report}");
        }
    }
});

/// It stands in plain values of environments alone.
fn is_hidden(text: &str) -> bool {
    let mut section = "";
    text.split('\n').all(|line| {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        }
        let is_environment = ["[child.env]", "[defaults.env]", "[child.settings]"].contains(&section);
        !line.contains(SECRET) || is_environment && line == format!("B = \"{SECRET}\"")
    })
}
