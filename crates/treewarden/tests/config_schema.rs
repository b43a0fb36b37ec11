//! The JSON Schema for editors: it is the one that is committed, and it accepts what the reader accepts.

use serde_json::Value;

const COMMITTED: &str = include_str!("../../../docs/treewarden.schema.json");

#[test]
fn the_committed_schema_is_the_one_of_this_version() {
    let fresh = format!("{:#}\n", treewarden::config::schema());
    assert!(COMMITTED == fresh, "run `cargo run -- schema > docs/treewarden.schema.json`");
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
    for sample in [
        include_str!("../../../docs/treewarden.example.toml"),
        include_str!("../../../docs/treewarden.full.toml"),
    ] {
        assert_eq!(check(sample), Vec::<String>::new());
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
        let path = std::path::Path::new("treewarden.toml");
        assert!(treewarden::config::parse(sample, path).is_err(), "{sample}");
    }
}

#[test]
fn the_documentation_explains_every_key() {
    let text = include_str!("../../../docs/config.md");
    let schema = treewarden::config::schema();
    let tables = [&schema, &schema["definitions"]["session"], &schema["definitions"]["supervisor"]];
    for (key, value) in tables.iter().flat_map(|table| table["properties"].as_object().into_iter().flatten())
    {
        let doc = value["description"].as_str().expect("every key is described");
        let row =
            |line: &str| line.starts_with(&format!("| `{key}` |")) && line.ends_with(&format!("| {doc} |"));
        assert!(text.lines().any(row), "docs/config.md has no row `{key}` that ends with: {doc}");
    }
}

#[test]
fn the_full_sample_has_every_key() {
    let text = include_str!("../../../docs/treewarden.full.toml");
    treewarden::config::parse(text, "treewarden.toml".as_ref()).unwrap_or_else(|error| panic!("{error}"));
    let schema = treewarden::config::schema();
    let tables = [&schema, &schema["definitions"]["session"], &schema["definitions"]["supervisor"]];
    for key in tables.iter().flat_map(|table| table["properties"].as_object().into_iter().flatten()) {
        let word = key.0.as_str();
        let uses = |line: &str| {
            let line = line.trim_start_matches(['#', ' ', '[']);
            line.strip_prefix("child.").unwrap_or(line).starts_with(word)
        };
        assert!(text.lines().any(uses), "docs/treewarden.full.toml does not show `{word}`");
    }
}
