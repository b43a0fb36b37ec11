//! What the tests share: programs to spawn, and looking at processes from outside of the crate under test.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use treewarden_process::{
    Containment, ContainmentPolicy, Cookie, Line, LineReader, ProcessTree, Program, spawn,
};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

pub(crate) const POLICIES: [ContainmentPolicy; 2] =
    [ContainmentPolicy::Best, ContainmentPolicy::GroupAndCookie];

/// A cookie that no other test has.
pub(crate) fn cookie() -> Cookie {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let start = Instant::now();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    Cookie::new(format!("test-{}-{serial}-{:p}", std::process::id(), &raw const start))
}

/// A shell that runs `script`.
pub(crate) fn shell(script: &str) -> Program {
    program("/bin/sh", &["-c", script])
}

pub(crate) fn program(path: impl Into<PathBuf>, args: &[&str]) -> Program {
    Program {
        path: path.into(),
        args: args.iter().map(OsString::from).collect(),
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        cwd: "/".into(),
    }
}

#[expect(clippy::print_stdout, reason = "what was skipped is said")]
pub(crate) async fn start(script: &str, policy: ContainmentPolicy) -> (ProcessTree, Cookie) {
    let cookie = cookie();
    let tree = spawn(shell(script), cookie.clone(), policy).await.expect("a shell can be spawned");
    if policy == ContainmentPolicy::Best && *tree.containment() != Containment::Cgroup {
        println!("skipped the cgroup: none can be made here, so the tree is held by {}", tree.containment());
    }
    (tree, cookie)
}

/// The next line of the program's, as text.
pub(crate) async fn line(reader: &mut LineReader) -> String {
    let mut lines = Vec::new();
    let more = tokio::time::timeout(LIMIT, reader.next_batch(&mut lines)).await;
    assert!(more.expect("it prints in time").expect("its pipe can be read"), "it printed nothing");
    match lines.as_slice() {
        [Line::Complete(line)] => String::from_utf8(line.to_vec()).expect("it prints text"),
        lines => panic!("one line was expected: {lines:?}"),
    }
}

/// All that the program prints until it ends, as text; empty lines are not told.
pub(crate) async fn all(reader: &mut LineReader) -> String {
    let mut lines = Vec::new();
    while tokio::time::timeout(LIMIT, reader.next_batch(&mut lines)).await.expect("in time").expect("a pipe")
    {
    }
    let text = |line: &Line| match line {
        Line::Complete(line) => format!("{}\n", String::from_utf8_lossy(line)),
        Line::Partial(line) => String::from_utf8_lossy(line).into_owned(),
        Line::TooLong { bytes } => format!("({bytes} bytes)\n"),
    };
    lines.iter().map(text).collect()
}

/// The processes that carry the cookie, zombies aside.
pub(crate) fn marked(cookie: &Cookie) -> Vec<u32> {
    let wanted = format!("TREEWARDEN_SESSION={}", cookie.as_str());
    let all = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        })
        .collect()
}

/// Tells whether a process is there and no zombie.
pub(crate) fn lives(pid: u32) -> bool {
    field(pid, 0).is_some_and(|state| state != "Z" && state != "X")
}

/// Tells whether a process is there at all.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A field of the process's status, counted from its state.
pub(crate) fn field(pid: u32, index: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(index).map(str::to_owned)
}

/// The id of the calling thread's process group.
pub(crate) fn group(pid: u32) -> Option<u32> {
    field(pid, 2)?.parse().ok()
}

pub(crate) fn session(pid: u32) -> Option<u32> {
    field(pid, 3)?.parse().ok()
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "in vain waited until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What the kernel says of this process's resident memory now, in bytes.
pub(crate) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc is there");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second field is a number") * 4096
}

/// Kills a process by its id when dropped, whatever the test does.
pub(crate) struct Killed(pub(crate) u32);

impl Drop for Killed {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0).unwrap_or(0));
        if let Some(pid) = pid.filter(|pid| pid.as_raw_nonzero().get() > 1) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
