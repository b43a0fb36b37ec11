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
    let file = serde_json::from_str(&without_comments(&text))
        .with_context(|| format!("understand {}", path.display()))?;
    Ok(match file {
        File::Many(schedules) => schedules,
        File::One(schedule) => vec![*schedule],
    })
}

/// The text without what the oracle takes for comments: from `//` to the end of the line, but in a string.
fn without_comments(text: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    let (mut in_string, mut escaped) = (false, false);
    while let Some(char) = rest.chars().next() {
        if !in_string && rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
            continue;
        }
        in_string ^= char == '"' && !escaped;
        escaped = in_string && char == '\\' && !escaped;
        kept.push(char);
        rest = &rest[char.len_utf8()..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_left_out_and_strings_kept() {
        let text = "// first\n{\"a\": \"http://x\\\"// no\", // yes\n \"b\": 1} // last";
        assert_eq!(without_comments(text), "\n{\"a\": \"http://x\\\"// no\", \n \"b\": 1} ");
    }
}
