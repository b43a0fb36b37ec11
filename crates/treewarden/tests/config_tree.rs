//! What a good config file becomes.

use std::path::Path;
use std::time::Duration;

use treewarden::SessionOptions;
use treewarden::config::{ChildKind, ChildTable, ChildTypes, TreeSpec, parse, parse_with};
use treewarden::session::Enforcement;
use treewarden::supervisor::{
    Backoff, GiveUp, Restart, Shutdown, StartContext, StartFailure, Started, Strategy,
};

const FILE: &str = "/srv/app/treewarden.toml";

fn read(text: &str) -> TreeSpec {
    parse(text, Path::new(FILE)).unwrap_or_else(|error| panic!("{error}"))
}

fn session(tree: &TreeSpec, at: usize) -> &SessionOptions {
    match &tree.root.children[at].kind {
        ChildKind::Session(session) => session,
        other => panic!("{other:?} is no session"),
    }
}

#[test]
fn the_example_of_the_documentation_is_a_tree() {
    let tree = read(include_str!("../../../docs/treewarden.example.toml"));
    assert_eq!((tree.root.flags.max_restarts, tree.root.flags.max_seconds), (3, 5));
    let names: Vec<&str> = tree.root.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["assistant", "code_reviewer", "pipeline"]);
    assert_eq!(tree.root.children[1].supervision.restart, Restart::Permanent);
    assert_eq!(tree.root.children[1].supervision.shutdown, Some(Shutdown::Timeout(Duration::from_secs(10))));
    let ChildKind::Supervisor(pipeline) = &tree.root.children[2].kind else {
        panic!("pipeline is a supervisor")
    };
    assert_eq!(pipeline.flags.strategy, Strategy::RestForOne);
    let all = tree.sessions();
    let all: Vec<&str> = all.iter().filter_map(|s| s.spec.name.as_ref()).map(|name| name.as_str()).collect();
    assert_eq!(all, ["assistant", "code_reviewer", "planner", "writer"]);
}

#[test]
fn an_empty_file_is_an_empty_tree() {
    assert!(read("").root.children.is_empty());
}

#[test]
fn defaults_fill_in_what_a_session_does_not_say() {
    let tree = read(
        "[defaults]\nmodel = \"sonnet\"\nidle_timeout = \"15m\"\npinned = true\nrestart = \"transient\"\n\
         env = { A = \"1\", B = \"2\" }\n\
         [[child]]\nname = \"a\"\n\
         [[child]]\nname = \"b\"\nmodel = \"opus\"\npinned = false\nrestart = \"permanent\"\n\
         env = { B = false, C = \"3\" }",
    );
    let (a, b) = (session(&tree, 0), session(&tree, 1));
    assert_eq!((a.spec.model.as_deref(), b.spec.model.as_deref()), (Some("sonnet"), Some("opus")));
    assert_eq!(
        (a.timing.idle_timeout, b.timing.idle_timeout),
        (Some(Duration::from_secs(900)), Some(Duration::from_secs(900)))
    );
    assert_eq!((a.pinned, b.pinned), (true, false));
    assert_eq!(tree.root.children[0].supervision.restart, Restart::Transient);
    assert_eq!(tree.root.children[1].supervision.restart, Restart::Permanent);
    let names: Vec<&String> = b.spec.env.keys().collect();
    assert_eq!(names, ["A", "B", "C"]);
    assert_eq!(b.spec.env["B"], treewarden_proto::spec::EnvValue::Unset);
}

#[test]
fn paths_belong_to_the_folder_of_the_file() {
    let tree = read(
        "state_dir = \"state\"\n[[child]]\nname = \"a\"\ncwd = \"work\"\nadd_dirs = [\"lib\", \"/usr/share\"]\n\
         settings = \"settings.json\"\nmcp_config = \"mcp.json\"\ncli_path = \"bin/claude\"\n\
         [[child]]\nname = \"b\"\ncli_path = \"claude\"",
    );
    assert_eq!(tree.state_dir.as_deref(), Some(Path::new("/srv/app/state")));
    let spec = &session(&tree, 0).spec;
    assert_eq!(spec.cwd.as_deref(), Some(Path::new("/srv/app/work")));
    assert_eq!(spec.add_dirs, [Path::new("/srv/app/lib"), Path::new("/usr/share")]);
    assert_eq!(spec.cli_path.as_deref(), Some(Path::new("/srv/app/bin/claude")));
    let argv = serde_json::to_value(spec).expect("a spec is JSON");
    assert_eq!(argv["settings"], "/srv/app/settings.json");
    assert_eq!(argv["mcp_config"], "/srv/app/mcp.json");
    assert_eq!(session(&tree, 1).spec.cli_path.as_deref(), Some(Path::new("claude")));
}

