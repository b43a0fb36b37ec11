//! Starts that fail, one of each kind: what the caller is told, and that the siblings feel nothing.
//!
//! The table is printed (`--nocapture`), with how long each took; nothing is asserted of that.

#![expect(clippy::print_stdout, reason = "the table is what the run is for")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use treewarden::session::{FailureKind, QueryErrorKind, SessionState};
use treewarden::{Session, SessionOptions};
use treewarden_end_to_end::{Lab, end, eventually, fake_cli_path};
use treewarden_testkit::faults;

/// What the caller is told.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// The answer: it passed.
    Answer,
    /// A failure of this kind, with these words in it.
    Failed(FailureKind, &'static str),
}

use FailureKind::{Credentials, NotStarted, TimedOut};
use Told::{Answer, Failed};

/// The CLI of one row: the path that the session has, and what lies around it.
#[derive(Debug, Clone)]
struct Place {
    cli: PathBuf,
    dir: PathBuf,
}

impl Place {
    fn write(&self, bytes: &[u8], mode: u32) {
        // Beside it and renamed: a file that another thread's child holds open for writing cannot be executed.
        let made = self.dir.join("made");
        fs::write(&made, bytes).expect("written");
        fs::set_permissions(&made, fs::Permissions::from_mode(mode)).expect("changed");
        fs::rename(&made, &self.cli).expect("renamed");
    }

    /// A shell script; `$CLI` is the fake CLI and `$D` the row's folder.
    fn script(&self, text: &str) {
        let (cli, dir) = (fake_cli_path(), &self.dir);
        let text = format!("#!/bin/sh\nCLI='{}'; D='{}'\n{text}\n", cli.display(), dir.display());
        self.write(text.as_bytes(), 0o755);
    }

    fn whole(&self) {
        self.script("exec $CLI \"$@\"");
    }

    /// The first so many hundredths of a program: few, since most of one with debug information is never loaded.
    fn torn(&self, hundredths: usize) {
        let whole = fs::read(fake_cli_path()).expect("it can be read");
        self.write(&whole[..whole.len() * hundredths / 100], 0o755);
    }
}

/// One way for a start to fail.
struct Row {
    what: &'static str,
    /// How the CLI is when the turn is asked.
    broken: fn(&Place),
    /// It has answered a turn before that.
    worked: bool,
    /// How it is mended when the failure shows in the status.
    mended: Option<fn(&Place)>,
    options: fn(SessionOptions) -> SessionOptions,
    told: Told,
}

fn row(what: &'static str, broken: fn(&Place), told: Told) -> Row {
    Row { what, broken, worked: false, mended: None, options: |options| options, told }
}

fn script(what: &'static str, text: &'static str, told: Told) -> (Row, &'static str) {
    (row(what, |_| {}, told), text)
}

impl Row {
    fn after_it_worked(self) -> Self {
        Self { worked: true, ..self }
    }

    fn until_mended(self) -> Self {
        Self { mended: Some(Place::whole), ..self }
    }

    fn with(self, options: fn(SessionOptions) -> SessionOptions) -> Self {
        Self { options, ..self }
    }
}

fn gone(place: &Place) {
    drop(fs::remove_file(&place.cli));
}

fn not_executable(place: &Place) {
    place.write(b"#!/bin/sh\n", 0o644);
}

fn no_interpreter(place: &Place) {
    place.write(b"#!/no/such/interpreter\n", 0o755);
}

