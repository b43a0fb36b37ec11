//! The real CLI's second door: a line that another process writes to its socket begins no turn, unless the session opens it.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use treewarden::events::Happening;
use treewarden::session::SessionState;
use treewarden::{Session, SessionOptions, SessionSpec};
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{end, eventually, id_of, reaches};
use treewarden_proto::spec::{EnvValue, McpConfig, PermissionMode};
use treewarden_testkit::faults;
use treewarden_testkit::mock_api::MockApi;

/// What is said at the door.
const WORD: &str = "PROMPT-from-elsewhere";

/// A lab whose CLIs have their sockets in it.
struct World {
    real: RealLab,
    /// The options of its session, which asks for each tool.
    spec: SessionSpec,
}

async fn world() -> Option<World> {
    Some(World::of(RealLab::new().await?))
}

impl World {
    fn of(real: RealLab) -> Self {
        let run = real.lab.path().join("run");
        std::fs::create_dir(&run).expect("made");
        let mut spec = real.spec("a").env("XDG_RUNTIME_DIR", run.display().to_string());
        spec.permission_mode = None;
        Self { real, spec }
    }

    /// The variable that shuts the door is not there: the setting alone does.
    fn by_setting(&self) -> SessionSpec {
        let mut spec = self.spec.clone();
        spec.env.insert("CLAUDE_CODE_HARBOR_KITE".into(), EnvValue::Unset);
        spec
    }

    fn options(&self, spec: SessionSpec) -> SessionOptions {
        self.real.of(spec)
    }

    fn sockets(&self) -> Vec<PathBuf> {
        files(&self.real.lab.path().join("run/cc-socks"))
    }

    /// How many prompts of this kind the model was asked.
    fn heard(&self, word: &str) -> usize {
        self.real
            .api
            .contexts()
            .iter()
            .filter(|prompts| prompts.iter().any(|prompt| prompt.contains(word)))
            .count()
    }

