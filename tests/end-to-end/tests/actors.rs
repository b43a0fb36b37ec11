//! A session as a plain ractor actor: under a supervisor of the user's own, wrapped in an actor, killed, found by name.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use treewarden::registry::{Registry, RegistryEvent};
use treewarden::session::{CliCrashed, QueryErrorKind, SessionActor, SessionArguments, StartErrorKind};
use treewarden::{Session, SessionOptions, Supervisor};
use treewarden_end_to_end::{Lab, PATIENCE, end, eventually, id_of, nothing_left};
use treewarden_testkit::faults;

/// A user's supervisor: it starts its one session again whenever it fails.
struct Guard;

struct Guarded {
    options: SessionOptions,
    session: ActorRef<()>,
    failures: Vec<String>,
}

enum Ask {
    Child(RpcReplyPort<ActorRef<()>>),
    Failures(RpcReplyPort<Vec<String>>),
}

async fn spawn(options: &SessionOptions, guard: &ActorRef<Ask>) -> Result<ActorRef<()>, ActorProcessingErr> {
    let arguments = SessionArguments::new(options.clone()).await?;
    let (session, _) = SessionActor::spawn_linked(None, SessionActor, arguments, guard.get_cell()).await?;
    Ok(session)
}

impl Actor for Guard {
    type Msg = Ask;
    type State = Guarded;
    type Arguments = SessionOptions;

    async fn pre_start(
        &self,
        me: ActorRef<Ask>,
        options: SessionOptions,
    ) -> Result<Guarded, ActorProcessingErr> {
        let session = spawn(&options, &me).await?;
        Ok(Guarded { options, session, failures: Vec::new() })
    }

