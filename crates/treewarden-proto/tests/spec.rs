//! Session options: what a file may say, what contradicts itself, and what becomes of it for the CLI.

use std::ffi::OsString;
use std::time::Duration;

use treewarden_proto::SessionId;
use treewarden_proto::spec::{
    EnvSource, EnvValue, ExtraArg, McpConfig, Opening, PermissionMode, SessionSpec, Settings,
};

fn id(n: u8) -> SessionId {
    format!("{n:08x}-0000-4000-8000-000000000001").parse().expect("a UUID")
}

#[test]
fn a_conflict_names_both_options() {
    let conflicts = [
        (SessionSpec::new().resume(id(1)).session_id(id(2)), ["resume", "session_id"]),
        (SessionSpec::new().fork_session(true), ["fork_session", "resume"]),
        (SessionSpec::new().tools(["Bash"]).disallowed_tools(["Bash"]), ["tools", "disallowed_tools"]),
        (SessionSpec::new().extra_arg("model", "opus"), ["extra_args.model", "model"]),
    ];
    for (spec, options) in conflicts {
        let error = spec.validate().expect_err("a conflict");
        assert_eq!(error.options().collect::<Vec<_>>(), options, "{error}");
        assert!(
            options.iter().all(|o| error.to_string().contains(o.trim_start_matches("extra_args."))),
            "{error}"
        );
    }
    assert!(SessionSpec::new().resume(id(1)).session_id(id(2)).fork_session(true).validate().is_ok());
}

