//! What holds in a tree where its file says nothing, or something that this machine does not do.
//!
//! It is for `check`: what is wrong with a file is said by the reader of files, and is no part of this.

use treewarden::config::{ChildKind, SupervisorDecl, TreeSpec};
use treewarden::session::{Enforcement, Limits};
use treewarden::supervisor::{Flags, GiveUp, Strategy};

/// A key, whether limits set it, and the controller by which the kernel keeps it.
type Kept = (&'static str, fn(&Limits) -> bool, &'static str);

const KEPT: [Kept; 4] = [
    ("memory_max", |limits| limits.memory_max.is_some(), "memory"),
    ("memory_high", |limits| limits.memory_high.is_some(), "memory"),
    ("pids_max", |limits| limits.pids_max.is_some(), "pids"),
    ("cpu_weight", |limits| limits.cpu_weight.is_some(), "cpu"),
];

/// What each supervisor does when a child crashes.
pub(super) fn supervisors(tree: &TreeSpec) -> Vec<String> {
    let mut lines = Vec::new();
    supervisor("the tree", &tree.root, &mut lines);
    lines
}

/// Warnings of limits that are not kept where the kernel has these controllers.
pub(super) fn unkept(tree: &TreeSpec, controllers: &[String]) -> Vec<String> {
    let mut said = Vec::new();
    for (key, is_set, controller) in KEPT {
        if controllers.iter().any(|have| have == controller) {
            continue;
        }
        for enforcement in [Enforcement::Best, Enforcement::Kernel] {
            let has_it = |limits: &Limits| limits.enforcement == enforcement && is_set(limits);
            if tree.any_session(|session| has_it(&session.limits)) {
                said.push(format!(
                    "warning: {}: what is started here has no controller `{controller}` of the kernel's, which a service has \
                     with Delegate=yes",
                    without(key, enforcement)
                ));
            }
        }
    }
    said
}

fn without(key: &str, enforcement: Enforcement) -> String {
    match (key, enforcement) {
        (key, Enforcement::Kernel) => {
            format!("a session with `{key}` and `limits = \"kernel\"` does not start here")
        }
        ("memory_max", _) => "`memory_max` is kept by a look at the memory each second".to_owned(),
        (key, _) => format!("`{key}` is not kept"),
    }
}

fn supervisor(name: &str, decl: &SupervisorDecl, lines: &mut Vec<String>) {
    lines.push(format!("{name}: {}", behaviour(&decl.flags)));
    for child in &decl.children {
        match &child.kind {
            ChildKind::Supervisor(below) => supervisor(child.name.as_str(), below, lines),
            ChildKind::Template(template) => {
                lines.push(format!("{}: {}", child.name, behaviour(&template.flags)));
            }
            _ => {}
        }
    }
}

fn behaviour(flags: &Flags) -> String {
    let Flags { strategy, max_restarts, max_seconds, give_up, .. } = flags;
    let strategy = match strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
    };
    let then = match give_up {
        GiveUp::Park => "only that child is given up (give_up = \"park\")",
        GiveUp::Escalate => "it ends with all its children (give_up = \"escalate\")",
    };
    format!("{strategy}; when a child crashes more than {max_restarts} times in {max_seconds} s, {then}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> TreeSpec {
        treewarden::config::parse(text, "/srv/treewarden.toml".as_ref()).expect("it is valid")
    }

    #[test]
    fn what_a_file_leaves_out_is_said_for_each_supervisor() {
        let text = "[[child]]\nname = \"team\"\ntype = \"supervisor\"\nstrategy = \"one_for_all\"\n\
                    [[child.child]]\nname = \"a\"\n[[template]]\nname = \"chat\"\nmax_restarts = 1";
        let expected = [
            "the tree: one_for_one; when a child crashes more than 3 times in 5 s, only that child is given up (give_up = \"park\")",
            "team: one_for_all; when a child crashes more than 3 times in 5 s, it ends with all its children (give_up = \"escalate\")",
            "chat: one_for_one; when a child crashes more than 1 times in 5 s, only that child is given up (give_up = \"park\")",
        ];
        assert_eq!(supervisors(&tree(text)), expected);
    }

    #[test]
    fn a_limit_that_is_not_kept_here_is_said_once_whoever_sets_it() {
        let text = "[defaults]\nmemory_max = \"1 GiB\"\npids_max = 99\n[[child]]\nname = \"a\"\n[[template]]\nname = \"b\"\n\
                    cpu_weight = 50";
        let warnings = |controllers: &[&str]| {
            let controllers: Vec<String> = controllers.iter().map(ToString::to_string).collect();
            unkept(&tree(text), &controllers)
        };
        let all = warnings(&[]);
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(
            all[0].starts_with("warning: `memory_max` is kept by a look at the memory each second: "),
            "{}",
            all[0]
        );
        assert!(all[2].starts_with("warning: `cpu_weight` is not kept: "), "{}", all[2]);
        assert!(all[2].contains("controller `cpu`"), "{}", all[2]);
        assert_eq!(warnings(&["memory", "pids", "cpu"]), Vec::<String>::new());
    }

    #[test]
    fn a_session_that_demands_what_the_kernel_has_not_is_said_not_to_start() {
        let text = "[[child]]\nname = \"a\"\nmemory_max = \"1 GiB\"\nlimits = \"kernel\"\n[[child]]\nname = \"b\"\n\
                    memory_max = \"1 GiB\"\n[[template]]\nname = \"c\"\npids_max = 9\nlimits = \"kernel\"";
        let warnings = |controllers: &[&str]| {
            let controllers: Vec<String> = controllers.iter().map(ToString::to_string).collect();
            unkept(&tree(text), &controllers)
        };
        let all = warnings(&["cpu"]);
        let said = [
            "warning: `memory_max` is kept by a look at the memory each second: ",
            "warning: a session with `memory_max` and `limits = \"kernel\"` does not start here: ",
            "warning: a session with `pids_max` and `limits = \"kernel\"` does not start here: ",
        ];
        assert_eq!(all.len(), said.len(), "{all:?}");
        assert!(all.iter().zip(said).all(|(line, said)| line.starts_with(said)), "{all:?}");
        assert_eq!(warnings(&["memory", "pids"]), Vec::<String>::new());
    }
}
