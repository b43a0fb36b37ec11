//! What a changed file means to a tree that runs: the diff as a pure function of two files.

use std::path::Path;

use treewarden::config::{ChildTable, ChildTypes, TreeSpec, parse_with};
use treewarden::supervisor::{StartContext, StartFailure, Started};
use treewarden::tree::{Change, Effect, TreeDiff};

fn read(text: &str) -> TreeSpec {
    let types = ChildTypes::new()
        .with("server", |_: &ChildTable| {
            Ok::<_, String>(|_: StartContext| async { Ok::<_, StartFailure>(Started::Ignore) })
        })
        .with("other", |_: &ChildTable| {
            Ok::<_, String>(|_: StartContext| async { Ok::<_, StartFailure>(Started::Ignore) })
        });
    parse_with(text, Path::new("/srv/app/treewarden.toml"), &types).unwrap_or_else(|error| panic!("{error}"))
}

fn between(old: &str, new: &str) -> TreeDiff {
    TreeDiff::between(&read(old), &read(new))
}

/// The nodes that change, as `path change: key effect, …`.
fn lines(diff: &TreeDiff) -> Vec<String> {
    let changed = diff.nodes.iter().filter(|node| node.change != Change::Unchanged);
    changed
        .map(|node| {
            let keys: Vec<String> =
                node.keys.iter().map(|key| format!("{} {:?}", key.key, key.effect)).collect();
            format!("{} {:?}: {}", node.path, node.change, keys.join(", "))
        })
        .collect()
}

/// A session with these lines.
fn session(lines: &str) -> String {
    format!("[[child]]\nname = \"a\"\n{lines}\n")
}

#[test]
fn every_key_of_a_session_has_its_effect() {
    let table = [
        ("model = \"opus\"", "model", Effect::NextCli),
        ("fallback_model = \"opus\"", "fallback_model", Effect::NextCli),
        ("max_turns = 3", "max_turns", Effect::NextCli),
        ("max_budget_usd = 1.5", "max_budget_usd", Effect::NextCli),
        ("system_prompt = \"x\"", "system_prompt", Effect::NextCli),
        ("append_system_prompt = \"x\"", "append_system_prompt", Effect::NextCli),
        ("tools = []", "tools", Effect::NextCli),
        ("allowed_tools = [\"Read\"]", "allowed_tools", Effect::NextCli),
        ("disallowed_tools = [\"Read\"]", "disallowed_tools", Effect::NextCli),
        ("permission_mode = \"plan\"", "permission_mode", Effect::NextCli),
        ("mcp_config = \"x.json\"", "mcp_config", Effect::NextCli),
        ("settings = \"x.json\"", "settings", Effect::NextCli),
        ("setting_sources = []", "setting_sources", Effect::NextCli),
        ("include_partial_messages = false", "include_partial_messages", Effect::NextCli),
        ("cli_path = \"x\"", "cli_path", Effect::NextCli),
        ("cwd = \"x\"", "cwd", Effect::NextCli),
        ("add_dirs = [\"x\"]", "add_dirs", Effect::NextCli),
        ("env = { A = \"1\" }", "env", Effect::NextCli),
        ("inherit_env = false", "inherit_env", Effect::NextCli),
        ("extra_args = { debug = true }", "extra_args", Effect::NextCli),
        ("timeout = \"1m\"", "timeout", Effect::NextTurn),
        ("delivery = \"at_most_once\"", "delivery", Effect::NextTurn),
        ("idle_timeout = \"1m\"", "idle_timeout", Effect::AtOnce),
        ("own_work_wait = \"0s\"", "own_work_wait", Effect::AtOnce),
        ("background_wait = \"1m\"", "background_wait", Effect::AtOnce),
        ("place_wait = \"1m\"", "place_wait", Effect::AtOnce),
        ("silence_timeout = \"1m\"", "silence_timeout", Effect::AtOnce),
        ("start_timeout = \"2m\"", "start_timeout", Effect::AtOnce),
        ("drain_timeout = \"1m\"", "drain_timeout", Effect::AtOnce),
        ("cut_off_tools = \"run_again\"", "cut_off_tools", Effect::AtOnce),
        ("on_limit = \"wait\"", "on_limit", Effect::NextTurn),
        ("limit_wait = \"1m\"", "limit_wait", Effect::NextTurn),
        ("api_retries = 0", "api_retries", Effect::AtOnce),
        ("cli_version = \">=2.1.300\"", "cli_version", Effect::NextCli),
        ("pinned = true", "pinned", Effect::NextCli),
        ("warm = 2", "warm", Effect::NextCli),
        ("peer_messages = true", "peer_messages", Effect::NextCli),
        ("restart = \"transient\"", "restart", Effect::AtOnce),
        ("shutdown = \"1m\"", "shutdown", Effect::AtOnce),
        ("backoff = false", "backoff", Effect::AtOnce),
        ("memory_max = \"1 GiB\"", "memory_max", Effect::AtOnce),
        ("memory_high = \"1 GiB\"", "memory_high", Effect::AtOnce),
        ("pids_max = 99", "pids_max", Effect::AtOnce),
        ("cpu_weight = 50", "cpu_weight", Effect::AtOnce),
        ("limits = \"kernel\"", "limits", Effect::AtOnce),
        ("recycle_above = \"1.5 GiB\"", "recycle_above", Effect::AtOnce),
    ];
    for (line, key, effect) in table {
        for (old, new) in [("", line), (line, "")] {
            let diff = between(&session(old), &session(new));
            assert_eq!(lines(&diff), [format!("a Changed: {key} {effect:?}")], "{old:?} → {new:?}");
        }
        assert!(between(&session(line), &session(line)).is_empty(), "{line}");
    }
    // Every key that a session may have is in the table, or in the test below.
    let schema = treewarden::config::schema();
    let known = schema["definitions"]["session"]["properties"].as_object().expect("a session has properties");
    let ours = ["name", "type", "significant", "resume", "session_id", "fork_session"];
    let missing: Vec<&String> = known
        .keys()
        .filter(|key| !ours.contains(&key.as_str()) && !table.iter().any(|row| row.1 == *key))
        .collect();
    assert!(missing.is_empty(), "say what a change of these means: {missing:?}");
}