#[test]
fn tables_are_taken_where_paths_could_stand() {
    let tree = read(
        "[[child]]\nname = \"a\"\n[child.mcp_config.files]\ncommand = \"mcp-files\"\n\
         [child.settings]\ncleanupPeriodDays = 7",
    );
    let spec = serde_json::to_value(&session(&tree, 0).spec).expect("a spec is JSON");
    assert_eq!(spec["mcp_config"]["files"]["command"], "mcp-files");
    assert_eq!(spec["settings"]["cleanupPeriodDays"], 7);
}

#[test]
fn a_program_adds_its_own_types_of_children() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        port: u16,
    }
    let types = ChildTypes::new().with("server", |table: &ChildTable| {
        let options: Options = table.read()?;
        assert_eq!((table.name(), options.port), ("web", 8080));
        let start = |_: StartContext| async { Ok::<_, StartFailure>(Started::Ignore) };
        Ok::<_, serde_json::Error>(start)
    });
    let text = "[[child]]\nname = \"web\"\ntype = \"server\"\nport = 8080\nrestart = \"transient\"";
    let tree = parse_with(text, Path::new(FILE), &types).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        matches!(&tree.root.children[0].kind, ChildKind::Custom { type_name, .. } if type_name == "server")
    );

    let text = "[[child]]\nname = \"web\"\ntype = \"server\"\nprot = 8080";
    let error = parse_with(text, Path::new(FILE), &types).expect_err("the type knows no such option");
    let fault = &error.faults()[0];
    assert_eq!(fault.place.as_ref().map(|place| (place.line, place.column)), Some((4, 1)));
    assert!(fault.message.contains("unknown field `prot`, expected `port`"), "{error}");
}

#[test]
fn a_back_off_is_the_one_of_the_file_with_the_usual_values_for_the_rest() {
    let second = Duration::from_secs(1);
    let usual = Backoff::default();
    let table = [
        ("true", Some(usual.clone())),
        ("false", None),
        ("{}", Some(usual.clone())),
        ("{ jitter = 0, factor = 3 }", Some(usual.clone().jitter(0.0).factor(3.0))),
        ("{ initial = \"1s\", max = \"20s\" }", Some(Backoff::new(second, 20 * second))),
        ("{ initial = \"2m\" }", Some(Backoff::new(120 * second, 120 * second))),
        ("{ reset_after = \"5m\" }", Some(usual.reset_after(300 * second))),
    ];
    for (value, expected) in table {
        // In the defaults it is every session's, in a supervisor its own.
        let tree = read(&format!(
            "[defaults]\nbackoff = {value}\n[[child]]\nname = \"a\"\n[[child]]\nname = \"team\"\n\
             type = \"supervisor\"\nbackoff = {value}\n[[child]]\nname = \"own\"\nbackoff = false"
        ));
        let backoffs: Vec<_> =
            tree.root.children.iter().map(|child| child.supervision.backoff.clone()).collect();
        assert_eq!(backoffs, [expected.clone(), expected, None], "{value}");
    }
}

#[test]
fn a_template_is_a_supervisor_of_sessions_with_the_defaults_that_are_given_up_alone() {
    let tree = read(
        "[[template]]\nname = \"chat\"\nmax_sessions = 2\nremove_idle = \"1h\"\nrestart = \"transient\"\nshutdown = \"3s\"\n\
         [defaults]\nmodel = \"opus\"\n[[child]]\nname = \"lobby\"",
    );
    let names: Vec<&str> = tree.root.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["lobby", "chat"], "the children of the file are started first");
    let chat = &tree.root.children[1];
    assert_eq!((chat.supervision.restart, chat.supervision.shutdown), (Restart::Permanent, None));
    let ChildKind::Template(template) = &chat.kind else { panic!("{chat:?}") };
    assert_eq!(template.limits.max_sessions, Some(2));
    assert_eq!(template.limits.remove_idle, Some(Duration::from_secs(3600)));
    assert_eq!(template.flags.give_up, GiveUp::Park);
    let of = &template.session.supervision;
    assert_eq!(
        (of.restart, of.shutdown),
        (Restart::Transient, Some(Shutdown::Timeout(Duration::from_secs(3))))
    );
    let ChildKind::Session(session) = &template.session.kind else { panic!("{template:?}") };
    assert_eq!(session.spec.model.as_deref(), Some("opus"));
    assert_eq!(tree.sessions().len(), 1, "a template is no session");

    let escalates = read("[[template]]\nname = \"chat\"\ngive_up = \"escalate\"");
    let ChildKind::Template(template) = &escalates.root.children[0].kind else { panic!("{escalates:?}") };
    assert_eq!(template.flags.give_up, GiveUp::Escalate);
}

