//! What is made from the table of keys and committed is that of this version, and the schema accepts what the reader
//! accepts.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(docs(name)).expect("it is a file of this repository")
}

/// The files with what this version makes of the table of keys in them.
fn made() -> [(&'static str, String); 2] {
    let (begin, end) =
        ("<!-- the keys: `just reference` writes them -->\n\n", "\n<!-- the end of the keys -->");
    let page = text("config.md");
    let (before, rest) = page.split_once(begin).expect("the page has a place for the keys");
    let (_, after) = rest.split_once(end).expect("the place for the keys has an end");
    let page = format!("{before}{begin}{}{end}{after}", treewarden::config::reference());
    [("treewarden.schema.json", format!("{:#}\n", treewarden::config::schema())), ("config.md", page)]
}

#[test]
fn the_committed_schema_and_tables_are_those_of_this_version() {
    for (name, fresh) in made() {
        assert!(text(name) == fresh, "docs/{name} is not up to date: run `just reference`");
    }
}

#[test]
#[ignore = "it writes into the repository: `just reference`"]
fn write_the_schema_and_the_tables() {
    for (name, fresh) in made() {
        std::fs::write(docs(name), fresh).expect("it can be written");
    }
}

/// Checks the part of JSON Schema that the schema uses; returns where a value does not fit.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fail = |why: &str| found.push(format!("{at}: {why}"));
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/definitions/");
        return faults(root, &root["definitions"][name], value, at);
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the test does not know the type {other}"),
    };
    match &schema["type"] {
        Value::String(name) if !is(name) => fail(&format!("is not of type {name}")),
        Value::Array(names) if !names.iter().filter_map(Value::as_str).any(is) => {
            fail("is of no allowed type")
        }
        _ => {}
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        fail("is not one of the choices");
    }
    if schema.get("const").is_some_and(|only| only != value) {
        fail("is not the constant");
    }
    if value.as_f64().zip(schema["minimum"].as_f64()).is_some_and(|(value, least)| value < least) {
        fail("is too small");
    }
    if let Some(any) = schema["anyOf"].as_array()
        && !any.iter().any(|schema| faults(root, schema, value, at).is_empty())
    {
        fail("fits no alternative");
    }
    if let Some(required) = schema["required"].as_array() {
        for key in required.iter().filter_map(Value::as_str).filter(|key| value.get(key).is_none()) {
            fail(&format!("has no {key}"));
        }
    }
    for schema in schema["allOf"].as_array().into_iter().flatten() {
        found.extend(faults(root, schema, value, at));
    }
    if let Some(condition) = schema.get("if") {
        let branch = if faults(root, condition, value, at).is_empty() { "then" } else { "else" };
        found.extend(faults(root, &schema[branch], value, at));
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        match (schema["properties"].get(key), &schema["additionalProperties"]) {
            (Some(schema), _) => found.extend(faults(root, schema, item, &at)),
            (None, Value::Bool(false)) => found.push(format!("{at}: is not allowed")),
            (None, schema @ Value::Object(_)) => found.extend(faults(root, schema, item, &at)),
            (None, _) => {}
        }
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        if schema.get("items").is_some() {
            found.extend(faults(root, &schema["items"], item, &format!("{at}[{i}]")));
        }
    }
    found
}

fn check(text: &str) -> Vec<String> {
    let value: Value = toml::from_str(text).expect("the sample is TOML");
    let schema = treewarden::config::schema();
    faults(&schema, &schema, &value, "file")
}

#[test]
fn the_samples_fit_the_schema() {
    for sample in ["treewarden.example.toml", "treewarden.full.toml"] {
        assert_eq!(check(&text(sample)), Vec::<String>::new());
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    for sample in [
        "stratgy = \"one_for_one\"",
        "max_seconds = 0",
        "strategy = \"all\"",
        "[defaults]\nname = \"a\"",
        "[[child]]\nmodel = \"sonnet\"",
        "[[child]]\nname = \"a\"\nmodle = \"sonnet\"",
        "[[child]]\nname = \"a\"\ntype = \"supervisor\"\nmodel = \"sonnet\"",
        "[[child]]\nname = \"a\"\nenv = { PORT = 1 }",
    ] {
        assert_ne!(check(sample), Vec::<String>::new(), "{sample}");
        let path = Path::new("treewarden.toml");
        assert!(treewarden::config::parse(sample, path).is_err(), "{sample}");
    }
}

/// The keys that may stand in some table.
fn keys() -> Vec<String> {
    let schema = treewarden::config::schema();
    let tables = [&schema, &schema["definitions"]["session"], &schema["definitions"]["supervisor"]];
    let keys = tables.iter().flat_map(|table| table["properties"].as_object().into_iter().flatten());
    keys.map(|(key, _)| key.clone()).collect()
}

#[test]
fn the_full_sample_has_every_key() {
    fn collect(table: &toml::Table, found: &mut Vec<String>) {
        for (key, value) in table {
            found.push(key.clone());
            match value {
                toml::Value::Table(defaults) if key == "defaults" => collect(defaults, found),
                toml::Value::Array(children) if key == "child" => {
                    children.iter().filter_map(toml::Value::as_table).for_each(|child| collect(child, found));
                }
                _ => {}
            }
        }
    }
    let sample = text("treewarden.full.toml");
    treewarden::config::parse(&sample, "treewarden.toml".as_ref()).unwrap_or_else(|error| panic!("{error}"));
    let mut shown = Vec::new();
    collect(&toml::from_str(&sample).expect("it is TOML"), &mut shown);
    let missing: Vec<String> = keys().into_iter().filter(|key| !shown.contains(key)).collect();
    assert!(missing.is_empty(), "docs/treewarden.full.toml does not show {missing:?}");
}

#[test]
fn the_table_of_changes_agrees_with_the_table_of_keys() {
    let page = text("config.md");
    let (keys, changes) = page.split_once("## Changing a running tree").expect("the page has the chapter");
    let rows = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter(|line| line.starts_with('|'));
        rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
            .collect()
    };
    let means = |change: &str| match change {
        "at once" => "They hold at once",
        "for the next turn" => "They hold for turns that are opened from now on",
        "for the next CLI" => "goes on with its conversation on another CLI",
        "for another child in its place" => "another is started in its place",
        "for the next start of the tree" => "Nothing, until the tree is started again",
        other => panic!("the table of changes has nothing for {other:?}"),
    };
    let keys = rows(keys);
    for change in rows(changes) {
        let [what, meaning] = &change[..] else { continue };
        let meaning = meaning.replace("It holds", "They hold");
        for name in what.split('`').skip(1).step_by(2) {
            let Some(key) = keys.iter().find(|row| row[0] == format!("`{name}`")) else { continue };
            if !key[4].starts_with("as each key") {
                assert!(
                    meaning.contains(means(&key[4])),
                    "`{name}`: {} in the table of keys, {meaning}",
                    key[4]
                );
            }
        }
    }
    // What is not named there is meant by "all else that the CLI is started with", or is no option.
    for key in keys.iter().filter(|row| row.len() == 6 && row[0].starts_with('`')) {
        let named = changes.contains(&key[0]);
        let rest = key[4] == "for the next CLI"
            || ["`name`", "`child`", "`template`", "`defaults`"].contains(&key[0].as_str());
        assert!(named || rest, "{} is not in the table of changes", key[0]);
    }
}
