//! The documentation names tests that exist, examples that exist, and pages that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below this folder whose name ends so.
fn files(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    let hidden = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with('.') || name == "target"
    };
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() && !hidden(&path) {
            files(&path, end, found);
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
}

/// The name of every test of the workspace, and of every check of the kit that each store is tested with.
fn tests() -> BTreeSet<String> {
    let mut sources = Vec::new();
    files(Path::new(ROOT), ".rs", &mut sources);
    let mut names = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(&source).expect("a source is text");
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            is_test |= line.starts_with("pub(super) async fn ") && line.ends_with("(place: Place) {");
            if is_test && let Some((_, rest)) = line.split_once("fn ") {
                names.extend(rest.split('(').next().map(str::to_owned));
                is_test = false;
            }
        }
    }
    names
}

/// The words in code font that look like the name of a test.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.split('`').skip(1).step_by(2).filter(is_name)
}

/// The rows of the tables whose last column says which tests hold the first.
fn promises(page: &str) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in read(page).lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        match cells.last() {
            Some(&"tests" | &"test") if line.starts_with('|') => in_table = true,
            Some(tests) if in_table && line.starts_with("| ") => {
                rows.push((cells[0].to_owned(), (*tests).to_owned()));
            }
            _ => in_table &= line.starts_with('|'),
        }
    }
    rows
}

#[test]
fn every_promise_names_a_test_and_every_named_test_exists() {
    let tests = tests();
    let rows = promises("docs/semantics.md");
    assert!(rows.len() > 40, "the tables of docs/semantics.md are found: {}", rows.len());
    let mut missing = Vec::new();
    for (promise, by) in rows {
        if named(&by).next().is_none() {
            missing.push(format!("no test: {promise}"));
        }
        missing.extend(
            named(&by).filter(|name| !tests.contains(*name)).map(|name| format!("no such test: {name}")),
        );
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_other_pages_name_tests_that_exist() {
    let tests = tests();
    for page in ["docs/otp.md", "docs/session-machine.md"] {
        for (promise, by) in promises(page) {
            for name in named(&by) {
                assert!(tests.contains(name), "{page}: {promise}: no test {name}");
            }
        }
    }
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut pages = Vec::new();
    files(Path::new(ROOT), ".md", &mut pages);
    let mut dead = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page is text");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            if !page.parent().expect("a page is in a folder").join(file).exists() {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn the_tree_in_the_readme_is_a_tree() {
    let page = read("README.md");
    let file = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a tree");
    let spec = treewarden::config::parse(file, Path::new("treewarden.toml")).expect("it is valid");
    assert_eq!(spec.sessions().len(), 2);
}

#[test]
fn every_file_of_the_code_map_exists() {
    let page = read("ARCHITECTURE.md");
    let map = page.split("## Code map").nth(1).and_then(|rest| rest.split("## The path").next());
    let mut sources = Vec::new();
    files(&Path::new(ROOT).join("crates"), "", &mut sources);
    files(&Path::new(ROOT).join("tests"), "", &mut sources);
    let sources: Vec<String> = sources.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    for file in map.expect("the code map").split('`').skip(1).step_by(2) {
        let is_file = file.ends_with(".rs") && !file.contains(' ');
        let exists = !is_file || sources.iter().any(|source| source.ends_with(&format!("/{file}")));
        assert!(exists, "{file} is in the code map and nowhere else");
        let is_folder = file.ends_with('/');
        let below = |source: &String| source.contains(&format!("/{}", file.trim_start_matches("src/")));
        assert!(
            !is_folder || sources.iter().any(below),
            "the folder {file} is in the code map and nowhere else"
        );
    }
}

#[test]
fn every_example_is_declared_run_and_says_how_to_run_it() {
    let mut examples = Vec::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")), ".rs", &mut examples);
    let (manifest, runs) = (read("examples/Cargo.toml"), read("examples/tests/run.rs"));
    let top = examples.iter().filter(|path| path.parent() == Some(Path::new(env!("CARGO_MANIFEST_DIR"))));
    let top = top.filter(|path| !path.ends_with("build.rs"));
    for path in top {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name");
        let text = fs::read_to_string(path).expect("a source is text");
        let command = format!("cargo run -p treewarden-examples --example {name}");
        assert!(text.starts_with("//! ") && text.contains(&command), "{name} says how to run it");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is declared");
        assert!(runs.contains(&format!("\"{name}\"")), "{name} is run by a test");
    }
}