    /// Writes a line to each door.
    fn knock(&self) {
        for socket in self.sockets() {
            let Ok(mut stream) = UnixStream::connect(&socket) else { continue };
            let line = serde_json::json!({ "type": "user", "message": { "role": "user", "content": WORD } });
            // One that is shut may hang up at once.
            let _heard = writeln!(stream, "{line}");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The sockets on which a process listens, as the kernel lists them.
fn listening(pid: u32) -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let open: Vec<String> = files(Path::new(&format!("/proc/{pid}/fd")))
        .iter()
        .filter_map(|fd| {
            std::fs::read_link(fd)
                .ok()?
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')
                .map(str::to_owned)
        })
        .collect();
    let mut found = Vec::new();
    let mut take = |table: &str, inode: usize, listens: &dyn Fn(&[&str]) -> bool| {
        for line in read(table).lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(inode).is_some_and(|inode| open.iter().any(|open| open == inode))
                && listens(&fields)
            {
                found.push(format!("{table}: {line}"));
            }
        }
    };
    // The flag of a socket that accepts connections; and the state `LISTEN`.
    take("unix", 6, &|fields| fields[3] == "00010000");
    for table in ["tcp", "tcp6"] {
        take(table, 9, &|fields| fields[3] == "0A");
    }
    for table in ["udp", "udp6"] {
        take(table, 9, &|_| true);
    }
    found
}

/// What the CLIs of a session listen on, idle and busy.
async fn heard_on(world: &World, spec: SessionSpec) -> Vec<String> {
    let session = Session::start(world.options(spec)).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let turn = session.stream("PROMPT-2 BASH=sleep 1;;").await.expect("opened");
    reaches(&session, SessionState::Busy).await;
    let mut found: Vec<String> = world.real.lab.clis().iter().flat_map(|(pid, _)| listening(*pid)).collect();
    let _outcome = turn.outcome().await;
    found.extend(world.real.lab.clis().iter().flat_map(|(pid, _)| listening(*pid)));
    end(&session).await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cli_listens_on_nothing_and_one_whose_door_is_open_on_that() {
    let Some(world) = world().await else { return };
    let spec = world.spec.clone().permission_mode(PermissionMode::BypassPermissions);
    let none: [String; 0] = [];
    assert_eq!(heard_on(&world, spec.clone()).await, none);
    let open = heard_on(&world, spec.name("b".parse().expect("a name")).peer_messages(true)).await;
    assert!(!open.is_empty() && open.iter().all(|line| line.contains("/cc-socks/")), "{open:?}");
}

/// Looks at another version of the CLI for ways in: `just probe VERSION`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a look at the version that TREEWARDEN_PROBE names"]
async fn probe() {
    let version =
        std::env::var("TREEWARDEN_PROBE").expect("TREEWARDEN_PROBE names a version, such as 2.1.332");
    let install = {
        let version = version.clone();
        move || treewarden_testkit::real_cli::RealCli::install_version(&version)
    };
    let cli = tokio::task::spawn_blocking(install).await.expect("no panic").expect("it can be installed");
    let world = World::of(RealLab::with(cli.path().to_owned(), MockApi::builder()).await);
    let bypass = |spec: SessionSpec| spec.permission_mode(PermissionMode::BypassPermissions);
    let cases = [
        ("as we start it", world.spec.clone()),
        ("by the setting alone", world.by_setting().name("b".parse().expect("a name"))),
        ("with its door open", world.spec.clone().name("c".parse().expect("a name")).peer_messages(true)),
    ];
    let mut found = Vec::new();
    for (case, spec) in cases {
        let lines = heard_on(&world, bypass(spec)).await;
        println!("{version}, {case}: {}", if lines.is_empty() { "listens on nothing" } else { "listens on" });
        lines.iter().for_each(|line| println!("  {line}"));
        found.push(lines);
    }
    assert!(found[0].is_empty(), "{version} has a way in that is not shut: {:?}", found[0]);
}

/// Knocks at a session in each of its states, and checks that nobody heard it.
async fn stays_shut(world: &World, spec: SessionSpec, has_socket: bool) {
    let options = world.options(spec).warm(1).idle_timeout(Duration::from_secs(600));
    let session = Session::start(options).await.expect("started");
    // A warm one.
    eventually("a CLI is warm", async || (world.real.lab.host.warm().ready == 1).then_some(())).await;
    if has_socket {
        eventually("it has a socket", async || (!world.sockets().is_empty()).then_some(())).await;
    }
    world.knock();
    // An idle one.
    session.query("PROMPT-1").await.expect("answered");
    if has_socket {
        eventually("they have sockets", async || (!world.sockets().is_empty()).then_some(())).await;
    } else {
        assert!(world.sockets().is_empty(), "there is no door");
    }
    world.knock();
    // A busy one.
    let turn = session.stream("PROMPT-2 STREAM=20:50").await.expect("opened");
    reaches(&session, SessionState::Busy).await;
    world.knock();
    turn.answer().await.expect("answered");
    // Whoever was let in would have been asked about before this, or with it.
    session.query("PROMPT-3").await.expect("answered");
    assert_eq!(world.heard(WORD), 0);
    assert_eq!(world.real.api.prompts_in_last_context(), ["PROMPT-1", "PROMPT-2", "PROMPT-3"]);
    // A stopped one has no CLI, and its socket is gone with it.
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_at_the_socket_of_an_idle_busy_or_warm_cli_begins_no_turn() {
    let Some(world) = world().await else { return };
    stays_shut(&world, world.spec.clone(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setting_alone_shuts_the_door_as_well() {
    let Some(world) = world().await else { return };
    stays_shut(&world, world.by_setting(), true).await;
    stays_shut(
        &world,
        world.by_setting().name("b".parse().expect("a name")).settings("{\"verbose\":false}"),
        true,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_session_has_no_door_and_a_turn_of_it_is_its_own() {
    let Some(world) = world().await else { return };
    let options = world.options(world.by_setting()).idle_timeout(Duration::from_millis(200));
    let session = Session::start(options).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    reaches(&session, SessionState::Parked).await;
    eventually("no socket is left", async || world.sockets().is_empty().then_some(())).await;
    world.knock();
    session.query("PROMPT-2").await.expect("answered");
    assert_eq!(world.heard(WORD), 0);
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_opens_its_door_gets_the_message() {
    let Some(world) = world().await else { return };
    let session =
        Session::start(world.options(world.spec.clone().peer_messages(true))).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    eventually("it has a socket", async || (!world.sockets().is_empty()).then_some(())).await;
    let mut events = world.real.lab.host.events().now();
    world.knock();
    eventually("the model is asked", async || (world.heard(WORD) > 0).then_some(())).await;
    let told = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let event = events.next().await.expect("the feed goes on").expect("nothing is missed");
            if matches!(event.what, Happening::Unsolicited { .. }) {
                return;
            }
        }
    });
    told.await.expect("what it prints is told");
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_cli_holds_back_is_an_event() {
    let Some(world) = world().await else { return };
    let spec = world.spec.clone().peer_messages(true).settings("{\"crossSessionInbound\":\"hold\"}");
    let spec = spec.permission_mode(PermissionMode::BypassPermissions);
    let session = Session::start(world.options(spec)).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    eventually("it has a socket", async || (!world.sockets().is_empty()).then_some(())).await;
    let mut events = world.real.lab.host.events().now();
    world.knock();
    let told = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let event = events.next().await.expect("the feed goes on").expect("nothing is missed");
            if let Happening::PeerMessageHeld { frame: Some(frame), .. } = &event.what {
                return frame.clone();
            }
        }
    });
    let frame = told.await.expect("it is told");
    assert!(String::from_utf8_lossy(frame.raw()).contains("peer_message_hold"));
    assert_eq!(world.heard(WORD), 0);
    end(&session).await;
}

/// Settings and MCP servers go in files that the user alone can read, and the files go with the CLI.
#[tokio::test(flavor = "multi_thread")]
async fn settings_and_mcp_servers_stand_in_no_argument_and_reach_the_cli() {
    let Some(world) = world().await else { return };
    let spec =
        world.spec.clone().settings("{\"env\":{\"TOKEN\":\"secret-value\"},\"model\":\"claude-haiku-4-5\"}");
    let told = world.real.lab.path().join("told");
    let server = serde_json::json!({
        "command": "sh", "args": ["-c", format!("printf %s \"$KEY\" >{}; exec cat >/dev/null", told.display())],
        "env": { "KEY": "secret-value" },
    });
    let mut spec = spec;
    spec.mcp_config = Some(McpConfig::Servers([("files".to_owned(), server)].into_iter().collect()));
    let session = Session::start(world.options(spec)).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    eventually("the server is started with its key", async || {
        std::fs::read_to_string(&told).is_ok_and(|key| key == "secret-value").then_some(())
    })
    .await;
    let pid = session.status().await.expect("status").pid.expect("a CLI");
    let argv = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it can be read");
    assert!(!String::from_utf8_lossy(&argv).contains("secret-value"));
    let folder = world.real.lab.host.state_dir().join("settings");
    let written = files(&folder);
    assert_eq!(written.len(), 2, "{written:?}");
    for file in &written {
        assert_eq!(std::fs::metadata(file).expect("there").mode() & 0o777, 0o600);
    }
    let models: Vec<String> =
        world.real.api.requests().iter().map(|request| format!("{request:?}")).collect();
    assert!(
        models.iter().any(|request| request.contains("claude-haiku-4-5")),
        "the settings are read: {models:?}"
    );
    end(&session).await;
    assert!(files(&folder).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_the_doors_of_killed_clis() {
    let Some(world) = world().await else { return };
    // Open, shut by the setting alone, and shut as it always is.
    leaves_nothing(&world, world.spec.clone().peer_messages(true), true).await;
    leaves_nothing(&world, world.by_setting().name("b".parse().expect("a name")), true).await;
    leaves_nothing(&world, world.spec.clone().name("c".parse().expect("a name")), false).await;
}

#[expect(clippy::print_stdout, reason = "a soak tells what it did")]
async fn leaves_nothing(world: &World, spec: SessionSpec, has_socket: bool) {
    let kills = std::env::var("TREEWARDEN_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let options = world.options(spec).max_restarts(100_000);
    let session = Session::start(options).await.expect("started");
    let mut seen = 0;
    for _ in 0..kills {
        session.query("PROMPT-1").await.expect("answered");
        if has_socket {
            eventually("it has a socket", async || (!world.sockets().is_empty()).then_some(())).await;
        }
        seen += world.sockets().len();
        let pid = session.status().await.expect("status").pid.expect("a CLI");
        faults::kill(pid).expect("it can be killed");
        eventually("another one, or none", async || {
            (session.status().await.expect("status").pid != Some(pid)).then_some(())
        })
        .await;
        let socket = world.real.lab.path().join(format!("run/cc-socks/{pid}.sock"));
        eventually("its socket is gone", async || (!socket.exists()).then_some(())).await;
    }
    let _id = id_of(&session).await;
    end(&session).await;
    let until = Instant::now() + Duration::from_secs(10);
    while !world.sockets().is_empty() {
        assert!(Instant::now() < until, "{:?}", world.sockets());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(files(&world.real.config_dir().join("sessions")).is_empty());
    assert!(files(&world.real.lab.host.state_dir().join("settings")).is_empty());
    println!("{kills} kills of CLIs with {seen} sockets left nothing");
}