#[test]
fn an_option_that_is_set_to_its_default_is_no_difference_and_a_default_that_changes_is_named() {
    for line in
        ["start_timeout = \"60s\"", "own_work_wait = \"30s\"", "delivery = \"exactly_once\"", "warm = 0"]
    {
        assert!(between(&session(""), &session(line)).is_empty(), "{line}");
    }
    let diff = between(&session(""), &session("own_work_wait = \"0s\"\nidle_timeout = \"15m\""));
    let shown: Vec<String> = diff.nodes[1].keys.iter().map(ToString::to_string).collect();
    let expected = ["idle_timeout: unset → \"15m\" (at once)", "own_work_wait: \"30s\" → \"0s\" (at once)"];
    assert_eq!(shown, expected);
}

#[test]
fn another_conversation_is_another_session_and_one_that_is_no_longer_named_is_carried_on() {
    let (one, two) = ("11111111-2222-4333-8444-555555555555", "21111111-2222-4333-8444-555555555555");
    let resume = |id: &str| session(&format!("resume = \"{id}\""));
    assert_eq!(lines(&between(&resume(one), &resume(two))), ["a Replaced: resume Replace"]);
    assert_eq!(lines(&between(&session(""), &resume(one))), ["a Replaced: resume Replace"]);
    assert_eq!(lines(&between(&resume(one), &session(""))), ["a Changed: resume AtOnce"]);
    let fork = session(&format!("resume = \"{one}\"\nfork_session = true"));
    assert_eq!(lines(&between(&resume(one), &fork)), ["a Replaced: fork_session Replace"]);
}

#[test]
fn children_come_and_go_and_change_their_type_at_every_depth() {
    let team = |below: &str| format!("[[child]]\nname = \"team\"\ntype = \"supervisor\"\n{below}");
    let deep = |name: &str| format!("[[child.child]]\nname = \"{name}\"\n");
    let table: [(String, String, &[&str]); 6] = [
        (session(""), String::new(), &["a Removed: "]),
        (String::new(), team(&deep("x")), &["team Added: ", "team/x Added: "]),
        (
            team(&(deep("x") + &deep("y"))),
            team(&(deep("y") + &deep("z"))),
            &["team/x Removed: ", "team/z Added: "],
        ),
        (
            team(&deep("x")),
            "[[child]]\nname = \"team\"\n".to_owned(),
            &["team Replaced: type Replace", "team/x Removed: "],
        ),
        (
            "[[child]]\nname = \"team\"\n".to_owned(),
            team(&deep("x")),
            &["team Replaced: type Replace", "team/x Added: "],
        ),
        (session("") + &team(""), team(&deep("a")), &["a Removed: ", "team/a Added: "]),
    ];
    for (old, new, expected) in table {
        assert_eq!(lines(&between(&old, &new)), expected, "{old}\n→\n{new}");
    }
}

