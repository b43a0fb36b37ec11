//! `stop`, `restart` and `start_again` of a session, whoever supervises it.

use treewarden::session::{FailureKind, QueryErrorKind, SessionState, StartErrorKind};
use treewarden::supervisor::{ChildSpec, GiveUp, Restart, Strategy, SupervisorBuilder};
use treewarden::{ExitReason, Session, SessionOptions, Supervisor};
use treewarden_end_to_end::ground::{Ground, child, template};
use treewarden_end_to_end::{Lab, eventually, id_of, nothing_left, reaches};
use treewarden_testkit::faults;

/// Who supervises a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Under {
    /// A list of children, in this strategy.
    List(Strategy),
    /// Children that come and go.
    Dynamic,
    /// The same, all after one spec.
    Template,
    /// Children that come and go, below another supervisor.
    Nested,
    /// One of its own.
    Itself,
}

const EACH: [Under; 7] = [
    Under::List(Strategy::OneForOne),
    Under::List(Strategy::OneForAll),
    Under::List(Strategy::RestForOne),
    Under::Dynamic,
    Under::Template,
    Under::Nested,
    Under::Itself,
];

/// A session's supervisor, and the root above it.
struct Above {
    root: Supervisor,
    own: Supervisor,
}

impl Under {
    fn spec(options: SessionOptions, lab: &Lab) -> ChildSpec {
        options.child_spec(&lab.host).expect("valid")
    }

    /// Starts the session; `None` for one that has its own supervisor.
    async fn start(self, lab: &Lab, options: SessionOptions, flags: SupervisorBuilder) -> Option<Above> {
        let alone = async |builder: SupervisorBuilder| {
            let own = builder.start().await.expect("started");
            Above { root: own.clone(), own }
        };
        let above = match self {
            Self::Itself => {
                Session::start(options).await.expect("started");
                return None;
            }
            Self::List(strategy) => {
                return Some(alone(flags.strategy(strategy).child(Self::spec(options, lab))).await);
            }
            Self::Dynamic => alone(flags.dynamic(Some(1))).await,
            Self::Template => alone(flags.template(Self::spec(lab.options("model"), lab))).await,
            Self::Nested => {
                let below = flags.dynamic(None).into_child("users");
                let root = Supervisor::builder().child(below).start().await.expect("started");
                let users = root.child("users").await.expect("it runs");
                let own = users.extension::<Supervisor>().expect("it is a supervisor").clone();
                Above { root, own }
            }
        };
        above.own.start_child(Self::spec(options, lab)).await.expect("started");
        Some(above)
    }
}

/// Checks that the session remembers what it was told at first.
async fn remembers(session: &Session, what: &str) {
    let answer = session.query("What's my name?").await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(answer.text.contains("Alice"), "{what}: {answer}");
}

#[tokio::test]
async fn a_session_is_restarted_stopped_and_started_again_whoever_supervises_it() {
    for under in EACH {
        let lab = Lab::new();
        let above = under.start(&lab, lab.options("a"), Supervisor::builder()).await;
        let session = lab.host.session("a").expect("it is there");
        session.query("My name is Alice").await.expect("answered");
        let (id, pid) = (id_of(&session).await, session.status().await.expect("it is there").pid);

        session.restart().await.unwrap_or_else(|error| panic!("{under:?}: {error}"));
        remembers(&session, "restarted").await;
        assert_ne!(session.status().await.expect("it is there").pid, pid, "{under:?}");
        let runs = session.start_again().await.expect_err("it runs");
        assert_eq!(runs.kind(), StartErrorKind::Supervisor, "{under:?}: {runs}");

        for start in ["again", "anew", "by a restart"] {
            session.stop().await.unwrap_or_else(|error| panic!("{under:?}: {error}"));
            assert!(!session.is_alive().await, "{under:?}");
            nothing_left(&id).await;
            let refused = session.query("hello").await.expect_err("it is stopped");
            assert_eq!(refused.kind(), QueryErrorKind::NoSuchSession, "{under:?}: {refused}");
            let started = match (start, under) {
                ("by a restart", _) => session.restart().await,
                ("anew", Under::Itself) => Session::start(lab.options("a")).await.map(drop),
                ("anew", Under::Dynamic | Under::Template | Under::Nested) => {
                    let own = &above.as_ref().expect("it has a supervisor").own;
                    let started =
                        own.start_child(Under::spec(lab.options("a"), &lab)).await.expect("started");
                    assert!(started.child().is_some(), "{under:?}: a stop of before does not keep it down");
                    Ok(())
                }
                _ => session.start_again().await,
            };
            started.unwrap_or_else(|error| panic!("{under:?}, {start}: {error}"));
            remembers(&session, start).await;
            assert_eq!(id_of(&session).await, id, "{under:?}, {start}: it is the same conversation");
            assert!(lab.host.session("a").is_some(), "{under:?}, {start}: it has its name");
        }
        session.stop().await.expect("stopped");
        if let Some(above) = above {
            above.root.stop(ExitReason::Shutdown).await;
        }
        nothing_left(&id).await;
    }
}

