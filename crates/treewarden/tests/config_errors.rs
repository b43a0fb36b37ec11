//! What a broken config file is told.

use std::convert::Infallible;
use std::path::Path;

use treewarden::config::{ChildTable, ChildTypes, parse, parse_with};
use treewarden::supervisor::{StartContext, StartFailure, Started};

/// The whole report on a text, as a user sees it.
fn report(text: &str) -> String {
    parse(text, Path::new("treewarden.toml")).expect_err("the text is broken").to_string()
}

/// The one-line messages of a report, with their places.
fn messages(text: &str) -> Vec<String> {
    let error = parse(text, Path::new("treewarden.toml")).expect_err("the text is broken");
    let line = |fault: &treewarden::config::Fault| {
        let place = fault.place.as_ref().expect("faults in a text have a place");
        format!("{}:{} {}", place.line, place.column, fault.message)
    };
    error.faults().iter().map(line).collect()
}

#[test]
fn json_in_the_place_of_a_path_is_a_fault_that_quotes_nothing_of_it() {
    for key in ["mcp_config", "settings"] {
        let text = format!("[[child]]\nname = \"a\"\n{key} = '{{\"env\":{{\"TOKEN\":\"sekret-123\"}}}}'");
        let said = report(&text);
        assert!(said.contains(&format!("3:{}: `{key}` is JSON text", key.len() + 4)), "{said}");
        assert!(said.contains("write a table") && !said.contains("sekret"), "{said}");
    }
}

#[test]
fn a_report_shows_file_line_column_the_line_and_a_suggestion() {
    let expected = "\
treewarden.toml:2:1: unknown key `modle` in a session
2 | modle = \"sonnet\"
  | ^^^^^
  = help: did you mean `model`?";
    assert_eq!(report("[[child]]\nmodle = \"sonnet\"\nname = \"a\""), expected);
}

#[test]
fn a_duplicate_name_points_at_both_places() {
    let expected = "\
treewarden.toml:5:8: the session name \"a\" is taken
5 | name = \"a\"
  |        ^^^
  = treewarden.toml:2:8: it is used here first
2 | name = \"a\"
  |        ---
  = help: a session's name is unique in the whole file: choose another, such as tenant-7/name";
    assert_eq!(report("[[child]]\nname = \"a\"\n\n[[child]]\nname = \"a\""), expected);
}

#[test]
fn a_session_name_is_unique_across_supervisors_too() {
    let text = "[[child]]\nname = \"a\"\n[[child]]\nname = \"s\"\ntype = \"supervisor\"\n[[child.child]]\nname = \"a\"";
    assert_eq!(messages(text), ["7:8 the session name \"a\" is taken"]);
}

#[test]
fn siblings_of_different_types_need_different_names_in_either_order() {
    let session = "[[child]]\nname = \"a\"\n";
    let supervisor = "[[child]]\nname = \"a\"\ntype = \"supervisor\"\n";
    let custom = "[[child]]\nname = \"a\"\ntype = \"cache\"\n";
    let template = "[[template]]\nname = \"a\"\n";
    let types = ChildTypes::new().with("cache", |_table: &ChildTable| {
        Ok::<_, Infallible>(|_context: StartContext| async { Ok::<_, StartFailure>(Started::Ignore) })
    });
    for (first, second) in [
        (session, supervisor),
        (supervisor, session),
        (custom, session),
        (session, custom),
        (template, session),
        (session, template),
        (template, supervisor),
        (supervisor, supervisor),
        (custom, template),
    ] {
        let text = format!("{first}{second}");
        let error = parse_with(&text, Path::new("treewarden.toml"), &types).expect_err("one name, twice");
        let told = error.faults().iter().filter(|fault| fault.message == "the name \"a\" is taken");
        assert_eq!(told.count(), 1, "{text}: {error}");
        assert!(error.to_string().contains("it is used here first"), "{error}");
    }
}