#[test]
fn flags_and_the_order_of_those_that_stay_are_the_supervisors_own() {
    let file = |top: &str, names: &[&str]| {
        names.iter().fold(format!("{top}\n"), |text, name| text + &format!("[[child]]\nname = \"{name}\"\n"))
    };
    let diff = between(&file("", &["a", "b", "c"]), &file("max_restarts = 9", &["new", "c", "a"]));
    assert_eq!(lines(&diff), [" Changed: max_restarts AtOnce, child AtOnce", "b Removed: ", "new Added: "]);
    let order = &diff.nodes[0].keys[1];
    assert_eq!(
        (order.from.to_string(), order.to.to_string()),
        (r#"["a","c"]"#.into(), r#"["c","a"]"#.into())
    );
    assert_eq!(lines(&between(&file("", &["a", "b"]), &file("", &["new", "a", "b"]))), ["new Added: "]);
    let nested = |flags: &str| format!("[[child]]\nname = \"team\"\ntype = \"supervisor\"\n{flags}\n");
    let diff = between(&nested(""), &nested("strategy = \"rest_for_one\"\nshutdown = \"1m\""));
    assert_eq!(lines(&diff), ["team Changed: shutdown AtOnce, give_up AtOnce, strategy AtOnce"]);
}

#[test]
fn what_concerns_the_whole_tree_waits_for_its_next_start() {
    let diff = between("", "state_dir = \"x\"\nmax_live = 3\ndurability = \"power\"");
    assert_eq!(lines(&diff), [" Changed: durability NextTree, max_live NextTree, state_dir NextTree"]);
}

#[test]
fn a_child_of_a_registered_type_is_restarted_for_its_own_options_only() {
    let server = |lines: &str| format!("[[child]]\nname = \"web\"\ntype = \"server\"\n{lines}\n");
    let other = "[[child]]\nname = \"web\"\ntype = \"other\"\nport = 1\n";
    assert!(between(&server("port = 1"), &server("port = 1")).is_empty(), "another factory is no difference");
    let diff = between(
        &server("port = 1\nmodel = \"hush\""),
        &server("port = 2\nmodel = \"hushed\"\nrestart = \"transient\""),
    );
    assert_eq!(lines(&diff), ["web Changed: model Restart, port Restart, restart AtOnce"]);
    let text = format!("{diff}{}", serde_json::to_string(&diff.nodes).expect("a diff is JSON"));
    assert!(!text.contains("hush"), "{text}");
    assert_eq!(lines(&between(&server("port = 1"), other)), ["web Replaced: type Replace"]);
}

#[test]
fn a_diff_is_shown_to_people_without_what_may_be_secret() {
    let long = "x".repeat(500);
    let diff = between(
        "[[child]]\nname = \"gone\"\n[[child]]\nname = \"a\"\nmodel = \"haiku\"\n[[child]]\nname = \"same\"\n",
        &format!(
            "max_restarts = 9\n[[child]]\nname = \"same\"\n[[child]]\nname = \"a\"\nmodel = \"opus\"\n\
             system_prompt = \"{long}\"\nenv = {{ KEY = \"hush\" }}\n[[child]]\nname = \"new\"\n"
        ),
    );
    let shown = format!("{}…", &format!("\"{long}")[..60]);
    let expected = format!(
        "~ (the tree)
    max_restarts: 3 → 9 (at once)
    child: [\"a\",\"same\"] → [\"same\",\"a\"] (at once)
- gone: is stopped; its conversation is kept
~ a
    env (another CLI: at once if it is idle, else after its turn)
    model: \"haiku\" → \"opus\" (another CLI: at once if it is idle, else after its turn)
    system_prompt: unset → {shown} (another CLI: at once if it is idle, else after its turn)
+ new: is started
1 child is unchanged
"
    );
    assert_eq!(diff.to_string(), expected);
}

#[test]
fn a_template_has_the_effects_of_its_sessions_and_of_its_supervisor() {
    let file = |lines: &str| format!("[[template]]\nname = \"chat\"\n{lines}");
    let told = |old: &str, new: &str| lines(&between(&file(old), &file(new)));
    assert!(told("", "").is_empty());
    assert_eq!(told("", "max_sessions = 2"), ["chat Changed: max_sessions AtOnce"]);
    assert_eq!(told("", "remove_idle = \"1h\""), ["chat Changed: remove_idle AtOnce"]);
    assert_eq!(told("", "model = \"opus\""), ["chat Changed: model NextCli"]);
    assert_eq!(told("", "max_restarts = 9"), ["chat Changed: max_restarts AtOnce"]);
    assert_eq!(told("", "restart = \"transient\""), ["chat Changed: restart AtOnce"]);
    let session = "[[child]]\nname = \"chat\"";
    assert_eq!(lines(&between(session, &file(""))), ["chat Replaced: type Replace"]);
}

#[test]
fn the_sessions_that_are_ended_are_named_by_their_whole_names() {
    let team = |below: &str| format!("[[child]]\nname = \"team\"\ntype = \"supervisor\"\n{below}");
    let old = "[[child]]\nname = \"tenant-7/reviewer\"\n".to_owned()
        + &team("[[child.child]]\nname = \"tenant-8/reviewer\"\n");
    let diff = between(&old, &team(""));
    let paths: Vec<&str> = diff.nodes.iter().map(|node| node.path.as_str()).collect();
    assert_eq!(paths, ["", "tenant-7/reviewer", "team", "team/tenant-8/reviewer"]);
    assert_eq!(diff.ended_sessions().collect::<Vec<_>>(), ["tenant-7/reviewer", "tenant-8/reviewer"]);
}