#[test]
fn a_session_that_crashes_too_often_is_given_up_alone_and_its_restarts_wait_unless_the_file_says_otherwise() {
    let of = |text: &str| {
        let tree = read(text);
        (tree.root.flags.give_up, tree.root.children[0].supervision.backoff.clone())
    };
    const CHILD: &str = "[[child]]\nname = \"a\"\n";
    let usual = Some(Backoff::default());
    assert_eq!(of(CHILD), (GiveUp::Park, usual.clone()));
    assert_eq!(of(&format!("give_up = \"park\"\n{CHILD}")), (GiveUp::Park, usual));
    // What OTP has is a line away, and so is each half of it.
    assert_eq!(of(&format!("give_up = \"escalate\"\n{CHILD}")), (GiveUp::Escalate, None));
    assert_eq!(of(&format!("{CHILD}backoff = false")), (GiveUp::Park, None));
    assert_eq!(of(&format!("[defaults]\nbackoff = false\n{CHILD}")), (GiveUp::Park, None));
    for strategy in ["one_for_all", "rest_for_one"] {
        assert_eq!(
            of(&format!("strategy = \"{strategy}\"\n{CHILD}")),
            (GiveUp::Escalate, None),
            "{strategy}"
        );
    }
    // The library keeps OTP's.
    assert_eq!(treewarden::supervisor::Flags::default().give_up, GiveUp::Escalate);
}

#[test]
fn the_supervisor_that_restarts_a_child_says_whether_its_restarts_wait() {
    let tree = read(
        "[[child]]\nname = \"team\"\ntype = \"supervisor\"\nstrategy = \"one_for_all\"\n[[child.child]]\nname = \"a\"\n\
         [[template]]\nname = \"loud\"\ngive_up = \"escalate\"\n[[template]]\nname = \"chat\"",
    );
    assert_eq!(tree.root.children[0].supervision.backoff, Some(Backoff::default()), "the root parks");
    let ChildKind::Supervisor(team) = &tree.root.children[0].kind else { panic!("{tree:?}") };
    assert_eq!((team.flags.give_up, &team.children[0].supervision.backoff), (GiveUp::Escalate, &None));
    let sessions: Vec<_> =
        tree.templates().map(|(_, template)| template.session.supervision.backoff.clone()).collect();
    assert_eq!(sessions, [None, Some(Backoff::default())]);
}

#[test]
fn what_a_session_may_take_is_read_and_refused_where_it_contradicts_itself() {
    let tree = read(
        "[defaults]\nmemory_max = \"2 GiB\"\n[[child]]\nname = \"a\"\nmemory_high = \"1.5GiB\"\npids_max = 512\n\
         cpu_weight = 50\nlimits = \"kernel\"\nrecycle_above = \"1 GB\"",
    );
    let limits = &session(&tree, 0).limits;
    assert_eq!(limits.memory_max.map(|size| size.bytes()), Some(2 << 30));
    assert_eq!(limits.memory_high.map(|size| size.to_string()).as_deref(), Some("1.5 GiB"));
    assert_eq!((limits.pids_max, limits.cpu_weight), (Some(512), Some(50)));
    assert_eq!(limits.enforcement, Enforcement::Kernel);
    assert_eq!(limits.recycle_above.map(|size| size.bytes()), Some(1_000_000_000));

    let told = |line: &str| {
        let text = format!("[[child]]\nname = \"a\"\nmemory_max = \"1 GiB\"\n{line}");
        parse(&text, Path::new(FILE)).expect_err("it is refused").to_string()
    };
    let at = |line: &str, said: &str| {
        let told = told(line);
        assert!(told.starts_with("/srv/app/treewarden.toml:4:") && told.contains(said), "{told}");
    };
    at("recycle_above = \"1 GiB\"", "`recycle_above` (1 GiB) must be below `memory_max` (1 GiB)");
    at("memory_high = \"2 GiB\"", "`memory_high` (2 GiB) must not be above `memory_max` (1 GiB)");
    at("cpu_weight = 10001", "`cpu_weight` must be from 1 to 10000");
    at("recycle_above = \"512\"", "write a number above 0 with its unit, such as \"512 MiB\" or \"1.5 GiB\"");
    at("recycle_above = 512", "write \"512 B\" for 512 bytes");
    at("limits = \"poll\"", "`limits` must be \"best\" or \"kernel\", found \"poll\"");
}
