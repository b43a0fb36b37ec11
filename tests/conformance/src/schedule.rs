//! Schedules as they are in the files.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

/// A supervision tree and what to do with it.
#[derive(Debug, Clone, Deserialize)]
pub struct Schedule {
    /// The schedule's name.
    pub name: String,
    /// The root's flags.
    #[serde(default)]
    pub sup: Value,
    /// The root's children.
    #[serde(default)]
    pub children: Vec<Value>,
    /// The steps.
    #[serde(default)]
    pub steps: Vec<Value>,
    /// Whether the events of a step are compared without their order.
    #[serde(default)]
    pub unordered: bool,
    /// The kinds of events that are not compared.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Whether incarnation numbers are not compared.
    #[serde(default)]
    pub mask_n: bool,
}

/// Reads a file, or every `*.json` of a directory in the order of their names.
///
/// # Errors
///
/// A file that cannot be read, or is not a schedule or an array of them.
pub fn load(path: &Path) -> anyhow::Result<Vec<Schedule>> {
    if !path.is_dir() {
        return load_file(path);
    }
    let entries = fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
    let mut files: Vec<_> =
        entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut schedules = Vec::new();
    for file in files {
        schedules.extend(load_file(&file)?);
    }
    Ok(schedules)
}

fn load_file(path: &Path) -> anyhow::Result<Vec<Schedule>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum File {
        Many(Vec<Schedule>),
        One(Box<Schedule>),
    }
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let file = serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
    Ok(match file {
        File::Many(schedules) => schedules,
        File::One(schedule) => vec![*schedule],
    })
}
