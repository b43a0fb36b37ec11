//! A tree that is changed while it runs, as a library: what a diff said is done, and nothing else is touched.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use treewarden::config::{self, ChildTable, ChildTypes, TreeSpec};
use treewarden::session::{QueryErrorKind, SessionState};
use treewarden::supervisor::{
    Child, ChildSpec, GiveUp, RunningChild, StartContext, StartFailure, Started, Strategy, Supervisor,
};
use treewarden::tree::{ApplyError, RestartError, Tree};
use treewarden_end_to_end::{eventually, fake_cli_path};

/// A folder for a tree, and the registered types of its file: `idle` runs, `broken` does not start, `slow` starts when
/// it is let.
struct Ground {
    dir: tempfile::TempDir,
    types: ChildTypes,
    starts: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

#[ractor::actor(message = (), state = (), arguments = ())]
impl Idle {
    async fn pre_start(&self, _: ractor::ActorRef<()>, (): ()) -> Result<(), ractor::ActorProcessingErr> {
        Ok(())
    }
}

struct Idle;

async fn idle(context: StartContext) -> Result<Started, StartFailure> {
    let (actor, join) = ractor::Actor::spawn_linked(None, Idle, (), context.supervisor()).await?;
    Ok(Child::new(actor.get_cell(), join).into())
}

impl Ground {
    fn new() -> Self {
        let starts = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let (counted, slow, opened) = (Arc::clone(&starts), Arc::clone(&starts), Arc::clone(&gate));
        let types = ChildTypes::new()
            .with("idle", move |_: &ChildTable| {
                let counted = Arc::clone(&counted);
                Ok::<_, String>(move |context: StartContext| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    idle(context)
                })
            })
            .with("broken", |_: &ChildTable| {
                Ok::<_, String>(|_: StartContext| async {
                    Err::<Started, _>(StartFailure::from(std::io::Error::other("out of order")))
                })
            })
            .with("slow", move |_: &ChildTable| {
                let (slow, opened) = (Arc::clone(&slow), Arc::clone(&opened));
                Ok::<_, String>(move |context: StartContext| {
                    slow.fetch_add(1, Ordering::SeqCst);
                    let opened = Arc::clone(&opened);
                    async move {
                        opened.acquire().await?.forget();
                        idle(context).await
                    }
                })
            });
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        Self { dir, types, starts, gate }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The tree of a file with these children; sessions run the fake CLI.
    fn spec(&self, children: &str) -> TreeSpec {
        let (cli, home) = (fake_cli_path(), self.path().join("home"));
        let text = format!(
            "{children}\n[defaults]\ncli_path = {cli:?}\ncwd = {:?}\nenv = {{ CLAUDE_CONFIG_DIR = {home:?} }}\n",
            self.path()
        );
        // Keys of the top level come first, and tables of children may follow those of the defaults.
        let (top, tables) = text.split_at(text.find("[[").unwrap_or_default());
        let text = format!("{top}\n{tables}");
        config::parse_with(&text, &self.path().join("treewarden.toml"), &self.types)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    async fn start(&self, children: &str) -> Tree {
        let builder = Tree::builder(self.spec(children)).state_dir(self.path().join("state"));
        builder.start().await.expect("the tree starts")
    }

    async fn apply(&self, tree: &Tree, children: &str) -> Result<(), ApplyError> {
        tree.apply(tree.diff(self.spec(children))).await
    }

    /// Begins to apply the file with these children.
    fn begin(&self, tree: &Tree, children: &str) -> JoinHandle<Result<(), ApplyError>> {
        let (tree, diff) = (tree.clone(), tree.diff(self.spec(children)));
        tokio::spawn(async move { tree.apply(diff).await })
    }

    fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }
}

fn child(name: &str, lines: &str) -> String {
    format!("[[child]]\nname = \"{name}\"\n{lines}\n")
}

fn team(lines: &str, children: &[&str]) -> String {
    let below = children.iter().map(|name| format!("[[child.child]]\nname = \"{name}\"\n"));
    child("team", &format!("type = \"supervisor\"\n{lines}")) + &below.collect::<String>()
}

async fn run_of(supervisor: &Supervisor, id: &str) -> RunningChild {
    supervisor.child(id).await.unwrap_or_else(|error| panic!("{id}: {error}"))
}

async fn below(tree: &Tree, id: &str) -> Supervisor {
    let child = run_of(tree.supervisor(), id).await;
    child.extension::<Supervisor>().expect("it is a supervisor").clone()
}

async fn names(supervisor: &Supervisor) -> Vec<String> {
    let mut children = supervisor.which_children().await.expect("it lives");
    children.reverse();
    children.iter().map(|child| child.id.to_string()).collect()
}

#[tokio::test]
async fn nested_supervisors_keep_their_runs_and_take_children_flags_and_order() {
    let ground = Ground::new();
    let tree = ground.start(&(team("", &["x", "y", "z"]) + &child("web", "type = \"idle\""))).await;
    let before = run_of(tree.supervisor(), "team").await;
    let team_of = below(&tree, "team").await;
    let (x, z, web) =
        (run_of(&team_of, "x").await, run_of(&team_of, "z").await, run_of(tree.supervisor(), "web").await);
    let changed = child("web", "type = \"idle\"") + &team("strategy = \"one_for_all\"", &["z", "new", "x"]);
    ground.apply(&tree, &changed).await.expect("it is applied");
    assert_eq!(run_of(tree.supervisor(), "team").await, before, "the supervisor itself was not restarted");
    assert_eq!(names(tree.supervisor()).await, ["web", "team"]);
    assert_eq!(names(&team_of).await, ["z", "new", "x"]);
    assert_eq!((run_of(&team_of, "x").await, run_of(&team_of, "z").await), (x, z.clone()));
    assert_eq!((run_of(tree.supervisor(), "web").await, ground.starts()), (web, 1));
    assert!(tree.host().session("y").is_none(), "its name is free");
    tree.session("new").query("hello").await.expect("it is served");
    // The strategy is the new one: the end of one restarts all.
    z.cell().kill();
    let fresh = async || run_of(&team_of, "x").await.run_id().incarnation;
    let mut incarnation = fresh().await;
    for _ in 0..500 {
        if incarnation > 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        incarnation = match team_of.child("x").await {
            Ok(child) => child.run_id().incarnation,
            Err(_) => incarnation,
        };
    }
    assert_eq!(incarnation, 2);
    assert!(tree.diff(ground.spec(&changed)).is_empty(), "nothing is left to do");
    tree.stop().await;
}

#[tokio::test]
async fn a_supervisor_that_restarts_comes_back_as_it_was_changed() {
    let ground = Ground::new();
    let tree = ground.start(&team("", &["x", "y"])).await;
    tree.session("x").query("My name is Alice").await.expect("answered");
    ground.apply(&tree, &team("max_restarts = 9", &["new", "x"])).await.expect("it is applied");
    let old = below(&tree, "team").await;
    old.cell().kill();
    old.wait().await;
    let team = loop {
        match tree.supervisor().child("team").await {
            Ok(child) => break child.extension::<Supervisor>().expect("it is a supervisor").clone(),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    };
    assert_eq!(names(&team).await, ["new", "x"]);
    let answer = tree.session("x").query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    tree.session("new").restart().await.expect("it knows its supervisor");
    tree.stop().await;
}

#[tokio::test]
async fn a_child_that_does_not_start_is_named_and_the_rest_is_applied() {
    let ground = Ground::new();
    let tree = ground.start(&(child("a", "") + &child("gone", ""))).await;
    let changed = child("a", "model = \"opus\"")
        + &child("bad", "type = \"broken\"")
        + &team("", &["x"])
        + "[[child.child]]\nname = \"worse\"\ntype = \"broken\"\n"
        + &child("web", "type = \"idle\"");
    let failed = match ground.apply(&tree, &changed).await {
        Err(ApplyError::Partial(failed)) => failed,
        other => panic!("{other:?}"),
    };
    let paths: Vec<&str> = failed.iter().map(|failed| failed.path.as_str()).collect();
    assert_eq!(paths, ["bad", "team"]);
    assert!(failed.iter().all(|failed| failed.reason.to_string().contains("out of order")), "{failed:?}");
    assert_eq!(names(tree.supervisor()).await, ["a", "web"]);
    assert!(tree.host().session("gone").is_none());
    assert!(tree.host().session("x").is_none(), "what a failed supervisor had started is stopped again");
    assert_eq!(tree.spec().root.children.len(), 2, "the tree knows what it is made of");
    let left = tree.diff(ground.spec(&changed)).to_string();
    assert_eq!(
        left,
        "+ bad: is started\n+ team: is started\n+ team/x: is started\n+ team/worse: is started\n2 children are unchanged\n"
    );
    // Mended, it starts, and in its place.
    let mended = changed.replace("broken", "idle");
    ground.apply(&tree, &mended).await.expect("it is applied");
    assert_eq!(names(tree.supervisor()).await, ["a", "bad", "team", "web"]);
    tree.session("x").query("hello").await.expect("it is served");
    tree.stop().await;
}

#[tokio::test]
async fn one_change_at_a_time_and_none_by_an_old_diff_or_while_the_tree_stops() {
    let ground = Ground::new();
    let tree = ground.start(&child("a", "")).await;
    let slow = child("a", "") + &child("s", "type = \"slow\"");
    let first = ground.begin(&tree, &slow);
    let old = tree.diff(ground.spec(&child("a", "model = \"opus\"")));
    eventually("its child is being started", async || (ground.starts() == 1).then_some(())).await;
    let busy = tree.apply(old.clone()).await;
    assert!(matches!(busy, Err(ApplyError::Busy)), "{busy:?}");
    first.abort();
    ground.gate.add_permits(1);
    let gone_on = async || (tree.spec().root.children.len() == 2).then_some(());
    eventually("a change goes on when its caller is gone", gone_on).await;
    let applied = loop {
        match tree.apply(old.clone()).await {
            Err(ApplyError::Busy) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(matches!(applied, Err(ApplyError::Stale)), "{applied:?}");
    let diff = tree.diff(ground.spec(&child("a", "model = \"opus\"")));
    tree.stop().await;
    assert!(matches!(tree.apply(diff).await, Err(ApplyError::Stopping)));
    assert!(tree.spec().root.children.is_empty(), "one that has ended keeps no factory");
}

#[tokio::test]
async fn a_changed_worker_of_the_programs_own_is_restarted_unless_it_was_stopped() {
    let ground = Ground::new();
    let file = |port: u16| {
        child("up", &format!("type = \"idle\"\nport = {port}"))
            + &child("down", &format!("type = \"idle\"\nport = {port}"))
    };
    let tree = ground.start(&file(1)).await;
    tree.supervisor().terminate_child("down").await.expect("it is there");
    let before = run_of(tree.supervisor(), "up").await;
    ground.apply(&tree, &file(2)).await.expect("it is applied");
    assert_ne!(run_of(tree.supervisor(), "up").await, before);
    assert!(tree.supervisor().child("down").await.is_err());
    ground.apply(&tree, &file(2)).await.expect("there is nothing to do");
    assert_eq!(ground.starts(), 3);
    tree.stop().await;
}

#[tokio::test]
async fn what_the_program_added_itself_is_left_alone() {
    let ground = Ground::new();
    let tree = ground.start(&child("a", "")).await;
    tree.supervisor().start_child(ChildSpec::new("extra", idle)).await.expect("it starts");
    let before = run_of(tree.supervisor(), "extra").await;
    ground.apply(&tree, &child("b", "")).await.expect("it is applied");
    assert_eq!(run_of(tree.supervisor(), "extra").await, before);
    assert_eq!(names(tree.supervisor()).await, ["b", "extra"]);
    tree.stop().await;
}

#[tokio::test]
async fn the_callers_of_a_session_that_goes_are_told_that_it_is_stopped() {
    let ground = Ground::new();
    let tree = ground.start(&child("a", "")).await;
    let turn = tree.session("a").stream("hello STREAM=1000:50").await.expect("opened");
    let id = turn.id();
    eventually("it runs", async || {
        (tree.session("a").status().await.ok()?.state == SessionState::Busy).then_some(())
    })
    .await;
    let asked = tokio::spawn(async move { turn.answer().await });
    ground.apply(&tree, "").await.expect("it is applied");
    let error = asked.await.expect("it ends").expect_err("the session is gone");
    assert_eq!(error.kind(), QueryErrorKind::Stopped, "{error}");
    let report = tree.host().turn(id).await.expect("the journal can be read").expect("it is there");
    assert!(report.outcome.is_none(), "the turn stays open");
    assert!(!tree.session("a").is_alive().await);
    tree.stop().await;
}

#[tokio::test]
async fn other_times_leave_the_cli_alone() {
    let ground = Ground::new();
    let tree = ground.start(&child("a", "")).await;
    tree.session("a").query("hello").await.expect("answered");
    let status = async || tree.session("a").status().await.expect("it is there");
    let before = status().await.pid;
    let busier = child("a", "silence_timeout = \"5m\"\ntimeout = \"10m\"\nrestart = \"transient\"");
    ground.apply(&tree, &busier).await.expect("it is applied");
    tree.session("a").query("hello").await.expect("answered");
    assert_eq!((status().await.pid, status().await.generation), (before, 1));
    // This one holds at once, also for the CLI that is idle already.
    ground.apply(&tree, &child("a", "idle_timeout = \"50ms\"")).await.expect("it is applied");
    eventually("it is parked", async || (status().await.state == SessionState::Parked).then_some(())).await;
    tree.stop().await;
}

#[tokio::test]
async fn a_pinned_session_is_not_parked_by_another_idle_timeout() {
    let ground = Ground::new();
    let both = |more: &str| child("a", &format!("pinned = true\n{more}")) + &child("b", more);
    let tree = ground.start(&both("")).await;
    let state = async |name| tree.session(name).status().await.expect("status").state;
    tree.session("a").query("hello").await.expect("answered");
    ground.apply(&tree, &both("idle_timeout = \"50ms\"")).await.expect("it is applied");
    tree.session("b").query("hello").await.expect("answered");
    eventually("the other is parked", async || (state("b").await == SessionState::Parked).then_some(()))
        .await;
    assert_eq!(state("a").await, SessionState::Ready, "it was idle for longer");
    tree.stop().await;
}

#[tokio::test]
async fn a_session_that_runs_once_holds_its_name_until_it_ends() {
    let ground = Ground::new();
    let once = child("once", "restart = \"temporary\"") + &child("a", "");
    let tree = ground.start(&once).await;
    tree.session("once").query("My name is Alice").await.expect("it is served");
    let changed = child("once", "restart = \"temporary\"\nmodel = \"opus\"") + &child("a", "");
    ground.apply(&tree, &changed).await.expect("it is applied");
    let answer = tree.session("once").query("What is my name?").await.expect("it is served");
    assert!(answer.text.contains("Alice"), "{answer}");
    run_of(tree.supervisor(), "once").await.cell().kill();
    eventually("its name is free", async || tree.host().session("once").is_none().then_some(())).await;
    // It ran once: a change of others does not bring it back.
    ground.apply(&tree, &changed.replace("\"a\"", "\"b\"")).await.expect("it is applied");
    assert_eq!(names(tree.supervisor()).await, ["b"]);
    tree.stop().await;
}

#[tokio::test]
async fn a_temporary_session_refuses_to_restart_and_lives_on() {
    let ground = Ground::new();
    let tree = ground.start(&child("once", "restart = \"temporary\"")).await;
    let session = tree.session("once");
    session.query("My name is Alice").await.expect("it is served");
    let pid = session.status().await.expect("status").pid;
    // Its supervisor forgets a temporary child that is stopped, and could not start it again.
    let error = session.restart().await.expect_err("it would be gone");
    assert!(error.to_string().contains("temporary"), "{error}");
    let answer = session.query("What is my name?").await.expect("it is served");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(session.status().await.expect("status").pid, pid);
    tree.stop().await;
}

#[tokio::test]
async fn a_supervisor_that_cannot_be_restarted_lives_on_and_the_refusal_says_why() {
    let ground = Ground::new();
    let inner = "[[child.child]]\nname = \"inner\"\ntype = \"supervisor\"\n";
    let twice = |name: &str| child(name, "type = \"supervisor\"") + inner;
    let once = child("once", "type = \"supervisor\"\nrestart = \"temporary\"");
    let tree = ground.start(&(twice("a") + &twice("b") + &once + &child("s", "type = \"idle\""))).await;
    let before = below(&tree, "once").await;
    let refused = async |name: &str| tree.restart_supervisor(name).await.expect_err("it is refused");
    let error = refused("once").await;
    assert!(matches!(&error, RestartError::Temporary(name) if name == "once"), "{error}");
    assert!(before.is_alive(), "it would have been gone");
    let error = refused("inner").await;
    assert!(matches!(&error, RestartError::Ambiguous { name, count: 2 } if name == "inner"), "{error}");
    let error = refused("s").await;
    assert!(
        matches!(&error, RestartError::NotFound { name, .. } if name == "s"),
        "a worker is none: {error}"
    );
    for known in ["a", "b", "inner", "once"] {
        assert!(error.to_string().contains(known), "{error}");
    }
    tree.stop().await;
    let error = refused("a").await;
    assert!(matches!(error, RestartError::Stopping), "{error}");
}

#[tokio::test]
async fn no_supervisor_is_restarted_in_the_middle_of_a_change() {
    let ground = Ground::new();
    let tree = ground.start(&team("", &["a"])).await;
    let before = below(&tree, "team").await;
    let slow = team("", &["a"]) + &child("s", "type = \"slow\"");
    let change = ground.begin(&tree, &slow);
    eventually("its child is being started", async || (ground.starts() == 1).then_some(())).await;
    let error = tree.restart_supervisor("team").await.expect_err("it is refused");
    assert!(matches!(error, RestartError::Busy), "{error}");
    assert!(before.is_alive());
    ground.gate.add_permits(1);
    change.await.expect("it does not panic").expect("it is applied");
    tree.restart_supervisor("team").await.expect("the change is done");
    assert!(!before.is_alive());
    assert!(below(&tree, "team").await.is_alive());
    tree.stop().await;
}

#[tokio::test]
async fn a_refused_update_is_named_and_its_supervisor_stays_as_it_was() {
    let ground = Ground::new();
    let any = "auto_shutdown = \"any_significant\"\n";
    let tree = ground.start(&(any.to_owned() + &child("a", ""))).await;
    let significant =
        ChildSpec::new("extra", idle).restart(treewarden::supervisor::Restart::Transient).significant(true);
    tree.supervisor().start_child(significant).await.expect("it starts");
    let failed = match ground.apply(&tree, &(child("a", "model = \"opus\"") + &child("b", ""))).await {
        Err(ApplyError::Partial(failed)) => failed,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed[0].path, "", "the root");
    assert!(failed[0].reason.to_string().contains("extra"), "{failed:?}");
    assert_eq!(names(tree.supervisor()).await, ["a", "extra"]);
    assert!(tree.host().session("b").is_none());
    let flags = &tree.spec().root.flags;
    assert_eq!((flags.strategy, flags.give_up), (Strategy::OneForOne, GiveUp::Park));
    tree.stop().await;
}
