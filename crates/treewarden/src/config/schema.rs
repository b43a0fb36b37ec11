//! The JSON Schema of the file, for editors; made from the table of keys.

use serde_json::{Map, Value, json};

use super::key::{Kind, Scope};
use super::keys;

/// The JSON Schema (draft 7) of `treewarden.toml`.
///
/// It does not know the rules between options, nor the options of registered types; those children may have any key.
pub fn schema() -> Value {
    let mut root = object(Scope::Root, &[]);
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("treewarden.toml");
    root["description"] = json!("A tree of supervised Claude Code sessions.");
    root["definitions"] = json!({
        "duration": {
            "type": "string",
            "description": "A number with its unit, such as 500ms, 90s, 2m or 1h 30m.",
            "pattern": r"^\s*([0-9]+\s*[A-Za-zµ]+\s*)+$",
        },
        "name": {
            "type": "string",
            "maxLength": 128,
            "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$",
        },
        "defaults": object(Scope::Defaults, &[]),
        "child": {
            "type": "object",
            "required": ["name"],
            "if": { "properties": { "type": { "const": "supervisor" } }, "required": ["type"] },
            "then": { "$ref": "#/definitions/supervisor" },
            "else": {
                "if": { "properties": { "type": { "const": "session" } } },
                "then": { "$ref": "#/definitions/session" },
                "else": { "$ref": "#/definitions/registered" },
            },
        },
        "template": object(Scope::Template, &["name"]),
        "session": object(Scope::Session, &["name"]),
        "supervisor": object(Scope::Supervisor, &["name", "type"]),
        "registered": registered(),
    });
    root
}

fn object(scope: Scope, required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in keys::of(scope) {
        let mut value = value(key.kind);
        if value.get("$ref").is_some() {
            // Draft 7 ignores what stands beside a reference.
            value = json!({ "allOf": [value] });
        }
        value["description"] = key.doc.into();
        properties.insert(key.name.into(), value);
    }
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// A child whose options only the embedding program knows.
fn registered() -> Value {
    let mut object = object(Scope::Custom, &["name", "type"]);
    object["additionalProperties"] = json!(true);
    object
}

fn value(kind: Kind) -> Value {
    let duration = json!({ "$ref": "#/definitions/duration" });
    let text = json!({ "type": "string" });
    match kind {
        Kind::Text | Kind::Type => text,
        Kind::Path | Kind::Program => json!({ "type": "string", "minLength": 1 }),
        Kind::Name => json!({ "$ref": "#/definitions/name" }),
        Kind::SessionId => json!({ "type": "string", "format": "uuid" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Count(least) => json!({ "type": "integer", "minimum": least, "maximum": u32::MAX }),
        Kind::Amount => json!({ "type": "number", "exclusiveMinimum": 0 }),
        Kind::Duration | Kind::Wait => duration,
        Kind::Size => {
            json!({ "type": "string", "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*([KMGTkmgt]i?)?[Bb]\\s*$" })
        }
        Kind::Shutdown => json!({ "anyOf": [{ "enum": ["brutal_kill", "infinity"] }, duration] }),
        Kind::Backoff => json!({ "anyOf": [{ "type": "boolean" }, {
            "type": "object",
            "properties": {
                "initial": duration, "max": duration, "reset_after": duration,
                "factor": { "type": "number", "minimum": 1, "maximum": 100 },
                "jitter": { "type": "number", "minimum": 0, "maximum": 1 },
            },
            "additionalProperties": false,
        }] }),
        Kind::Choice(choices) => json!({ "enum": choices }),
        Kind::Choices(choices) => json!({ "type": "array", "items": { "enum": choices } }),
        Kind::TextList | Kind::PathList => json!({ "type": "array", "items": text }),
        Kind::PathOrTable => json!({ "type": ["string", "object"] }),
        Kind::Env => json!({
            "type": "object",
            "additionalProperties": { "anyOf": [text, { "const": false }, {
                "type": "object",
                "properties": { "file": { "type": "string", "minLength": 1 }, "command": text, "var": text },
                "additionalProperties": false,
                "minProperties": 1,
                "maxProperties": 1,
            }] },
        }),
        Kind::ExtraArgs => json!({
            "type": "object",
            "additionalProperties": { "anyOf": [text, { "const": true }] },
        }),
        Kind::InheritEnv => json!({ "anyOf": [{ "type": "boolean" }, { "type": "array", "items": text }] }),
        Kind::Defaults => json!({ "$ref": "#/definitions/defaults" }),
        Kind::Templates => json!({ "type": "array", "items": { "$ref": "#/definitions/template" } }),
        Kind::Children => json!({ "type": "array", "items": { "$ref": "#/definitions/child" } }),
    }
}
