//! Files held against machines that are made up, so that no disk decides.

use std::collections::BTreeMap;

use super::super::custom::ChildTypes;
use super::super::file::check_text;
use super::*;

/// What is at a path of a machine that is made up.
#[derive(Clone)]
enum At {
    Folder,
    Closed,
    Program,
    File(&'static str),
    Pipe,
    Hidden,
}

#[derive(Clone, Default)]
struct Machine {
    at: BTreeMap<&'static str, At>,
    variables: Vec<(&'static str, &'static str)>,
}

impl Look for Machine {
    fn at(&self, path: &Path) -> io::Result<Found> {
        match self.at.get(path.to_str().expect("text")) {
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
            Some(At::Hidden) => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            Some(At::Folder | At::Closed) => Ok(Found::Folder),
            Some(At::Program) => Ok(Found::File { executable: true }),
            Some(At::File(_)) => Ok(Found::File { executable: false }),
            Some(At::Pipe) => Ok(Found::Other),
        }
    }

    fn may_enter(&self, folder: &Path) -> io::Result<()> {
        match self.at.get(folder.to_str().expect("text")) {
            Some(At::Closed) => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            _ => Ok(()),
        }
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        match self.at.get(file.to_str().expect("text")) {
            Some(At::File(text)) => Ok(text.as_bytes().to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        }
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        self.variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn folder(&self) -> Option<PathBuf> {
        Some("/srv".into())
    }
}

impl Machine {
    /// One on which nothing is missing: a CLI on the PATH, and these.
    fn with(at: &[(&'static str, At)]) -> Self {
        let mut machine = Self { at: at.iter().cloned().collect(), variables: vec![("PATH", "bin:/bin")] };
        machine.at.insert("/bin/claude", At::Program);
        machine
    }

    fn check(&self, text: &str) -> Checked {
        let path = Path::new("/srv/treewarden.toml");
        check_text(text, path, &ChildTypes::default(), self).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The faults and the warnings of a session with these lines, each with its line and column.
    fn session(&self, lines: &str) -> (Vec<String>, Vec<String>) {
        self.file(&format!("[[child]]\nname = \"a\"\n{lines}"))
    }

    fn file(&self, text: &str) -> (Vec<String>, Vec<String>) {
        let Checked { faults, warnings, .. } = self.check(text);
        (faults.map(|error| said(error.faults())).unwrap_or_default(), said(warnings.all()))
    }
}

fn said(faults: &[super::super::Fault]) -> Vec<String> {
    let place = |fault: &super::super::Fault| fault.place.clone().expect("each has its place");
    faults
        .iter()
        .map(|fault| format!("{}:{} {}", place(fault).line, place(fault).column, fault.message))
        .collect()
}

const NOTHING: (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());

#[track_caller]
fn is_fault(machine: &Machine, lines: &str, expected: &str) {
    assert_eq!(machine.session(lines), (vec![expected.to_owned()], Vec::new()), "{lines}");
}

#[track_caller]
fn is_warning(machine: &Machine, lines: &str, expected: &str) {
    assert_eq!(machine.session(lines), (Vec::new(), vec![expected.to_owned()]), "{lines}");
}

#[test]
fn a_file_whose_machine_has_all_is_told_nothing() {
    let machine = Machine::with(&[
        ("/srv/work", At::Folder),
        ("/opt/claude", At::Program),
        ("/srv/mcp.json", At::File("\u{feff}{\"mcpServers\":{\"s\":{\"command\":\"x\"}}}")),
        ("/srv/settings.json", At::File("{}")),
        ("/run/token", At::File("tok")),
    ]);
    let lines = "cwd = \"work\"\ncli_path = \"/opt/claude\"\nmcp_config = \"mcp.json\"\nsettings = \"settings.json\"\n\
                 env = { TOKEN = { file = \"/run/token\" }, P = { var = \"PATH\" }, C = { command = \"pass\" } }";
    assert_eq!(machine.session(lines), NOTHING);
    assert_eq!(machine.session(""), NOTHING);
}

#[test]
fn a_folder_that_is_absent_or_closed_is_warned_of_and_what_is_no_folder_is_a_fault() {
    let machine =
        Machine::with(&[("/srv/file", At::File("")), ("/srv/closed", At::Closed), ("/srv/x", At::Hidden)]);
    is_warning(&machine, "cwd = \"none\"", "3:7 `cwd` is /srv/none: there is no such folder here");
    is_fault(&machine, "cwd = \"file\"", "3:7 `cwd` is /srv/file, which is no folder");
    is_warning(
        &machine,
        "cwd = \"closed\"",
        "3:7 `cwd` is /srv/closed, which this user may not enter: permission denied",
    );
    is_warning(
        &machine,
        "cwd = \"x\"",
        "3:7 `cwd` is /srv/x, which cannot be looked at here: permission denied",
    );
}

#[test]
fn a_program_that_is_absent_is_warned_of_and_what_nobody_may_execute_is_a_fault() {
    let machine =
        Machine::with(&[("/srv/text", At::File("")), ("/srv/dir", At::Folder), ("/srv/run", At::Program)]);
    is_warning(
        &machine,
        "cli_path = \"./none\"",
        "3:12 `cli_path` is /srv/./none: there is no such file here",
    );
    is_fault(&machine, "cli_path = \"/srv/text\"", "3:12 `cli_path` is /srv/text, which nobody may execute");
    is_fault(&machine, "cli_path = \"/srv/dir\"", "3:12 `cli_path` is /srv/dir, which is no regular file");
    assert_eq!(machine.session("cli_path = \"/srv/run\""), NOTHING);
}

#[test]
fn a_name_is_looked_up_in_the_path_that_the_cli_would_get() {
    let machine = Machine::with(&[
        ("/srv/bin/other", At::Program),
        ("/own/other", At::Program),
        ("/bin/text", At::File("")),
    ]);
    assert_eq!(machine.session("cli_path = \"other\""), NOTHING, "below the folder of the tree");
    assert_eq!(machine.session("cli_path = \"other\"\nenv = { PATH = \"/own\" }"), NOTHING);
    let none = |name| format!("3:12 no `{name}` on the PATH that the CLI would get here");
    is_warning(&machine, "cli_path = \"other\"\nenv = { PATH = \"/bin\" }", &none("other"));
    is_warning(&machine, "cli_path = \"text\"", &none("text"));
    is_warning(&machine, "cli_path = \"other\"\ninherit_env = false", &none("other"));
}

#[test]
fn a_cli_that_is_not_installed_is_said_once_for_all_sessions() {
    let machine = Machine { at: BTreeMap::new(), ..Machine::with(&[]) };
    let (faults, warnings) =
        machine.file("[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n[[template]]\nname = \"c\"");
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(warnings, ["1:1 no `claude` on the PATH that the CLI would get here"]);
}

#[test]
fn what_all_sessions_have_by_default_is_told_once_where_it_stands() {
    let sessions: String = (0..150).map(|i| format!("[[child]]\nname = \"s{i}\"\n")).collect();
    let defaults =
        "cwd = \"none\"\nenv = { T = { var = \"NONE\" } }\nsettings = \"none\"\ncli_path = \"./none\"";
    let text = format!("[defaults]\n{defaults}\n{sessions}[[template]]\nname = \"c\"");
    let (faults, warnings) = Machine::with(&[]).file(&text);
    assert_eq!(faults, Vec::<String>::new());
    let expected = [
        "2:7 `cwd` is /srv/none: there is no such folder here",
        "3:13 `env.T` is taken from NONE, which is not set here",
        "4:12 `settings` is /srv/none: there is no such file here",
        "5:12 `cli_path` is /srv/./none: there is no such file here",
    ];
    assert_eq!(warnings, expected);
    assert!(
        !Machine::with(&[]).check(&text).warnings.to_string().contains("more, which"),
        "none is counted twice"
    );
}

#[test]
fn an_mcp_config_that_the_cli_refuses_is_a_fault_and_shows_nothing_of_itself() {
    let machine = Machine::with(&[
        ("/srv/text", At::File("{\n \"SEKRET")),
        ("/srv/list", At::File("[\"SEKRET\"]")),
        ("/srv/bare", At::File("{\"SEKRET\":{\"command\":\"x\"}}")),
        ("/srv/dir", At::Folder),
        ("/srv/pipe", At::Pipe),
    ]);
    let key = "3:14 `mcp_config` is";
    is_fault(
        &machine,
        "mcp_config = \"text\"",
        &format!("{key} /srv/text, which is no JSON object (line 2, column 8)"),
    );
    is_fault(
        &machine,
        "mcp_config = \"list\"",
        &format!("{key} /srv/list, which is no JSON object (line 1, column 0)"),
    );
    is_fault(
        &machine,
        "mcp_config = \"bare\"",
        &format!("{key} /srv/bare, which the CLI refuses: it has no `mcpServers`"),
    );
    is_fault(&machine, "mcp_config = \"dir\"", &format!("{key} /srv/dir, which is no regular file"));
    is_fault(&machine, "mcp_config = \"pipe\"", &format!("{key} /srv/pipe, which is no regular file"));
    is_warning(&machine, "mcp_config = \"none\"", &format!("{key} /srv/none: there is no such file here"));
}

#[test]
fn a_server_that_the_cli_leaves_out_is_warned_of_in_a_file_and_in_a_table() {
    let file = "{\"mcpServers\":{\"good\":{\"command\":\"x\"},\"bad\":{\"cmd\":\"SEKRET\"}}}";
    let machine = Machine::with(&[("/srv/mcp.json", At::File(file))]);
    let said = "`mcp_config`: the CLI leaves the server \"bad\" out, without a word: it has no `command`, which is a string";
    is_warning(&machine, "mcp_config = \"mcp.json\"", &format!("3:14 {said}"));
    let table = "mcp_config = { good = { command = \"x\" }, bad = { cmd = \"SEKRET\" } }";
    is_warning(&machine, table, &format!("3:48 {said}"));
    let shown = machine.check(&format!("[[child]]\nname = \"a\"\n{table}")).warnings.to_string();
    assert!(
        shown.starts_with("warning: /srv/treewarden.toml:3:48: ") && !shown.contains("SEKRET"),
        "{shown}"
    );
}

#[test]
fn settings_that_are_no_object_are_a_fault() {
    let machine =
        Machine::with(&[("/srv/s", At::File("SEKRET")), ("/srv/dir", At::Folder), ("/srv/x", At::Hidden)]);
    is_fault(
        &machine,
        "settings = \"s\"",
        "3:12 `settings` is /srv/s, which is no JSON object (line 1, column 1)",
    );
    is_fault(&machine, "settings = \"dir\"", "3:12 `settings` is /srv/dir, which is no regular file");
    is_warning(&machine, "settings = \"none\"", "3:12 `settings` is /srv/none: there is no such file here");
    is_warning(
        &machine,
        "settings = \"x\"",
        "3:12 `settings` is /srv/x, which cannot be looked at here: permission denied",
    );
    assert_eq!(machine.session("settings = { model = \"opus\" }"), NOTHING);
}

#[test]
fn a_source_of_a_variable_that_has_no_value_is_warned_of() {
    let mut machine = Machine::with(&[
        ("/run/dir", At::Folder),
        ("/run/empty", At::File(" \n")),
        ("/run/nul", At::File("SEK\0RET")),
        ("/run/closed", At::Program),
    ]);
    machine.variables.push(("BLANK", " "));
    let warned = |source: &str, expected: &str| {
        is_warning(
            &machine,
            &format!("env = {{ T = {{ {source} }} }}"),
            &format!("3:13 `env.T` is {expected}"),
        );
    };
    warned("file = \"/run/none\"", "/run/none: there is no such file here");
    warned("file = \"/run/empty\"", "/run/empty, which is empty here: no session with it starts");
    warned("file = \"/run/nul\"", "/run/nul, which holds a NUL character here: no session with it starts");
    warned("file = \"/run/closed\"", "/run/closed, which cannot be read here: permission denied");
    warned("var = \"NONE\"", "taken from NONE, which is not set here");
    warned("var = \"BLANK\"", "taken from BLANK, which is empty");
    is_fault(
        &machine,
        "env = { T = { file = \"/run/dir\" } }",
        "3:13 `env.T` is /run/dir, which is no regular file",
    );
}

#[test]
fn each_source_is_told_once_where_it_stands() {
    let text = "[defaults.env]\nA = \"x\"\nB = { var = \"NONE\" }\n[[child]]\nname = \"a\"\n[child.env]\nC = \"x\"\n\
                D = { file = \"none\" }\nE.var = \"NONE\"\n[[child]]\nname = \"b\"\nenv.F = { var = \"NONE\" }";
    let (faults, warnings) = Machine::with(&[]).file(text);
    assert_eq!(faults, Vec::<String>::new());
    let lines: Vec<_> =
        warnings.iter().map(|said| said.split_once(' ').expect("a place and words")).collect();
    let said = |name: &str| format!("`env.{name}` is taken from NONE, which is not set here");
    let lines: Vec<(&str, &str)> =
        lines.iter().map(|(at, what)| (at.split(':').next().unwrap_or(at), *what)).collect();
    let none = "`env.D` is /srv/none: there is no such file here";
    assert_eq!(lines, [("3", &*said("B")), ("8", none), ("9", &*said("E")), ("12", &*said("F"))]);
}

#[test]
fn a_file_that_is_refused_is_told_its_warnings_too_but_none_of_what_was_refused() {
    let sessions = "[[child]]\nname = \"a\"\nenv = { PATH = 1 }\n[[child]]\nname = \"b\"\ncwd = \"none\"\n\
                    [[child]]\nname = \"c\"\nenv = { T = \"$T\" }\nmodle = \"x\"";
    let checked = Machine::with(&[]).check(sessions);
    assert!(checked.tree.is_none());
    let faults = said(checked.faults.expect("it is refused").faults());
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("3:") && faults[1].starts_with("10:"), "{faults:?}");
    let warnings = said(checked.warnings.all());
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("there is no such folder") && warnings[1].contains("`env.T`"),
        "{warnings:?}"
    );
    // What cannot be parsed is held against nothing.
    let checked =
        Machine { at: BTreeMap::new(), ..Machine::with(&[]) }.check("[[child]]\nname = \"a\"\ncwd = ");
    assert!(checked.tree.is_none() && checked.faults.is_some() && checked.warnings.is_empty());
}

#[test]
fn two_sessions_must_not_write_one_conversation() {
    const ID: &str = "11111111-2222-4333-8444-555555555555";
    const OTHER: &str = "22222222-2222-4333-8444-555555555555";
    let of = |one: &str, two: &str| {
        Machine::with(&[]).file(&format!("[[child]]\nname = \"a\"\n{one}\n[[child]]\nname = \"b\"\n{two}"))
    };
    let twice = format!("6:10 two sessions would write the conversation {ID}");
    let resume = format!("resume = \"{ID}\"");
    assert_eq!(of(&resume, &resume), (vec![twice], vec![]));
    let named = format!("6:14 two sessions would write the conversation {ID}");
    assert_eq!(of(&resume, &format!("session_id = \"{ID}\"")), (vec![named], vec![]));
    // A copy is written under an id of its own.
    let fork = format!("fork_session = true\n{resume}");
    for (one, two) in [(&resume, &fork), (&fork, &fork), (&resume, &format!("resume = \"{OTHER}\""))] {
        assert_eq!(of(one, two), NOTHING, "{one}, {two}");
    }
    let into = format!("{fork}\nsession_id = \"{OTHER}\"");
    assert_eq!(of(&into, &into).0.len(), 1, "both copies would be one");
}

#[test]
fn what_a_shell_would_expand_is_warned_of_where_it_stands_and_with_what_is_done_instead() {
    let machine = Machine::with(&[("/srv/$HOME/x", At::Folder), ("/srv/${USER}", At::Folder)]);
    is_warning(&machine, "cwd = \"$HOME/x\"", "3:7 `cwd` is \"$HOME/x\": `$HOME` is not expanded");
    is_warning(&machine, "cwd = \"${USER}\"", "3:7 `cwd` is \"${USER}\": `${USER}` is not expanded");
    let text = "[defaults.env]\nA = \"as it is, $5\"\nTOKEN = \"${TOKEN}\"\n[[child]]\nname = \"a\"\n\
                env = { B = \"$lower\", C = \"x${HOST}y\", D = \"$(pass show SEKRET)\" }";
    let checked = machine.check(text);
    assert!(checked.faults.is_none());
    let said =
        |name: &str| format!("`env.{name}` is taken as it stands: nothing is put in the place of `$…`");
    let warnings = checked.warnings.all();
    let messages: Vec<&str> = warnings.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(messages, [said("TOKEN"), said("B"), said("C"), said("D")]);
    let help = |at: usize| warnings[at].help.as_deref().expect("what to do");
    assert_eq!(help(0), "for a variable of the daemon write env.TOKEN = { var = \"TOKEN\" }");
    assert_eq!(
        help(1),
        "for a variable of the daemon write env.B = { var = \"NAME\" }",
        "it may be a password"
    );
    assert!(help(2).contains("env.C = { var = \"HOST\" }"), "{}", help(2));
    assert_eq!(help(3), "for what a command prints write env.D = { command = \"…\" }");
    assert_eq!(warnings[0].place.as_ref().map(|place| (place.line, place.column)), Some((3, 9)));
    assert!(!checked.warnings.to_string().contains("SEKRET"));
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_no_more_than_a_hundred_of_each() {
    let sessions: String =
        (0..150).map(|i| format!("[[child]]\nname = \"s{i}\"\ncwd = \"none{i}\"\n")).collect();
    let checked = Machine::with(&[]).check(&sessions);
    assert_eq!(checked.warnings.all().len(), 100);
    assert!(checked.warnings.to_string().ends_with("50 more, which are told once these are mended"));
    let both = Machine::with(&[("/srv/f", At::File(""))]).session("cwd = \"f\"\nsettings = \"none\"");
    assert_eq!((both.0.len(), both.1.len()), (1, 1));
}