#[tokio::test]
async fn a_session_that_was_given_up_is_restarted_started_again_and_stopped_whoever_parks_it() {
    let script = r#"{ "prompts": [{ "contains": "die", "do": "CRASH=read" }] }"#;
    for under in EACH.into_iter().filter(|under| *under != Under::Itself) {
        let lab = Lab::new();
        let flags = Supervisor::builder().give_up(GiveUp::Park).max_restarts(0);
        let above = under.start(&lab, lab.scripted("a", script), flags).await.expect("it has a supervisor");
        let session = lab.host.session("a").expect("it is there");
        session.query("My name is Alice").await.expect("answered");
        let id = id_of(&session).await;
        for how in ["restarted", "started again", "stopped"] {
            let error = session.query("die").await.expect_err("its CLI dies");
            assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::GivenUp), "{under:?}: {error}");
            assert_eq!(
                session.status().await.expect("it is there").state,
                SessionState::GivenUp,
                "{under:?}"
            );
            let done = match how {
                "restarted" => session.restart().await,
                "started again" => session.start_again().await,
                _ => {
                    session.stop().await.unwrap_or_else(|error| panic!("{under:?}: {error}"));
                    session.start_again().await
                }
            };
            done.unwrap_or_else(|error| panic!("{under:?}, {how}: {error}"));
            remembers(&session, how).await;
        }
        above.root.stop(ExitReason::Shutdown).await;
        nothing_left(&id).await;
    }
}

#[tokio::test]
async fn sessions_of_a_tree_are_restarted_stopped_and_started_again() {
    let ground = Ground::new();
    let tree = ground.start(&(child("a") + &template("chat", ""))).await;
    tree.new_session("chat", "b").await.expect("it is made");
    for name in ["a", "b"] {
        let session = tree.session(name);
        session.query("My name is Alice").await.expect("answered");
        session.restart().await.expect("restarted");
        remembers(&session, name).await;
        session.stop().await.expect("stopped");
        session.start_again().await.expect("started again");
        remembers(&session, name).await;
    }
    // A tree is what its file and its templates say: what was removed is not brought back by an old handle.
    let old = tree.host().session("b").expect("it is there");
    tree.remove_session("b").await.expect("removed");
    let error = old.start_again().await.expect_err("it is gone");
    assert_eq!(error.kind(), StartErrorKind::NoSuchSession, "{error}");
    tree.stop().await;
}

#[tokio::test]
async fn a_restart_of_one_among_many_that_come_and_go_keeps_its_place() {
    let lab = Lab::new();
    let users = Supervisor::builder().dynamic(Some(2)).start().await.expect("started");
    for name in ["a", "b"] {
        users.start_child(Under::spec(lab.options(name), &lab)).await.expect("started");
    }
    let session = lab.host.session("a").expect("it is there");
    session.query("My name is Alice").await.expect("answered");
    // The supervisor is full all the time: a session that left it for its restart would not come back.
    session.restart().await.expect("restarted");
    remembers(&session, "restarted").await;
    assert_eq!(users.count_children().await.expect("it runs").active, 2);
    // Its CLI dies: the supervisor's own restart makes another run of it, by which it is found from then on.
    let pid = session.status().await.expect("it is there").pid.expect("a CLI lives");
    faults::kill(pid).expect("killed");
    eventually("it is restarted", async || (session.status().await.ok()?.restarts == 1).then_some(())).await;
    session.restart().await.expect("restarted");
    remembers(&session, "crashed and restarted").await;
    session.stop().await.expect("stopped");
    assert_eq!(
        users.count_children().await.expect("it runs").specs,
        1,
        "it is forgotten, and its place is free"
    );
    users.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_temporary_session_is_not_restarted_and_lives_on() {
    for under in [Under::List(Strategy::OneForOne), Under::Dynamic] {
        let lab = Lab::new();
        let options = lab.options("a").restart(Restart::Temporary);
        let above = under.start(&lab, options, Supervisor::builder()).await.expect("it has a supervisor");
        let session = lab.host.session("a").expect("it is there");
        session.query("My name is Alice").await.expect("answered");
        let error = session.restart().await.expect_err("it is temporary").to_string();
        assert!(error.contains("is temporary"), "{under:?}: {error}");
        remembers(&session, "it lives on").await;
        above.root.stop(ExitReason::Shutdown).await;
    }
}

#[tokio::test]
async fn a_session_that_was_stopped_stays_so_when_a_sibling_takes_the_group_with_it() {
    let lab = Lab::new();
    let specs = ["stopped", "dies"].map(|name| Under::spec(lab.options(name), &lab));
    let supervisor =
        Supervisor::builder().strategy(Strategy::OneForAll).children(specs).start().await.expect("started");
    let (stopped, dies) =
        (lab.host.session("stopped").expect("there"), lab.host.session("dies").expect("there"));
    stopped.stop().await.expect("stopped");
    dies.query("hello").await.expect("answered");
    let pid = dies.status().await.expect("it is there").pid.expect("a CLI lives");
    faults::kill(pid).expect("killed");
    eventually("it is restarted", async || (dies.status().await.ok()?.restarts == 1).then_some(())).await;
    dies.query("hello").await.expect("answered");
    assert!(!stopped.is_alive().await, "nobody asked for it");
    reaches(&stopped, SessionState::Stopped).await;
    stopped.start_again().await.expect("started again");
    stopped.query("hello").await.expect("answered");
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn of_two_that_have_one_name_the_one_that_was_stopped_does_not_come_back_beside_the_other() {
    let lab = Lab::new();
    let supervisor =
        Supervisor::builder().child(Under::spec(lab.options("a"), &lab)).start().await.expect("started");
    let first = lab.host.session("a").expect("it is there");
    first.query("My name is Alice").await.expect("answered");
    first.stop().await.expect("stopped");
    let second = Session::start(lab.options("a")).await.expect("a name that nobody uses is free");
    remembers(&second, "it carries the conversation on").await;
    supervisor.restart_child("a").await.expect_err("the name is the other's");
    remembers(&second, "it is left alone").await;
    second.stop().await.expect("stopped");
    supervisor.restart_child("a").await.expect("the name is free again");
    remembers(&lab.host.session("a").expect("it is there"), "the first one serves it").await;
    supervisor.stop(ExitReason::Shutdown).await;
}
