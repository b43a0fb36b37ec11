//! Which MCP servers the CLI takes.
//!
//! Measured with CLI 2.1.332 (`--mcp-config`): it ends with "Invalid MCP configuration" where a file is missing, is no JSON object, or
//! has no object `mcpServers`. A server that is not as below is left out, and nothing is said of it, in no frame and not on stderr.
//!
//! | `type` | must have | may have |
//! |---|---|---|
//! | none, `stdio` | `command`, not empty | `args`, texts; `env`, an object of texts |
//! | `http`, `streamable-http`, `sse`, `ws` | `url` | `headers`, an object of texts |
//! | `sdk` | `name` | |
//!
//! `null` is none of these. What else a server has does not matter, and `${NAME}` is expanded by the CLI itself, so that neither is
//! looked at. Nothing here may repeat a value: it may be secret.

use serde_json::{Map, Value};

/// The servers of a config file, or why the CLI refuses that.
pub(super) fn servers(file: &Map<String, Value>) -> Result<&Map<String, Value>, &'static str> {
    match file.get("mcpServers") {
        Some(Value::Object(servers)) => Ok(servers),
        Some(_) => Err("its `mcpServers` is no object"),
        None => Err("it has no `mcpServers`"),
    }
}

/// Why the CLI does without a server; `None` if it takes it.
pub(super) fn left_out(server: &Value) -> Option<&'static str> {
    let Value::Object(server) = server else { return Some("it is no table") };
    match server.get("type").map(Value::as_str) {
        None | Some(Some("stdio")) => process(server),
        Some(Some("http" | "streamable-http" | "sse" | "ws")) => remote(server),
        Some(Some("sdk")) => (!is_text(server.get("name"))).then_some("it has no `name`"),
        Some(_) => Some("its `type` is none that the CLI knows (stdio, http, streamable-http, sse, ws)"),
    }
}

fn process(server: &Map<String, Value>) -> Option<&'static str> {
    let command = server.get("command");
    if !is_text(command) || command.and_then(Value::as_str) == Some("") {
        return Some(match server.contains_key("url") {
            true => "it has a `url` and no `type`, such as \"http\"",
            false => "it has no `command`, which is a string",
        });
    }
    let are_texts = |args: &Value| args.as_array().is_some_and(|args| args.iter().all(Value::is_string));
    if !server.get("args").is_none_or(are_texts) {
        return Some("its `args` are no list of strings");
    }
    (!server.get("env").is_none_or(of_texts)).then_some("its `env` is no table of strings")
}

fn remote(server: &Map<String, Value>) -> Option<&'static str> {
    if !is_text(server.get("url")) {
        return Some("it has no `url`, which is a string");
    }
    (!server.get("headers").is_none_or(of_texts)).then_some("its `headers` are no table of strings")
}

fn is_text(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_string)
}

fn of_texts(value: &Value) -> bool {
    value.as_object().is_some_and(|table| table.values().all(Value::is_string))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_cli_was_seen_to_take_is_taken() {
        let taken = [
            json!({ "command": "x" }),
            json!({ "type": "stdio", "command": " ", "args": ["${NOT_SET}"], "env": { "A": "1" }, "foo": 1 }),
            json!({ "command": "x", "url": "http://x" }),
            json!({ "type": "http", "url": "" }),
            json!({ "type": "streamable-http", "url": "nonsense", "headers": { "a": "b" } }),
            json!({ "type": "sse", "url": "http://x" }),
            json!({ "type": "ws", "url": "ws://x" }),
            json!({ "type": "sdk", "name": "x" }),
        ];
        for server in taken {
            assert_eq!(left_out(&server), None, "{server}");
        }
    }

    #[test]
    fn what_the_cli_was_seen_to_leave_out_is_said_with_its_reason() {
        let cases = [
            (json!("SEKRET"), "no table"),
            (json!(null), "no table"),
            (json!([]), "no table"),
            (json!({ "cmd": "SEKRET" }), "no `command`"),
            (json!({ "command": "" }), "no `command`"),
            (json!({ "command": 1 }), "no `command`"),
            (json!({ "url": "SEKRET" }), "no `type`"),
            (json!({ "command": "x", "args": "SEKRET" }), "`args`"),
            (json!({ "command": "x", "args": [1] }), "`args`"),
            (json!({ "command": "x", "args": null }), "`args`"),
            (json!({ "command": "x", "env": { "A": 1 } }), "`env`"),
            (json!({ "command": "x", "env": null }), "`env`"),
            (json!({ "type": "http" }), "no `url`"),
            (json!({ "type": "http", "command": "x" }), "no `url`"),
            (json!({ "type": "sse", "url": 1 }), "no `url`"),
            (json!({ "type": "ws" }), "no `url`"),
            (json!({ "type": "http", "url": "x", "headers": { "a": 1 } }), "`headers`"),
            (json!({ "type": "http", "url": "x", "headers": null }), "`headers`"),
            (json!({ "type": "sdk" }), "no `name`"),
            (json!({ "type": "SEKRET", "command": "x" }), "`type`"),
            (json!({ "type": "HTTP", "url": "x" }), "`type`"),
            (json!({ "type": null, "command": "x" }), "`type`"),
        ];
        for (server, expected) in cases {
            let why = left_out(&server).unwrap_or_else(|| panic!("{server} is taken"));
            assert!(why.contains(expected) && !why.contains("SEKRET"), "{server}: {why}");
        }
    }

    #[test]
    fn a_file_without_an_object_of_servers_is_refused() {
        let file = |value: Value| servers(value.as_object().expect("an object")).err();
        assert_eq!(file(json!({ "mcpServers": {}, "x": 1 })), None);
        assert_eq!(file(json!({ "s": { "command": "x" } })), Some("it has no `mcpServers`"));
        assert_eq!(file(json!({ "mcpServers": [] })), Some("its `mcpServers` is no object"));
        assert_eq!(file(json!({ "mcpServers": null })), Some("its `mcpServers` is no object"));
    }
}