/// What is wrong with the file itself.
fn files() -> Vec<Row> {
    let short = |options: SessionOptions| options.start_timeout(Duration::from_secs(60));
    vec![
        row("no file, never seen", gone, Failed(NotStarted, "no such file")),
        row("no file, for a moment", gone, Answer).after_it_worked().until_mended(),
        row("no file any more", gone, Failed(NotStarted, "no such file")).after_it_worked(),
        row("not executable, never seen", not_executable, Failed(NotStarted, "ermission denied")),
        row("not executable, for a moment", not_executable, Answer).after_it_worked().until_mended(),
        row("a folder", |p| drop(fs::create_dir(&p.cli)), Failed(NotStarted, "ermission denied")),
        row("no interpreter, never seen", no_interpreter, Failed(NotStarted, "interpreter")),
        row("no interpreter, for a moment", no_interpreter, Answer).after_it_worked().until_mended(),
        row("an empty file, for a moment", |p| p.write(b"", 0o755), Answer).until_mended(),
        row("an empty file", |p| p.write(b"", 0o755), Failed(NotStarted, "xec format error")).with(short),
        row("a text without a first line", |p| p.write(b"claude\n", 0o755), Answer).until_mended(),
        row("torn at 1 %, for a moment", |p| p.torn(1), Answer).until_mended(),
        row("torn at 5 %, for a moment", |p| p.torn(5), Answer).until_mended(),
        row("torn at 5 %", |p| p.torn(5), Failed(NotStarted, "no CLI came up")),
        row("in a folder that is a file", |p| p.write(b"", 0o644), Failed(NotStarted, "no such file")).with(
            |mut options| {
                options.spec.cli_path = options.spec.cli_path.map(|path| path.join("claude"));
                options
            },
        ),
        row("no working directory", Place::whole, Failed(NotStarted, "`cwd` names, is not there")).with(
            |mut options| {
                options.spec = options.spec.cwd("/no/such/folder");
                options
            },
        ),
        row("an environment that is too long", Place::whole, Failed(NotStarted, "too long")).with(
            |mut options| {
                options.spec = options.spec.env("LONG", "x".repeat(200 << 10));
                options
            },
        ),
    ]
}

