//! Variables of a CLI whose values stand elsewhere: in a file, in what a command prints, in a variable of this process.
//!
//! They are read at each start of a CLI, so that a token that was renewed is used by the next one. It is not for what a file says
//! of them, which is `treewarden-proto`. A value is never shown, nor is a command, whose words may hold what opens the safe.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use futures_util::future::try_join_all;
use treewarden_process::{
    ContainmentPolicy, Cookie, Ladder, LineReader, ProcessTree, Program, SpawnError, SpawnErrorKind,
};
use treewarden_proto::SessionId;
use treewarden_proto::spec::{EnvSource, Environment, SessionSpec};
use treewarden_store::placed;

/// How long a file or a command may take; the tests' machine may be a busy one.
const WITHIN: Duration = Duration::from_secs(if cfg!(test) { 120 } else { 10 });

/// How long the rest of what an ended command printed is read; longer, and something that it left running has the pipe.
const REST: Duration = Duration::from_millis(500);

/// The variable in which the shell is told its command.
const COMMAND: &str = "TREEWARDEN_COMMAND";

/// The longest value: Linux takes no variable that is longer than 128 KiB with its name, and a longer one would be a start that
/// fails without a word of which it was.
pub(crate) const MAX: usize = 127 << 10;

/// Why the variables of a CLI are not known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// There is no value now; the words name the variable and where it was looked for.
    Missing(String),
    /// There is none as long as this process lives.
    Never(String),
    /// The host lacks something that it may have later.
    Shortage(String),
}

/// Reads the variables whose values stand elsewhere into `environment`, all at once.
///
/// # Errors
///
/// [`Unread`], of the first that cannot be read.
///
/// # Cancel safety
///
/// A command that still runs is ended.
pub(crate) async fn read(
    spec: &SessionSpec,
    environment: &mut Environment,
    policy: ContainmentPolicy,
) -> Result<(), Unread> {
    // What `environment` has already is a variable of this process that was found. An empty one is no value: a CLI would go by
    // it instead of its own login, or be refused with it.
    let is_found = |name: &str| environment.get(name).is_some_and(|value| !is_blank(value.as_bytes()));
    let unread = spec.sources().filter(|(name, _)| !is_found(name));
    let reading = unread.map(|(name, source)| async move { Ok((name, one(name, source, policy).await?)) });
    for (name, value) in try_join_all(reading).await? {
        environment.insert(name, value);
    }
    Ok(())
}

async fn one(name: &str, source: &EnvSource, policy: ContainmentPolicy) -> Result<OsString, Unread> {
    let missing = |why: String| Unread::Missing(format!("`env.{name}`: {why}"));
    let mut value = match source {
        EnvSource::File(path) => file(path.clone()).await.map_err(missing)?,
        EnvSource::Command(command) => match of_command(command, policy).await {
            Ok(value) => value,
            Err(Unread::Missing(why)) => return Err(missing(why)),
            Err(other) => return Err(other),
        },
        EnvSource::Var(variable) => {
            let has = if std::env::var_os(variable).is_some() { "has an empty" } else { "has no" };
            return Err(Unread::Never(format!("`env.{name}`: this process {has} variable {variable}")));
        }
        _ => {
            let why = "where it stands is not known to this version";
            return Err(Unread::Never(format!("`env.{name}`: {why}")));
        }
    };
    // A file that is being written anew is empty for a moment.
    if let Some(why) = no_value(&value) {
        return Err(missing(format!("{} {why}", named(source))));
    }
    cut_line_end(&mut value);
    Ok(OsString::from_vec(value))
}

/// Why what stands somewhere is no value of a variable: a CLI would go by an empty one, and none can hold a NUL.
pub(crate) fn no_value(found: &[u8]) -> Option<&'static str> {
    match () {
        () if is_blank(found) => Some("is empty"),
        () if found.contains(&0) => Some("holds a NUL character"),
        () => None,
    }
}

fn is_blank(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return value.trim_ascii().is_empty() };
    // What the CLI trims (2.1.332, as JavaScript does): any blank of Unicode, and the mark that an editor puts at the beginning of
    // a file, also of an empty one.
    text.chars().all(|c| c.is_whitespace() || c == '\u{feff}')
}

/// Where a value stands, as far as it may be shown.
fn named(source: &EnvSource) -> String {
    match source {
        EnvSource::File(path) => format!("the file {}", path.display()),
        EnvSource::Var(variable) => format!("the variable {variable}"),
        EnvSource::Command(command) => named_command(command),
        _ => "its source".to_owned(),
    }
}