    async fn handle(
        &self,
        _: ActorRef<Ask>,
        ask: Ask,
        state: &mut Guarded,
    ) -> Result<(), ActorProcessingErr> {
        match ask {
            Ask::Child(reply) => reply.send(state.session.clone())?,
            Ask::Failures(reply) => reply.send(state.failures.clone())?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Ask>,
        event: SupervisionEvent,
        state: &mut Guarded,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, error) => {
                state.failures.push(error.to_string());
                state.session = spawn(&state.options, &me).await?;
            }
            SupervisionEvent::ActorTerminated(_, _, reason) if reason.as_deref() == Some("killed") => {
                state.failures.push("killed".into());
                state.session = spawn(&state.options, &me).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

async fn guard(options: SessionOptions) -> (ActorRef<Ask>, ractor::concurrency::JoinHandle<()>) {
    Actor::spawn(None, Guard, options).await.expect("the supervisor starts")
}

async fn child(guard: &ActorRef<Ask>) -> ActorRef<()> {
    ractor::call!(guard, Ask::Child).expect("the supervisor answers")
}

async fn failures(guard: &ActorRef<Ask>) -> Vec<String> {
    ractor::call!(guard, Ask::Failures).expect("the supervisor answers")
}

#[tokio::test]
async fn under_a_supervisor_of_the_users_own_a_crash_is_its_to_mend_and_the_turn_is_answered() {
    let lab = Lab::new();
    let (guard, ended) = guard(lab.options("assistant")).await;
    let session = Session::named_in(&lab.host, "assistant");
    session.query("My name is Alice").await.expect("answered");
    let answer = session.query("my name? CRASH=delta:1 ONCE=1").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(answer.interruptions, 1);
    let failures = failures(&guard).await;
    assert_eq!(failures.len(), 1);
    assert!(failures[0].contains("assistant") && failures[0].contains("exit 70"), "{failures:?}");
    let id = id_of(&session).await;
    guard.stop(None);
    ended.await.expect("the supervisor ends");
    nothing_left(&id).await;
}

#[tokio::test]
async fn a_session_actor_that_is_killed_leaves_no_process_and_the_next_one_takes_its_turn_over() {
    let lab = Lab::new();
    let (guard, ended) = guard(lab.options("assistant")).await;
    let session = Session::named_in(&lab.host, "assistant");
    session.query("My name is Alice").await.expect("answered");
    let (id, pid) = (id_of(&session).await, session.status().await.expect("status").pid);
    let turn = session.stream("my name? STREAM=40:50 ONCE=1").await.expect("opened");
    eventually("the prompt is read", async || (lab.times_in_transcript(&id, "my name?") == 1).then_some(()))
        .await;
    child(&guard).await.kill();
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_ne!(session.status().await.expect("status").pid, pid);
    assert_eq!(lab.times_in_transcript(&id, "my name?"), 1);
    assert_eq!(failures(&guard).await, ["killed"]);
    let left = faults::processes_with_cookie(&id).expect("/proc is readable");
    assert_eq!(left, Vec::from_iter(session.status().await.expect("status").pid), "only the new CLI lives");
    guard.stop(None);
    ended.await.expect("the supervisor ends");
    nothing_left(&id).await;
}

#[tokio::test]
async fn a_killed_session_actor_without_a_supervisor_leaves_no_process() {
    let lab = Lab::new();
    let arguments = SessionArguments::new(lab.options("assistant")).await.expect("the name is free");
    let (actor, _) = SessionActor::spawn(None, SessionActor, arguments).await.expect("spawned");
    let session = lab.host.session("assistant").expect("it is found by name");
    session.query("PROMPT-1 CHILD").await.expect("answered");
    let id = id_of(&session).await;
    assert!(!faults::processes_with_cookie(&id).expect("/proc is readable").is_empty());
    actor.kill();
    nothing_left(&id).await;
}

#[tokio::test]
async fn a_stopped_session_actor_stops_its_cli_and_frees_the_name() {
    let lab = Lab::new();
    let arguments = SessionArguments::new(lab.options("assistant")).await.expect("the name is free");
    let (actor, ended) = SessionActor::spawn(None, SessionActor, arguments).await.expect("spawned");
    let error = SessionArguments::new(lab.options("assistant")).await.expect_err("taken");
    assert_eq!(error.kind(), StartErrorKind::NameTaken);
    let session = Session::named_in(&lab.host, "assistant");
    session.query("My name is Alice").await.expect("answered");
    let id = id_of(&session).await;
    actor.stop(None);
    ended.await.expect("it ends");
    nothing_left(&id).await;
    assert_eq!(session.query("PROMPT-2").await.expect_err("gone").kind(), QueryErrorKind::NoSuchSession);
    let again = Session::start(lab.options("assistant")).await.expect("the name is free");
    let answer = again.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    end(&again).await;
}

#[tokio::test]
async fn an_unsupervised_session_actor_that_crashes_says_with_what() {
    let lab = Lab::new();
    let arguments = SessionArguments::new(lab.options("assistant")).await.expect("the name is free");
    let (_, ended) = SessionActor::spawn(None, SessionActor, arguments).await.expect("spawned");
    let session = Session::named_in(&lab.host, "assistant");
    session.query("PROMPT-1").await.expect("answered");
    let id = id_of(&session).await;
    faults::kill(session.status().await.expect("status").pid.expect("a CLI lives")).expect("killed");
    ended.await.expect("the actor ends");
    assert!(session.is_alive().await, "somebody may take it over yet");
    nothing_left(&id).await;
    let _the_type_is_public: Option<CliCrashed> = None;
}

/// A user's actor around a session, as the guide has it.
struct ChatAgent;

enum Chat {
    Say(String, RpcReplyPort<Result<String, String>>),
}

impl Actor for ChatAgent {
    type Msg = Chat;
    type State = Session;
    type Arguments = SessionOptions;

    async fn pre_start(
        &self,
        _: ActorRef<Chat>,
        options: SessionOptions,
    ) -> Result<Session, ActorProcessingErr> {
        Ok(Session::start(options).await?)
    }

    async fn handle(
        &self,
        _: ActorRef<Chat>,
        chat: Chat,
        session: &mut Session,
    ) -> Result<(), ActorProcessingErr> {
        let Chat::Say(text, reply) = chat;
        let answer = session.query(text).await.map(|answer| answer.text).map_err(|error| error.to_string());
        reply.send(answer)?;
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Chat>, session: &mut Session) -> Result<(), ActorProcessingErr> {
        Ok(session.stop().await?)
    }
}

#[tokio::test]
async fn a_session_wrapped_in_an_actor_answers_for_it_and_ends_with_it() {
    let lab = Lab::new();
    let (agent, ended) = Actor::spawn(None, ChatAgent, lab.options("assistant")).await.expect("spawned");
    let said = ractor::call!(agent, Chat::Say, "My name is Alice".to_owned()).expect("answered");
    said.expect("answered");
    let said = ractor::call!(agent, Chat::Say, "my name? CRASH=delta:1 ONCE=1".to_owned()).expect("answered");
    assert!(said.expect("answered").contains("Alice"), "a crash of the CLI does not reach the actor");
    let id = id_of(&lab.host.session("assistant").expect("it is found by name")).await;
    agent.stop(None);
    ended.await.expect("the actor ends");
    nothing_left(&id).await;
}

#[tokio::test]
async fn a_name_that_nobody_holds_is_no_such_session() {
    let lab = Lab::new();
    let session = Session::named_in(&lab.host, "nobody");
    assert!(!session.is_alive().await);
    let error = session.query("PROMPT-1").await.expect_err("nobody");
    assert_eq!(error.kind(), QueryErrorKind::NoSuchSession);
    assert!(error.to_string().contains("nobody"), "{error}");
    assert_eq!(session.stop().await.expect_err("nobody").kind(), QueryErrorKind::NoSuchSession);
    // The same handle finds it as soon as somebody holds the name.
    let started = Session::start(lab.options("nobody")).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    end(&started).await;
    assert_eq!(session.query("PROMPT-2").await.expect_err("stopped").kind(), QueryErrorKind::NoSuchSession);
}

#[tokio::test]
async fn a_session_is_found_under_a_name_of_the_programs_own() {
    let lab = Lab::new();
    let tenants: Registry<u32, &str> = Registry::unique().build();
    let name = || tenants.name(7, "gold");
    let session = Session::start(lab.options("a").via(name())).await.expect("started");
    let found = Session::via(name());
    assert!(found.query("My name is Alice").await.expect("answered").text.contains("Alice"));
    assert_eq!(
        found.status().await.expect("it is there").name,
        session.status().await.expect("it is there").name
    );
    assert!(Session::start(lab.options("b").via(name())).await.is_err(), "the name is taken");
    // The next incarnation has the name again.
    let before = name().whereis().expect("it has an owner").get_id();
    faults::kill(session.status().await.expect("it is there").pid.expect("a CLI")).expect("it can be killed");
    eventually("it is restarted", async || name().whereis().filter(|actor| actor.get_id() != before)).await;
    assert!(found.query("What is my name?").await.expect("answered").text.contains("Alice"));
    session.stop().await.expect("stopped");
    let error = found.query("hello").await.expect_err("nobody has the name");
    assert_eq!(error.kind(), QueryErrorKind::NoSuchSession, "{error}");
}

#[tokio::test]
async fn a_supervisor_is_found_under_a_name_of_the_programs_own() {
    let names: Registry<&str, ()> = Registry::unique().build();
    let supervisor = Supervisor::builder().via(names.name("root", ())).start().await.expect("started");
    let found = Supervisor::via(&names.name("root", ())).expect("it has the name");
    assert_eq!(found.cell().get_id(), supervisor.cell().get_id());
    assert!(Supervisor::via(&names.name("other", ())).is_none());
    supervisor.stop(treewarden::ExitReason::Shutdown).await;
    assert!(Supervisor::via(&names.name("root", ())).is_none());
}

#[tokio::test]
async fn whoever_listens_to_the_names_of_a_host_hears_of_each_session_that_comes_and_goes() {
    let lab = Lab::new();
    let mut names = lab.host.names().listen();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let came = tokio::time::timeout(PATIENCE, names.next()).await.expect("in time").expect("an event");
    let RegistryEvent::Registered { key, owner: None, value } = came else { panic!("{came:?}") };
    assert_eq!(key.as_str(), "assistant");
    assert_eq!(value.session().expect("it is there").name(), session.name());
    session.stop().await.expect("stopped");
    let went = tokio::time::timeout(PATIENCE, names.next()).await.expect("in time").expect("an event");
    assert!(
        matches!(&went, RegistryEvent::Unregistered { key, .. } if key.as_str() == "assistant"),
        "{went:?}"
    );
    assert!(lab.host.names().lookup(&key).is_empty());
}

#[tokio::test]
async fn a_session_that_is_being_restarted_holds_its_name() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let mut names = lab.host.names().listen();
    session.query("PROMPT-2 CRASH=delta:1 ONCE=1").await.expect("answered by the next CLI");
    assert_eq!(Session::named_in(&lab.host, "assistant").status().await.expect("found").restarts, 1);
    let error = Session::start(lab.options("assistant")).await.expect_err("the name is taken");
    assert_eq!(error.kind(), StartErrorKind::NameTaken);
    end(&session).await;
    let first = tokio::time::timeout(PATIENCE, names.next()).await.expect("in time").expect("an event");
    assert!(
        matches!(first, RegistryEvent::Unregistered { .. }),
        "it kept the name until it was stopped: {first:?}"
    );
}

#[tokio::test]
async fn a_name_that_was_taken_for_an_actor_that_nobody_spawned_is_free_again() {
    let lab = Lab::new();
    let arguments = SessionArguments::new(lab.options("assistant")).await.expect("the name is free");
    assert!(Session::start(lab.options("assistant")).await.is_err(), "it is taken");
    drop(arguments);
    let session = Session::start(lab.options("assistant")).await.expect("it is free again");
    session.stop().await.expect("stopped");
}
