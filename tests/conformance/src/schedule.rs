//! Schedules as they are in the files.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
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

impl Schedule {
    /// Says what makes it no schedule: a step without an `op`, or a child without an `id`.
    ///
    /// # Errors
    ///
    /// The first of these, and where it is.
    pub fn check(&self) -> anyhow::Result<()> {
        check_children(&self.children, "the root")?;
        for (index, step) in self.steps.iter().enumerate() {
            ensure!(step["op"].is_string(), "step {} has no \"op\": {step}", index + 1);
        }
        Ok(())
    }
}

fn check_children(children: &[Value], parent: &str) -> anyhow::Result<()> {
    for child in children {
        let Some(id) = child["id"].as_str() else { bail!("a child of {parent} has no \"id\": {child}") };
        match child.get("sup").map(|_| child.get("children").unwrap_or(&Value::Null)) {
            None | Some(Value::Null) => {}
            Some(Value::Array(below)) => check_children(below, &format!("{id:?}"))?,
            Some(other) => bail!("the children of {id:?} are no list: {other}"),
        }
    }
    Ok(())
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
    fn what_is_no_schedule_is_told_by_its_place() {
        let check = |text: &str| {
            serde_json::from_str::<Schedule>(text).map(|s| s.check().err().map(|e| e.to_string()))
        };
        let told = |text: &str| check(text).ok().flatten().unwrap_or_default();
        assert_eq!(told(r#"{"name": "s", "children": [{"id": "a"}], "steps": [{"op": "sleep"}]}"#), "");
        assert!(
            told(r#"{"name": "s", "steps": [{"op": "sleep"}, {"id": "a"}]}"#)
                .starts_with("step 2 has no \"op\"")
        );
        assert!(told(r#"{"name": "s", "steps": [7]}"#).starts_with("step 1 has no \"op\""));
        let below = r#"{"name": "s", "children": [{"id": "a", "sup": {}, "children": [{"id": 3}]}]}"#;
        assert!(told(below).starts_with("a child of \"a\" has no \"id\""));
    }

    #[test]
    fn comments_are_left_out_and_strings_kept() {
        let text = "// first\n{\"a\": \"http://x\\\"// no\", // yes\n \"b\": 1} // last";
        assert_eq!(without_comments(text), "\n{\"a\": \"http://x\\\"// no\", \n \"b\": 1} ");
    }
}