#[cfg(unix)]
#[test]
fn a_path_that_the_cli_cannot_be_told_of_is_refused_by_the_name_of_its_option() {
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let (odd, nul) = (path(b"/caf\xe9"), path(b"/a\0b"));
    let spec = SessionSpec::new;
    let refused = [
        ("add_dirs", spec().add_dirs([&odd]), "/caf\\xE9"),
        ("settings", spec().settings(Settings::Path(odd.clone())), "/caf\\xE9"),
        ("mcp_config", spec().mcp_config(McpConfig::Path(odd.clone())), "/caf\\xE9"),
        ("add_dirs", spec().add_dirs([&nul]), "/a\\0b"),
        ("settings", spec().settings(Settings::Path(nul.clone())), "/a\\0b"),
        ("mcp_config", spec().mcp_config(McpConfig::Path(nul.clone())), "/a\\0b"),
        ("cli_path", spec().cli_path(&nul), "/a\\0b"),
        ("cwd", spec().cwd(&nul), "/a\\0b"),
    ];
    for (option, spec, value) in refused {
        let error = spec.validate().expect_err("no argument can carry it");
        assert_eq!(error.options().collect::<Vec<_>>(), [option], "{error}");
        assert!(error.to_string().contains(value), "{value} in {error}");
    }
    // What is no argument is taken as it is.
    assert_eq!(spec().cwd(&odd).cli_path(&odd).validate(), Ok(()));
    // The CLI takes JSON there as well, which may be secret.
    for json in
        [&b" {\"a\":\"SEKRET\0\"}"[..], b"{\"a\":\"SEKRET\xe9\"}", b"\xef\xbb\xbf{\"a\":\"SEKRET\0\"}"]
    {
        for (option, spec) in
            [("settings", spec().settings(path(json))), ("mcp_config", spec().mcp_config(path(json)))]
        {
            let said = spec.validate().expect_err("no argument can carry it").to_string();
            assert!(said.contains(&format!("`{option}` is JSON text")) && !said.contains("SEKRET"), "{said}");
            assert!(!format!("{spec:?}").contains("SEKRET"), "{spec:?}");
        }
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let spec =
        SessionSpec::new().model(" ").timeout(Duration::ZERO).max_turns(0).extra_arg("--x", ExtraArg::Flag);
    assert_eq!(spec.validate().expect_err("faults").faults().count(), 4);
}

#[test]
fn a_file_is_read_as_people_write_it() {
    let spec: SessionSpec = toml::from_str(
        r#"
        name = "tenant-7/reviewer"
        timeout = "2m"
        permission_mode = "accept_edits"
        allowed_tools = ["Read", "Bash(git:*)"]
        inherit_env = ["PATH"]
        settings = { env = { A = "b" } }
        [env]
        TOKEN = "secret-value"
        HOME = false
        [extra_args]
        bare = true
        "#,
    )
    .expect("a spec");
    assert_eq!(spec.timeout, Duration::from_secs(120));
    assert_eq!(spec.permission_mode, Some(PermissionMode::AcceptEdits));
    assert_eq!(spec.env["HOME"], EnvValue::Unset);
    assert!(!format!("{spec:?}").contains("secret-value"));
    let again: SessionSpec = toml::from_str(&toml::to_string(&spec).expect("TOML")).expect("a spec");
    assert_eq!(again, spec);
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let error = toml::from_str::<SessionSpec>("modell = \"sonnet\"").expect_err("an unknown key");
    assert!(error.to_string().contains("modell"), "{error}");
    let error = toml::from_str::<SessionSpec>("env = { A = true }").expect_err("not a value");
    assert!(error.to_string().contains("false to leave the variable out"), "{error}");
}

#[test]
fn every_value_is_joined_to_its_flag() {
    let spec = SessionSpec::new().model("--odd").allowed_tools(["Read", "Grep"]).tools(Vec::<String>::new());
    let argv = spec.extra_arg("bare", ExtraArg::Flag).argv(&Opening::Fresh(id(1)));
    for arg in ["--model=--odd", "--allowedTools=Read,Grep", "--tools=", "--bare"] {
        assert!(argv.iter().any(|a| a == arg), "{arg} not in {argv:?}");
    }
    assert!(argv.contains(&format!("--session-id={}", id(1))));
    let fork = SessionSpec::new().argv(&Opening::Fork { from: id(1), to: id(2) });
    let flags = [format!("--resume={}", id(1)), "--fork-session".into(), format!("--session-id={}", id(2))];
    assert!(fork.windows(flags.len()).any(|some| some == flags), "{fork:?}");
}

#[test]
fn an_answer_is_streamed_unless_that_is_turned_off() {
    let is_asked_for = |spec: SessionSpec| {
        spec.argv(&Opening::Fresh(id(1))).contains(&"--include-partial-messages".to_owned())
    };
    assert!(is_asked_for(SessionSpec::new()));
    assert!(!is_asked_for(SessionSpec::new().include_partial_messages(false)));
}

#[test]
fn an_extra_flag_never_stands_in_for_one_that_is_written_here() {
    let argv = SessionSpec::new().extra_arg("resume", "x").argv(&Opening::Fresh(id(1)));
    assert!(!argv.iter().any(|arg| arg.starts_with("--resume")), "{argv:?}");
}

#[test]
fn the_environment_leaves_out_what_would_confuse_the_cli_and_hides_values() {
    let inherited = [("PATH", "/bin"), ("CLAUDECODE", "1"), ("NODE_OPTIONS", "-x"), ("HOME", "/home/user")];
    let inherited = inherited.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let spec = SessionSpec::new().env("HOME", EnvValue::Unset).env("TOKEN", "secret-value");
    let environment = spec.environment(inherited);
    assert_eq!(environment.get("PATH"), Some("/bin".as_ref()));
    for name in ["CLAUDECODE", "NODE_OPTIONS", "HOME"] {
        assert_eq!(environment.get(name), None, "{name}");
    }
    assert_eq!(environment.get("CLAUDE_CODE_RESUME_INTERRUPTED_TURN"), Some("1".as_ref()));
    assert!(!format!("{environment:?}").contains("secret-value"));
}

#[test]
fn a_cli_does_not_update_itself_unless_the_spec_says_so() {
    let inherited = || [(OsString::from("DISABLE_AUTOUPDATER"), OsString::from("0"))];
    let spec = SessionSpec::new();
    assert_eq!(
        spec.environment(inherited()).get("DISABLE_AUTOUPDATER"),
        Some("1".as_ref()),
        "a leftover of a shell"
    );
    let spec = spec.env("DISABLE_AUTOUPDATER", EnvValue::Unset);
    assert_eq!(spec.environment(inherited()).get("DISABLE_AUTOUPDATER"), None);
}

#[test]
fn what_concerns_this_process_alone_is_not_passed_on_unless_it_is_named() {
    let own = [
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "JOURNAL_STREAM",
        "INVOCATION_ID",
        "CREDENTIALS_DIRECTORY",
        "TRACEPARENT",
        "TRACESTATE",
        "TREEWARDEN_SOCKET",
        "TREEWARDEN_SESSION",
    ];
    let inherited =
        || own.iter().chain(&["PATH", "TERM"]).map(|name| (OsString::from(name), OsString::from("x")));
    let environment = SessionSpec::new().environment(inherited());
    for name in own {
        assert_eq!(environment.get(name), None, "{name}");
    }
    assert!(environment.get("PATH").is_some() && environment.get("TERM").is_some());
    let named: SessionSpec = toml::from_str("inherit_env = [\"NOTIFY_SOCKET\"]").expect("a spec");
    assert!(named.environment(inherited()).get("NOTIFY_SOCKET").is_some(), "whoever names it means it");
}

#[test]
fn a_variable_may_stand_elsewhere_and_debug_shows_where_and_never_a_command() {
    let text = "[env]\nA = { file = \"/run/a\" }\nB = { command = \"vault SEKRET\" }\nC = { var = \"FROM\" }\nD = { var = \"NONE\" }";
    let spec: SessionSpec = toml::from_str(text).expect("a spec");
    spec.validate().expect("valid");
    let again: SessionSpec = toml::from_str(&toml::to_string(&spec).expect("TOML")).expect("a spec");
    assert_eq!(again, spec);
    let inherited = [("FROM", "value"), ("A", "old"), ("D", "old")];
    let inherited = inherited.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let environment = spec.environment(inherited);
    assert_eq!(environment.get("C"), Some("value".as_ref()));
    for name in ["A", "B", "D"] {
        assert_eq!(environment.get(name), None, "{name} is to be read first");
    }
    assert_eq!(spec.sources().count(), 4);
    let shown = format!("{spec:?}");
    assert!(shown.contains("/run/a") && shown.contains("FROM") && !shown.contains("SEKRET"), "{shown}");
    for wrong in ["{ file = \"\" }", "{ command = \" \" }", "{ var = \"A=B\" }"] {
        let spec: SessionSpec = toml::from_str(&format!("env.A = {wrong}")).expect("it can be read");
        assert!(spec.validate().is_err(), "{wrong}");
    }
    for wrong in ["{}", "{ file = \"a\", var = \"b\" }", "{ value = \"a\" }", "true", "7"] {
        assert!(toml::from_str::<SessionSpec>(&format!("env.A = {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn where_conversations_lie_does_not_wait_for_a_command() {
    for name in ["HOME", "CLAUDE_CONFIG_DIR", "PATH"] {
        let spec = |source| SessionSpec::new().env(name, source);
        let error = spec(EnvSource::Command("echo /x".to_owned())).validate().expect_err("refused");
        assert!(error.to_string().contains(&format!("env.{name}")), "{error}");
        assert!(spec(EnvSource::File("/x".into())).validate().is_err());
        assert!(spec(EnvSource::Var("OTHER".to_owned())).validate().is_ok());
    }
}

#[test]
fn debug_shows_nothing_of_what_may_be_secret() {
    let text = "settings = { env = { A = \"SEKRET\" } }\nmcp_config = { s = { command = \"SEKRET\" } }\n\
                env = { A = \"SEKRET\" }\nextra_args = { flag = \"SEKRET\" }";
    let spec: SessionSpec = toml::from_str(text).expect("a spec");
    assert!(!format!("{spec:?}").contains("SEKRET"), "{spec:?}");
    let paths = SessionSpec::new().settings("{\"a\":\"SEKRET\"}").mcp_config(" {\"a\":\"SEKRET\"}");
    assert!(!format!("{paths:?}").contains("SEKRET"), "{paths:?}");
    assert!(
        format!("{:?}", SessionSpec::new().settings("/srv/settings.json")).contains("/srv/settings.json")
    );
}
