//! The arguments of the command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use treewarden::events::Position;
use treewarden::{SessionId, TurnId};

/// Runs Claude Code sessions in a supervision tree, and talks to them
#[derive(Debug, Parser)]
#[command(name = "treewarden", version, max_term_width = 100, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,

    /// What to log to stderr: error, warn, info, debug, trace, or a filter such as treewarden=debug
    #[arg(long, global = true, value_name = "LEVEL", env = "RUST_LOG", hide_env_values = true)]
    pub(crate) log: Option<String>,

    /// How the log is written: as text, or as one JSON object a line
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, hide_possible_values = true)]
    pub(crate) log_format: LogFormat,
}

impl Cli {
    /// What is to be done: without a verb the demo in a checkout, and elsewhere nothing but to show the help.
    pub(crate) fn into_verb(self, is_checkout: bool) -> Option<Verb> {
        self.verb.or_else(|| is_checkout.then_some(Verb::Demo))
    }
}

/// Whether `cargo run` runs this program in its checkout: cargo tells a program that it runs which package that is of.
pub(crate) fn is_checkout() -> bool {
    std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == env!("CARGO_PKG_NAME"))
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

const AFTER: &str = "`treewarden demo` shows what it is for. The exit codes and the socket's protocol are in docs/command.md.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show a killed session carry its conversation on; needs no key and no Claude Code
    Demo,
    /// Start the tree of a config file, and serve it until SIGTERM or Ctrl-C
    Run {
        /// The config file
        #[arg(default_value = "treewarden.toml")]
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Change the running tree as its config file says now; what has not changed is not touched
    Reload {
        /// Another config file than the one that the tree was started with
        file: Option<PathBuf>,
        /// Show what would change, and change nothing
        #[arg(long, visible_alias = "diff")]
        dry_run: bool,
        /// Stop every session if the file declares none
        #[arg(long)]
        allow_empty: bool,
        /// Also if a conversation that is not on disk is lost with a session that goes
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        place: Place,
    },
    /// List the sessions
    Ps {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        place: Place,
    },
    /// Send a prompt to a session and print the answer
    Ask(Ask),
    /// Talk to a session: at a terminal, or with prompts from stdin, one a line
    Chat {
        /// The session
        name: String,
        /// Neither read nor keep a history of what is typed
        #[arg(long)]
        no_history: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Show what became of a turn
    Turn {
        /// The turn, by its UUID
        turn: TurnId,
        /// Wait until the turn has its outcome
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        place: Place,
    },
    /// Take a turn out of its queue, or interrupt it if it runs
    Cancel {
        /// The turn, by its UUID
        turn: TurnId,
        #[command(flatten)]
        place: Place,
    },
    /// Start a session's CLI anew, or a supervisor and all below it; conversations and open turns are carried on
    Restart {
        /// The session or the supervisor
        name: String,
        /// Also if a conversation is not on disk, and so is lost
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Stop a session until it is started again
    Stop {
        /// Also if its conversation is not on disk, and so is lost
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Start a session that was stopped
    Start(Target),
    /// Make a session of a template of the config file
    New {
        /// The template
        template: String,
        #[command(flatten)]
        target: Target,
    },
    /// End a session that was made of a template, and free its name; its conversation is kept
    Remove {
        /// Also if its conversation is not on disk, and so is lost
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Begin a new conversation in a session
    Clear {
        /// The session
        #[arg(required_unless_present = "all_lost")]
        name: Option<String>,
        /// In every session whose record is lost
        #[arg(long, conflicts_with = "name")]
        all_lost: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take a conversation over by its id, for a session whose record is lost
    Adopt {
        /// The session
        #[arg(required_unless_present = "all_lost")]
        name: Option<String>,
        /// The conversation
        #[arg(required_unless_present = "all_lost")]
        id: Option<SessionId>,
        /// Every session whose record is lost, with the conversation that its lease file names
        #[arg(long, conflicts_with_all = ["name", "id"])]
        all_lost: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Interrupt the turn that a session is running
    Interrupt(Target),
    /// Show the tree
    Tree {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        place: Place,
    },
    /// Show what happened lately, and what happens
    Events {
        /// Go on until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// Begin behind this event: its `boot` and `seq`, as `--json` shows them
        #[arg(long, value_name = "BOOT:SEQ")]
        since: Option<Position>,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        place: Place,
    },
    /// Watch the sessions, as top does
    Top {
        /// How often to look, in seconds
        #[arg(short, long, default_value_t = 1.0, value_parser = interval)]
        interval: f64,
        #[command(flatten)]
        place: Place,
    },
    /// Copy what is kept of sessions and turns into a new folder, also while the tree runs
    Backup {
        /// The folder, which is made
        dir: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Put a copy that `backup` made in the place of what is kept, while no tree runs
    Restore {
        /// The folder with the copy
        dir: PathBuf,
        /// Also if something is kept there: it is set aside
        #[arg(long)]
        force: bool,
        /// Also if the copy is damaged: what can be read of it is put back, and what cannot is said
        #[arg(long)]
        damaged: bool,
        /// The state directory; by default that of treewarden.toml in this folder, else the usual one
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
    /// Check a config file, and what it names on this machine, and say all that is wrong; starts nothing
    Check {
        /// The config file
        #[arg(default_value = "treewarden.toml")]
        file: PathBuf,
        /// Fail for warnings too, such as a folder that is not there
        #[arg(long)]
        strict: bool,
    },
    /// Print the JSON Schema of the config file
    Schema,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "give a number of seconds".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("give 0.1 to 3600 seconds".to_owned()) }
}

/// Where the running tree is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Place {
    // The variable is no `env` of clap's, which would not tell it from an argument: it comes behind --state-dir.
    #[arg(
        long,
        value_name = "PATH",
        help = "The control socket; by default control.sock in the state directory [env: TREEWARDEN_SOCKET]"
    )]
    pub(crate) socket: Option<PathBuf>,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Print JSON, in the form that docs/command.md describes
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The session
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The session
    pub(crate) name: String,
    /// The prompt; - reads it from stdin
    // A prompt is often a list, whose first line begins with a dash.
    #[arg(allow_hyphen_values = true)]
    pub(crate) prompt: String,
    /// Have the CLI act on the prompt: run its /command, read the files of its @mentions
    #[arg(long)]
    pub(crate) command: bool,
    /// Print the text as it comes; with --json, every frame
    #[arg(long)]
    pub(crate) stream: bool,
    /// Print the turn's id at once and let it run; `treewarden turn` fetches its outcome
    #[arg(long, conflicts_with = "stream")]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(args: &[&str]) -> Result<Ask, clap::Error> {
        let args = ["treewarden", "ask"].into_iter().chain(args.iter().copied());
        Cli::try_parse_from(args).map(|cli| match cli.into_verb(false) {
            Some(Verb::Ask(ask)) => ask,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_prompt_may_begin_with_a_dash_and_flags_stand_on_either_side_of_it() {
        for prompt in ["- fix this\n- and that", "-5 degrees", "--- a/file", "--not-a-flag", "-", "-x"] {
            for args in
                [&["a", prompt][..], &["a", prompt, "--json"], &["--json", "a", prompt], &["a", "--", prompt]]
            {
                let ask = ask(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
                assert_eq!((ask.name.as_str(), ask.prompt.as_str()), ("a", prompt), "{args:?}");
                assert_eq!(ask.output.json, args.contains(&"--json"), "{args:?}");
            }
        }
        let flags = ask(&["a", "- fix", "--stream", "--socket", "/s"]).expect("flags behind the prompt");
        assert!(flags.stream && flags.place.socket.is_some());
        assert!(ask(&["a", "--stream", "fix"]).expect("flags before the prompt").stream);
        assert_eq!(ask(&["a", "--", "--json"]).expect("behind two dashes all is text").prompt, "--json");
        assert!(ask(&["a"]).is_err() && ask(&["a", "--json"]).is_err(), "there is no prompt");
    }

    #[test]
    fn without_a_verb_the_demo_is_run_in_a_checkout_alone() {
        let bare = || Cli::try_parse_from(["treewarden"]).expect("no verb is no error");
        assert!(bare().into_verb(false).is_none());
        assert!(matches!(bare().into_verb(true), Some(Verb::Demo)));
        let check = Cli::try_parse_from(["treewarden", "schema"]).expect("a verb");
        assert!(matches!(check.into_verb(true), Some(Verb::Schema)));
    }
}