/// By its first word alone, if that can only be a program's name: the others may be secret.
fn named_command(command: &str) -> String {
    let plain = |word: &&str| word.chars().all(|each| each.is_alphanumeric() || "_-./".contains(each));
    // A command that sets variables first says them, with blanks in quotes: what follows of it is no name, and may be a value.
    match command.split_whitespace().next().filter(plain) {
        Some(program) => format!("its command `{program} …`"),
        None => "its command".to_owned(),
    }
}

async fn file(path: PathBuf) -> Result<Vec<u8>, String> {
    let shown = path.display().to_string();
    // A disk that hangs must not keep the threads that all sessions share.
    let reading = tokio::task::spawn_blocking(move || placed::read_elsewhere(&path, MAX as u64));
    match tokio::time::timeout(WITHIN, reading).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(format!("the file {shown} cannot be read: {error}")),
        Ok(Err(error)) => Err(format!("the file {shown} cannot be read: {error}")),
        Err(_) => Err(format!("the file {shown} cannot be read: its disk does not answer")),
    }
}

async fn of_command(command: &str, policy: ContainmentPolicy) -> Result<Vec<u8>, Unread> {
    let named = named_command(command);
    let ran = tokio::time::timeout(WITHIN, run(command, policy)).await;
    let (status, printed) = match ran {
        Err(_) => {
            let limit = WITHIN.as_secs();
            return Err(Unread::Missing(format!("{named} did not end within {limit} s")));
        }
        Ok(Err(error)) if error.kind() == SpawnErrorKind::NoResources => {
            return Err(Unread::Shortage(error.to_string()));
        }
        Ok(Err(error)) => return Err(Unread::Missing(format!("{named} cannot be run: {error}"))),
        Ok(Ok(ran)) => ran,
    };
    let printed = printed.ok_or_else(|| Unread::Missing(format!("{named} prints more than {MAX} bytes")))?;
    if !status.success() {
        // Not what it said to stderr: a shell that cannot run what it was told says that, and a program may say the secret.
        return Err(Unread::Missing(format!(
            "{named} ended with {status}; run it by hand to see what it says"
        )));
    }
    if is_blank(&printed) {
        return Err(Unread::Missing(format!("{named} prints nothing")));
    }
    Ok(printed)
}

/// What a command did: how it ended, and what it printed, if that was not too much.
type Ran = (ExitStatus, Option<Vec<u8>>);

async fn run(command: &str, policy: ContainmentPolicy) -> Result<Ran, SpawnError> {
    let mut environment = Environment::passed_on(std::env::vars_os());
    // Every user of the machine can read an argument, and only this one a variable.
    environment.insert(COMMAND, command);
    let program = Program {
        path: "/bin/sh".into(),
        args: vec!["-c".into(), format!("c=${COMMAND}; unset {COMMAND}; eval \"$c\"").into()],
        env: environment.into_iter().collect(),
        // The host's folder: a session's is one in which the model writes.
        cwd: std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned()),
    };
    // An id of its own, so that nothing of a session is taken for it.
    let cookie = Cookie::new(format!("env-{}", SessionId::random()));
    let mut tree = treewarden_process::spawn(program, cookie, policy).await?;
    // A command that asks for something ends instead of waiting for it.
    drop(tree.take_stdin());
    let reader = tree.take_stdout().expect("a tree that was just spawned still has its stdout");
    let (status, printed) = read_out(&tree, reader).await;
    // Whatever it left running is ended with it.
    if let Err(error) = tree.stop(Ladder::kill(), None).await {
        tracing::warn!(%error, "processes of a command that gives a variable's value live on");
    }
    Ok((status, printed))
}

/// Reads until the command has ended and its pipe has, or nothing more comes.
async fn read_out(tree: &ProcessTree, mut reader: LineReader) -> (ExitStatus, Option<Vec<u8>>) {
    let mut printed = Vec::new();
    let mut is_read = false;
    let status = loop {
        tokio::select! {
            biased;
            more = reader.next_bytes(&mut printed), if !is_read => {
                is_read = !matches!(more, Ok(true));
                // It would wait for ever for somebody to read the rest.
                if printed.len() > MAX {
                    return (ExitStatus::default(), None);
                }
            }
            status = tree.exited() => break status,
        }
    };
    let until = tokio::time::Instant::now() + REST;
    while !is_read && printed.len() <= MAX {
        let more = tokio::time::timeout_at(until, reader.next_bytes(&mut printed)).await;
        is_read = !matches!(more, Ok(Ok(true)));
    }
    (status, (printed.len() <= MAX).then_some(printed))
}