/// What the program says or does that is started; `$N` starts came before.
fn scripts() -> Vec<(Row, &'static str)> {
    let quick = |options: SessionOptions| options.start_timeout(Duration::from_secs(1));
    let impatient = |mut options: SessionOptions| {
        options.spec = options.spec.timeout(Duration::from_secs(4));
        options
    };
    let hurried = |mut options: SessionOptions| {
        options.spec = options.spec.timeout(Duration::from_secs(4));
        options.start_timeout(Duration::from_secs(1))
    };
    let with = |(row, text): (Row, &'static str), options| (row.with(options), text);
    vec![
        script("exit 127, for a moment", "[ $N -ge 2 ] || exit 127; exec $CLI \"$@\"", Answer),
        script("exit 127", "exec /no/such/node", Failed(NotStarted, "exit 127")),
        script("exit 126", "exit 126", Failed(NotStarted, "exit 126")),
        script(
            "the container's name is taken, for a moment",
            "[ $N -ge 3 ] || { echo 'Conflict. The container name \"/agent\" is already in use by container \"12ab\".' >&2; exit 125; }; exec $CLI \"$@\"",
            Answer,
        ),
        script(
            "the container's name is taken",
            "echo 'Conflict. The container name \"/agent\" is already in use by container \"12ab\".' >&2; exit 125",
            Failed(NotStarted, "The container name \"/agent\" is already in use"),
        ),
        script(
            "an MCP server's words and exit 1, for a moment",
            "[ $N -ge 1 ] || { echo 'Error: Invalid API key provided to the MCP server weather' >&2; exit 1; }; exec $CLI \"$@\"",
            Answer,
        ),
        script(
            "an MCP server's words and a signal",
            "[ $N -ge 1 ] || { echo \"error: unknown option '--x'\" >&2; kill -9 $$; }; exec $CLI \"$@\"",
            Answer,
        ),
        script("SIGTERM each time", "kill -TERM $$", Failed(NotStarted, "signal 15")),
        script("SIGSEGV once", "[ $N -ge 1 ] || kill -SEGV $$; exec $CLI \"$@\"", Answer),
        script("SIGBUS once", "[ $N -ge 1 ] || kill -BUS $$; exec $CLI \"$@\"", Answer),
        script("SIGILL once", "[ $N -ge 1 ] || kill -ILL $$; exec $CLI \"$@\"", Answer),
        script("out of memory once (exit 137)", "[ $N -ge 1 ] || exit 137; exec $CLI \"$@\"", Answer),
        script("exit 139 once", "[ $N -ge 1 ] || exit 139; exec $CLI \"$@\"", Answer),
        script("a banner and exit 0", "echo welcome >&2; exit 0", Failed(NotStarted, "exit 0: welcome")),
        script(
            "npm's stub of the package",
            "echo 'Error: claude native binary not installed.' >&2; exit 1",
            Failed(NotStarted, "claude native binary not installed"),
        ),
        script(
            "long words",
            "head -c 100000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 3",
            Failed(NotStarted, "the end"),
        ),
        script(
            "no descriptors in the CLI",
            "ulimit -n 3; exec $CLI \"$@\" 0<&- ; exit 1",
            Failed(NotStarted, "no CLI came up"),
        ),
        script(
            "a flag that the CLI does not know",
            "exec $CLI --bad-flag \"$@\"",
            Failed(NotStarted, "'--bad-flag'"),
        ),
        script(
            "a bad mcp_config",
            "printf 'Error: Invalid MCP configuration:\\nMCP config file not found: /no/x.json\\n' >&2; exit 1",
            Failed(NotStarted, "MCP config file not found: /no/x.json"),
        ),
        script(
            "no settings file",
            "echo 'Error: Settings file not found: /no/s.json' >&2; exit 1",
            Failed(NotStarted, "/no/s.json"),
        ),
        script(
            "the id of another conversation is in use",
            "echo 'Error: Session ID 11111111-1111-4111-8111-111111111111 is already in use.' >&2; exit 1",
            Failed(NotStarted, "no CLI came up"),
        ),
        script(
            "its own id is in use",
            "for a in \"$@\"; do case $a in ????????-????-????-????-????????????) id=$a;; --*=????????-*) id=${a#*=};; esac; done; echo \"Error: Session ID $id is already in use.\" >&2; exit 1",
            Failed(NotStarted, "is already in use."),
        ),
        script(
            "no login",
            "echo 'Not logged in · Please run /login' >&2; exit 1",
            Failed(Credentials, "Please run /login"),
        ),
        with(
            script("it hangs, for a moment", "[ $N -ge 1 ] || exec sleep 1000; exec $CLI \"$@\"", Answer),
            quick,
        ),
        with(
            script("it hangs", "exec sleep 1000", Failed(TimedOut, "no answer to initialize in 1")),
            hurried,
        ),
        with(
            script(
                "it hangs, and says why",
                "echo waiting for the server weather >&2; exec sleep 1000",
                Failed(TimedOut, "waiting for the server weather"),
            ),
            impatient,
        ),
        with(
            script(
                "it fails slowly",
                "sleep 1; echo no network >&2; exit 1",
                Failed(TimedOut, "exit 1: no network"),
            ),
            impatient,
        ),
    ]
}

/// So many rows at once: all of them would start more CLIs at the same moment than two processors start in time.
const AT_ONCE: usize = 16;

/// Asks a session with such a CLI, and says what it was told.
async fn tried(
    lab: Arc<Lab>,
    at_once: Arc<Semaphore>,
    number: usize,
    row: Row,
    text: &'static str,
) -> (String, Duration) {
    let _place = at_once.acquire().await.expect("it is never closed");
    let dir = lab.path().join(format!("row-{number}"));
    fs::create_dir(&dir).expect("a folder");
    let place = Place { cli: dir.join("claude"), dir };
    let options = lab.spec(&format!("row-{number}")).cli_path(&place.cli);
    let options = (row.options)(SessionOptions::from(options).host(&lab.host));
    let session = Session::start(options).await.expect("started");
    if row.worked {
        place.whole();
        session.query("PROMPT-0").await.expect("it works");
    }
    if text.is_empty() {
        (row.broken)(&place);
    } else {
        let count = "N=$(cat $D/n 2>/dev/null || echo 0); echo $((N + 1)) > $D/n";
        place.script(&format!("{count}\n{text}"));
    }
    if row.worked {
        let pid = session.status().await.expect("status").pid.expect("its CLI lives");
        faults::kill(pid).expect("killed");
        eventually("its CLI is gone", async || (session.status().await.ok()?.pid != Some(pid)).then_some(()))
            .await;
    }
    let began = Instant::now();
    let turn = session.stream("PROMPT-1").await.expect("opened");
    if let Some(mend) = row.mended {
        eventually("the failure shows", async || session.status().await.ok()?.reason.map(drop)).await;
        mend(&place);
    }
    let told = turn.answer().await;
    let (took, what) = (began.elapsed(), row.what);
    let said = match (&told, row.told) {
        (Ok(answer), Answer) => {
            assert!(answer.text.contains("answer to PROMPT-1"), "{what}: {answer}");
            "answered".to_owned()
        }
        (Err(error), Failed(kind, words)) => {
            assert_eq!(error.kind(), QueryErrorKind::Failed(kind), "{what}: {error}");
            assert!(error.to_string().contains(words), "{what}: {words:?} is not in {error}");
            error.to_string()
        }
        (told, wanted) => panic!("{what}: {told:?} for {wanted:?}"),
    };
    let status = session.status().await.expect("status");
    // A CLI that was killed when it was idle, and none other.
    assert_eq!(
        status.restarts,
        u64::from(row.worked),
        "{what}: a start that fails spends no restart: {status:?}"
    );
    assert!(session.is_alive().await, "{what}");
    session.stop().await.expect("stopped");
    (said, took)
}

#[tokio::test]
async fn what_a_caller_is_told_of_a_start_that_fails() {
    // Side by side: the longest take half a minute each.
    tokio::task::LocalSet::new().run_until(all_are_tried()).await;
}

async fn all_are_tried() {
    let lab = Arc::new(Lab::new());
    let sibling = Session::start(lab.options("sibling")).await.expect("started");
    let done = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn({
        let (sibling, done) = (sibling.clone(), Arc::clone(&done));
        async move {
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                sibling.query("hello").await.expect("a sibling is answered all the time");
                answers += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answers
        }
    });
    let rows: Vec<(Row, &'static str)> = files().into_iter().map(|row| (row, "")).chain(scripts()).collect();
    assert!(rows.len() >= 40, "{}", rows.len());
    let (mut all, at_once) = (Vec::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for (number, (row, text)) in rows.into_iter().enumerate() {
        let what = row.what;
        let tried = tried(Arc::clone(&lab), Arc::clone(&at_once), number, row, text);
        all.push((what, tokio::task::spawn_local(tried)));
    }
    println!("| the start | what the caller is told | after | siblings |\n|---|---|---|---|");
    for (what, told) in all {
        let (said, took) = told.await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let from = said.char_indices().rev().nth(150).map_or(0, |(at, _)| at);
        let said = said[from..].replace(['\n', '|'], " ");
        println!("| {what} | {said} | {:.1} s | nothing |", took.as_secs_f64());
    }
    done.store(true, Ordering::Relaxed);
    let answers = asking.await.expect("the sibling was answered each time");
    let status = sibling.status().await.expect("status");
    assert_eq!((status.restarts, status.generation), (0, 1), "{answers} answers: {status:?}");
    end(&sibling).await;
}

/// A file that is open for writing cannot be executed. Held open by this process alone: a child of another test that is being
/// started would hold a copy for a moment, as it does of any file.
#[tokio::test]
async fn a_cli_that_is_being_written_is_waited_for() {
    let lab = Lab::new();
    let path = lab.path().join("claude-cli");
    fs::copy(fake_cli_path(), &path).expect("copied");
    let writing = fs::File::options().append(true).open(&path).expect("opened");
    let session = Session::start(SessionOptions::from(lab.spec("a").cli_path(&path)).host(&lab.host)).await;
    let session = session.expect("started");
    let turn = session.stream("PROMPT-1").await.expect("opened");
    let reason = eventually("the failure shows", async || session.status().await.ok()?.reason).await;
    assert!(reason.contains("ext file busy"), "{reason}");
    drop(writing);
    turn.answer().await.expect("it passed");
    assert_eq!(session.status().await.expect("status").restarts, 0);
    end(&session).await;
}

#[tokio::test]
async fn a_running_turn_outlives_a_cli_that_is_away_for_a_moment() {
    let lab = Lab::new();
    let path = lab.path().join("claude-cli");
    let link = |path: &Path| std::os::unix::fs::symlink(fake_cli_path(), path).expect("linked");
    link(&path);
    let session = Session::start(SessionOptions::from(lab.spec("a").cli_path(&path)).host(&lab.host)).await;
    let session = session.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let turn = session.stream("PROMPT-2 DELAY=2000").await.expect("opened");
    let pid = eventually("it is in the CLI", async || {
        let status = session.status().await.ok()?;
        (status.state == SessionState::Busy).then_some(status.pid)?
    })
    .await;
    fs::remove_file(&path).expect("removed");
    faults::kill(pid).expect("killed");
    eventually("the failure shows", async || {
        session.status().await.ok()?.reason.filter(|reason| reason.contains("no such file"))
    })
    .await;
    link(&path);
    let answer = turn.answer().await.expect("it is carried on");
    assert_eq!(answer.interruptions, 1);
    assert_eq!(session.status().await.expect("status").restarts, 1, "the crash, and nothing else");
    end(&session).await;
}