#[test]
fn conflicting_options_are_both_named_and_both_shown() {
    let text = "[[child]]\nname = \"a\"\nallowed_tools = [\"Bash\"]\ndisallowed_tools = [\"Bash\"]";
    let expected = "\
treewarden.toml:3:17: \"Bash\" stands both in `allowed_tools` and in `disallowed_tools`
3 | allowed_tools = [\"Bash\"]
  |                 ^^^^^^^^
  = treewarden.toml:4:20: `disallowed_tools` is set here
4 | disallowed_tools = [\"Bash\"]
  |                    --------";
    assert_eq!(report(text), expected);
}

#[test]
fn a_conflict_with_a_default_points_into_the_defaults() {
    let text = "[defaults]\nmodel = \"sonnet\"\n[[child]]\nname = \"a\"\nfallback_model = \"sonnet\"";
    assert_eq!(messages(text), ["5:18 `fallback_model` is the same as `model`"]);
}

#[test]
fn all_faults_of_a_file_are_reported_in_the_order_of_the_lines() {
    let text =
        "max_restarts = \"3\"\nstratgy = \"one_for_all\"\n[[child]]\nname = \"a b\"\n[[child]]\nresume = 3";
    let expected = [
        "1:16 `max_restarts` must be a whole number from 0 to 4294967295, found a string",
        "2:1 unknown key `stratgy` at the top level",
        "4:8 invalid name \"a b\"",
        "5:1 this child has no name",
        "6:10 `resume` must be a string, found an integer",
    ];
    assert_eq!(messages(text), expected);
}

/// A value, and what the key of the child that has it is told.
#[track_caller]
fn child(option: &str, message: &str, help: &str) {
    let report = report(&format!("[[child]]\nname = \"a\"\n{option}"));
    let lines: Vec<&str> = report.lines().collect();
    assert!(lines[0].ends_with(message), "{report}");
    let last = lines.last().expect("a report has lines");
    assert!(help.is_empty() || last.ends_with(help), "{report}");
}

#[test]
fn durations_say_how_they_are_written() {
    child("timeout = \"15\"", "`timeout` must be a duration, found \"15\"", "write \"15s\"");
    child("timeout = 15", "found an integer", "write \"15s\" for 15 seconds");
    child("timeout = \"fast\"", "found \"fast\"", "\"2m\" or \"1h 30m\"");
    child("idle_timeout = \"0s\"", "`idle_timeout` must be longer than \"0s\"", "");
    child("shutdown = \"brutal-kill\"", "found \"brutal-kill\"", "did you mean \"brutal_kill\"?");
    child("backoff = { intial = \"1s\" }", "`jitter` or `reset_after`", "did you mean `initial`?");
    let short = "`backoff.max` is shorter than `backoff.initial`: no restart could wait so long";
    child("backoff = { initial = \"2m\", max = \"90s\" }", short, "");
}

#[test]
fn choices_are_listed_and_the_nearest_is_suggested() {
    child("restart = \"allways\"", "\"permanent\", \"transient\" or \"temporary\", found \"allways\"", "");
    child("permission_mode = \"plna\"", "found \"plna\"", "did you mean \"plan\"?");
    child(
        "setting_sources = [\"users\"]",
        "`setting_sources[0]` must be \"user\", \"project\" or \"local\", found \"users\"",
        "did you mean \"user\"?",
    );
    child("type = \"supervisr\"", "expected \"session\" or \"supervisor\"", "did you mean \"supervisor\"?");
}

#[test]
fn wrong_types_say_what_to_write() {
    child("allowed_tools = \"Read\"", "must be a list of strings, found a string", "write [\"Read\"]");
    child("fork_session = \"true\"", "must be true or false, found a string", "write true without quotes");
    child("session_id = \"42\"", "must be a UUID, found \"42\"", "11111111-2222-4333-8444-555555555555");
    child("max_turns = 0", "from 1 to 4294967295, found 0", "");
    child("max_budget_usd = -1.0", "must be an amount above 0, found -1", "");
    child("cwd = \"~/work\"", "`~` is not expanded", "relative to this file");
}

#[test]
fn an_option_in_the_wrong_table_says_where_it_belongs() {
    assert_eq!(messages("model = \"sonnet\""), ["1:1 `model` cannot stand at the top level"]);
    let text = "[defaults]\nname = \"a\"";
    assert_eq!(messages(text), ["2:1 `name` cannot stand in [defaults]"]);
    child(
        "max_restarts = 3",
        "cannot stand in a session",
        "at the top level or in a supervisor or in a template",
    );
}

#[test]
fn a_significant_child_needs_a_restart_and_an_auto_shutdown_that_fit() {
    let text = "[[child]]\nname = \"a\"\nsignificant = true";
    let found = messages(text);
    assert_eq!(found.len(), 2);
    assert!(found[0].contains("`significant` and `restart = \"permanent\"` exclude each other"));
    assert!(found[1].contains("`significant` and `auto_shutdown = \"never\"` exclude each other"));
}

#[test]
fn broken_toml_is_reported_at_its_place() {
    assert_eq!(messages("[[child]\nname = \"a\""), ["1:9 unclosed array table, expected `]`"]);
    assert_eq!(messages("a = 1\na = 2"), ["2:1 duplicate key `a`"]);
}

#[test]
fn values_that_may_be_secret_are_never_shown() {
    let env = "[[child]]\nname = \"a\"\nenv = { API_KEY = \"sk-secret\", PORT = 8080 }";
    assert_eq!(
        messages(env),
        [
            "3:39 `env.PORT` must be a string, a table with file, command or var, or false to leave the variable out, found an \
          integer"
        ]
    );
    let inputs = [
        env,
        "[[child]]\nname = \"a\"\nenv.KEY = sk-secret",
        "[[child]]\nname = \"a\"\nenv = { KEY = \"sk-secret }",
        "[[child]]\nname = \"a\"\ntoken = \"sk-secret\"",
        "[[child]]\nname = \"a\"\nmcp_config = [\"sk-secret\"]",
        "[[child]]\nname = \"a\"\n[child.env]\nKEY = [\"sk-secret\"]",
        "[defaults.env]\nKEY = { command = [\"sk-secret\"] }\n[[child]]\nname = \"a\"",
        "[[child]]\nname = \"a\"\n[child.extra_args]\nflag = [\"sk-secret\"]",
    ];
    for text in inputs {
        assert!(!report(text).contains("secret"), "{}", report(text));
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = treewarden::config::load("no/such/treewarden.toml").expect_err("there is no such file");
    assert!(error.to_string().starts_with("no/such/treewarden.toml: cannot be read: "), "{error}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    let seeds = include_str!("../../../docs/treewarden.example.toml");
    // Every prefix of a good file, and the file without each single character: all kinds of broken text.
    for at in (0..seeds.len()).filter(|at| seeds.is_char_boundary(*at)) {
        let _prefix = parse(&seeds[..at], Path::new("treewarden.toml"));
        let mut without = seeds.to_owned();
        without.remove(at);
        if let Err(error) = parse(&without, Path::new("treewarden.toml")) {
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn what_a_template_cannot_have_is_refused_at_its_place() {
    let file = |lines: &str| format!("[[template]]\nname = \"chat\"\n{lines}");
    let one = |lines: &str| messages(&file(lines)).pop().expect("a fault");
    assert_eq!(
        one("max_sessions = 0"),
        "3:16 `max_sessions` must be a whole number from 1 to 4294967295, found 0"
    );
    assert_eq!(one("strategy = \"one_for_all\""), "3:1 `strategy` cannot stand in a template");
    assert_eq!(one("resume = \"x\""), "3:1 `resume` cannot stand in a template");
    let temporary = "`restart = \"temporary\"`: it exists until it is removed";
    assert_eq!(
        one("restart = \"temporary\""),
        format!("3:11 a session of a template cannot have {temporary}")
    );
    assert_eq!(messages("[[template]]\nmodel = \"opus\""), ["1:1 this template has no name"]);
    let twice = "[[child]]\nname = \"chat\"\n[[template]]\nname = \"chat\"";
    assert_eq!(messages(twice), ["4:8 the name \"chat\" is taken"]);
}

#[test]
fn a_hundred_faults_are_told_and_the_others_counted_however_many_there_are() {
    let wrong: String = (0..20_000).map(|n| format!("k{n} = \"SEKRET\"\n")).collect();
    let broken = "[\n".repeat(20_000);
    let children: String =
        (0..10_000).map(|n| format!("[[child]]\nname = \"c{n}\"\nzzzz = \"SEKRET\"\n")).collect();
    let one_line: String = (0..10_000).map(|n| format!("k{n} = \"SEKRET\", ")).collect();
    for (text, all) in [
        (format!("[[child]]\nname = \"a\"\n{wrong}"), 20_000),
        (broken, 20_000),
        (children, 10_000),
        (format!("[[child]]\nname = \"a\"\nsettings = {{ {one_line} }}\ncwd = 5"), 1),
    ] {
        let error = parse(&text, Path::new("treewarden.toml")).expect_err("the text is broken");
        assert_eq!(error.faults().len() + error.more(), all);
        assert_eq!(error.faults().len(), all.min(100));
        let said = error.to_string();
        assert!(!said.contains("SEKRET"), "{}", &said[..1000]);
        assert_eq!(said.contains("more, which are told once these are mended"), all > 100);
    }
}

#[test]
fn a_variable_that_cannot_be_is_told_where_it_stands_also_in_the_defaults() {
    let text = "[defaults.env]\nFINE = \"1\"\nPATH = { command = \"x\" }\n[[child]]\nname = \"a\"\n[child.env]\nALSO_FINE = \"1\"\n\
                'A=B' = \"sk-secret\"\nC = { var = \"\" }\nCLAUDE_CODE_SKIP_PROMPT_HISTORY = \"1\"\n[child.env.HOME]\n\
                command = \"sk-secret\"";
    let told = messages(text);
    let places: Vec<_> =
        told.iter().filter_map(|told| told.split_once(' ')).map(|(place, _)| place).collect();
    assert_eq!(places, ["3:8", "8:9", "9:5", "10:35", "11:1"], "{told:?}");
    let about = ["`env.PATH`", "`env` has \"A=B\"", "`env.C`", "`env` has CLAUDE_CODE_SKIP", "`env.HOME`"];
    assert!(told.iter().zip(about).all(|(told, about)| told.contains(about)), "{told:?}");
    assert!(!report(text).contains("secret"), "{}", report(text));
}

#[test]
fn what_a_variable_may_be_is_told_at_its_place() {
    let wrong = "[[child]]\nname = \"a\"\n[child.env]\nA = 5\nB = true\nC = { value = \"x\" }\nD = { file = \"\" }\nE = { var = 7 }\n\
                 F = { file = \"a\", var = \"b\" }";
    let told = messages(wrong);
    let expected = "must be a string, a table with file, command or var, or false to leave the variable out";
    for (at, name, what) in
        [(0, "env.A", expected), (1, "env.B", expected), (2, "env.C", expected), (5, "env.F", expected)]
    {
        assert!(told[at].contains(name) && told[at].contains(what), "{told:?}");
    }
    assert!(
        told[3].contains("`env.D.file` must be a path") && told[4].contains("`env.E.var` must be a string"),
        "{told:?}"
    );
    let home = messages("[[child]]\nname = \"a\"\nenv = { A = \"1\", HOME = { command = \"x\" } }");
    assert!(
        home[0].starts_with("3:25 `env.HOME`") && home[0].contains("must be known before a CLI is started"),
        "{home:?}"
    );
    let right = "[[child]]\nname = \"a\"\nenv = { A = { file = \"f\" }, B = { command = \"c\" }, C = { var = \"V\" }, D = false }";
    let tree = parse(right, Path::new("/srv/treewarden.toml")).expect("valid");
    let sessions = tree.sessions();
    assert!(format!("{:?}", sessions[0].spec.env["A"]).contains("/srv/f"), "relative to the file");
}