/// Takes one line end off: an editor, or `echo`, puts one there.
fn cut_line_end(value: &mut Vec<u8>) {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;

    use super::*;

    async fn value(source: EnvSource) -> Result<String, Unread> {
        let spec = SessionSpec::new().env("TOKEN", source);
        let mut environment = spec.environment([]);
        read(&spec, &mut environment, ContainmentPolicy::Best).await?;
        Ok(environment.get("TOKEN").and_then(OsStr::to_str).expect("text").to_owned())
    }

    async fn missing(source: EnvSource) -> String {
        match value(source).await {
            Err(Unread::Missing(why) | Unread::Never(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    fn command(text: &str) -> EnvSource {
        EnvSource::Command(text.to_owned())
    }

    #[tokio::test]
    async fn one_line_end_is_cut_and_the_rest_is_as_it_stands() {
        let dir = tempfile::tempdir().expect("a folder");
        for (text, read) in [("tok", "tok"), ("tok\n", "tok"), ("tok\r\n", "tok"), ("a\nb\n\n", "a\nb\n")] {
            let path = dir.path().join("token");
            fs::write(&path, text).expect("written");
            assert_eq!(value(EnvSource::File(path)).await.as_deref(), Ok(read));
            assert_eq!(value(command(&format!("printf '%b' '{text}'"))).await.as_deref(), Ok(read));
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_told_with_its_name_and_its_place_and_without_a_value() {
        let dir = tempfile::tempdir().expect("a folder");
        let why = missing(EnvSource::File(dir.path().join("none"))).await;
        assert!(why.starts_with("`env.TOKEN`: the file /") && why.contains("none"), "{why}");
        let why = missing(EnvSource::File(dir.path().to_owned())).await;
        assert!(why.contains("no regular file"), "{why}");
        for (text, why) in [
            ("", "is empty"),
            ("\n", "is empty"),
            (" \t\r\n", "is empty"),
            ("\u{feff}\n", "is empty"),
            ("\u{a0}\u{b}", "is empty"),
        ] {
            let path = dir.path().join("blank");
            fs::write(&path, text).expect("written");
            let said = missing(EnvSource::File(path)).await;
            assert!(said.starts_with("`env.TOKEN`: the file /") && said.ends_with(why), "{text:?}: {said}");
        }
        let why = missing(EnvSource::Var("TW_NOT_SET".to_owned())).await;
        assert_eq!(why, "`env.TOKEN`: this process has no variable TW_NOT_SET");
        let why =
            missing(command("echo SEKRET; echo 'no such entry' >&2; echo got SEKRET >&2; exit 3")).await;
        let by_hand = "ended with exit status: 3; run it by hand to see what it says";
        assert_eq!(why, format!("`env.TOKEN`: its command `echo …` {by_hand}"));
        let why = missing(command("KEY=SEKRET true SEKRET")).await;
        assert_eq!(why, "`env.TOKEN`: its command prints nothing");
        for secret in ["A=\"x SEKRET y\" false", "set -x; false SEKRET", "true; SEKRET x", "\"$(SEKRET)\" a"]
        {
            assert!(!missing(command(secret)).await.contains("SEKRET"), "{secret}");
        }
        let why = missing(command("printf 'a\\0b'")).await;
        assert!(why.contains("NUL"), "{why}");
        let why = missing(command("head -c 140000 /dev/zero | tr '\\0' x")).await;
        assert!(why.contains("more than"), "{why}");
    }

    #[tokio::test]
    async fn a_variable_that_is_empty_is_no_value_and_never_will_be() {
        let spec = SessionSpec::new().env("TOKEN", EnvSource::Var("TW_EMPTY".to_owned()));
        for text in ["", " "] {
            let mut environment = spec.environment([("TW_EMPTY".into(), text.into())]);
            let unread = read(&spec, &mut environment, ContainmentPolicy::Best).await.expect_err("no value");
            assert!(matches!(&unread, Unread::Never(why) if why.contains("TW_EMPTY")), "{unread:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_does_not_end_is_given_up_and_ended() {
        // The clock runs on by itself once nothing else is to be done.
        let why = missing(command("sleep 600")).await;
        assert_eq!(why, "`env.TOKEN`: its command `sleep …` did not end within 120 s");
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_keeps_nobody_waiting() {
        assert_eq!(value(command("sleep 600 & echo tok")).await.as_deref(), Ok("tok"));
    }
}
