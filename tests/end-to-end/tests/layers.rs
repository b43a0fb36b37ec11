//! The arrows between the crates point down only, as `ARCHITECTURE.md` says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each crate may need of the others, from the bottom up.
const LAYERS: [(&str, &[&str]); 12] = [
    ("treewarden-otp-core", &[]),
    ("treewarden-otp", &["treewarden-otp-core"]),
    ("treewarden-proto", &[]),
    ("treewarden-core", &["treewarden-otp-core", "treewarden-proto"]),
    ("treewarden-process", &[]),
    ("treewarden-store", &["treewarden-proto"]),
    ("treewarden-sqlite", &["treewarden-proto", "treewarden-store"]),
    ("treewarden-transcript", &["treewarden-proto"]),
    (
        "treewarden",
        &[
            "treewarden-proto",
            "treewarden-core",
            "treewarden-otp",
            "treewarden-otp-core",
            "treewarden-process",
            "treewarden-sqlite",
            "treewarden-store",
            "treewarden-transcript",
        ],
    ),
    ("treewarden-service", &["treewarden"]),
    ("treewarden-testkit", &["treewarden-proto", "treewarden-store"]),
    (
        "treewarden-cli",
        &[
            "treewarden",
            "treewarden-process",
            "treewarden-service",
            "treewarden-sqlite",
            "treewarden-store",
            "treewarden-testkit",
        ],
    ),
];

/// The normal and build dependencies of each crate of the workspace; what only tests need does not count.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    let needs = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies");
        all.iter().filter(|needed| needed["kind"] != "dev").map(name).collect()
    };
    packages.iter().map(|package| (name(package), needs(package))).collect()
}

#[test]
fn arrows_between_the_crates_point_down_only() {
    let all = dependencies();
    for (name, allowed) in LAYERS {
        let needed = all.get(name).unwrap_or_else(|| panic!("{name} is a crate of the workspace"));
        let ours = needed.iter().filter(|needed| needed.starts_with("treewarden"));
        let stray: Vec<_> = ours.filter(|needed| !allowed.contains(&needed.as_str())).collect();
        assert!(stray.is_empty(), "{name} needs {stray:?}");
    }
}

#[test]
fn every_published_crate_has_its_layer() {
    let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates");
    let found = std::fs::read_dir(crates).expect("the folder of the crates");
    for entry in found.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file()) {
        let name = entry.file_name().into_string().expect("a plain name");
        assert!(known.contains(name.as_str()), "{name} has no layer: add it here and to ARCHITECTURE.md");
    }
}

#[test]
fn language_and_decisions_know_no_runtime() {
    let all = dependencies();
    for name in ["treewarden-proto", "treewarden-otp-core", "treewarden-core", "treewarden-transcript"] {
        for runtime in ["tokio", "ractor", "tokio-util", "rusqlite", "rustix", "libc"] {
            assert!(!all[name].contains(runtime), "{name} needs {runtime}");
        }
    }
    for name in [
        "treewarden-proto",
        "treewarden-otp-core",
        "treewarden-core",
        "treewarden-process",
        "treewarden-store",
        "treewarden-sqlite",
        "treewarden-transcript",
    ] {
        assert!(!all[name].contains("ractor"), "{name} needs ractor");
    }
}

#[test]
fn the_service_knows_no_door() {
    let all = dependencies();
    for door in ["rustix", "libc", "clap", "anyhow", "tracing-subscriber", "tokio-util", "hyper"] {
        assert!(!all["treewarden-service"].contains(door), "the service needs {door}");
    }
}

#[test]
fn no_library_needs_the_test_kit() {
    let all = dependencies();
    let libraries = LAYERS.iter().map(|(name, _)| *name).filter(|name| *name != "treewarden-cli");
    for name in libraries {
        assert!(!all[name].contains("treewarden-testkit"), "{name} needs the test kit");
    }
}
