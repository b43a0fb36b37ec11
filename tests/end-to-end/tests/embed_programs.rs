//! What programs of embedders do beside the beaten track: users that come and go, one of whom has a CLI that does not work;
//! streams that are read while CLIs die; workers of their own beside sessions; shapes, images and early interrupts.
//!
//! It is not for what any session does: `supervised.rs` has stops and restarts under each supervisor, `verbatim.rs` the words of
//! strangers, `views.rs` each view of a stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use treewarden::config::{self, ChildTable, ChildTypes};
use treewarden::frame::{Block, Body, Content};
use treewarden::session::{FailureKind, QueryErrorKind, TextEvent};
use treewarden::supervisor::{GiveUp, supervised};
use treewarden::{ExitReason, Session, Supervisor, Tree};
use treewarden_end_to_end::ground::{Ground, template};
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{Lab, end, eventually, fake_cli_path, id_of, nothing_left};
use treewarden_testkit::mock_api::Reply;

/// A prompt under which every CLI dies.
const DEADLY: &str = "PROMPT-bad CRASH=read";

#[tokio::test]
async fn of_users_that_come_and_go_one_who_is_given_up_takes_nobody_along() {
    let lab = Lab::new();
    let spec = |name: &str| lab.options(name).child_spec(&lab.host).expect("valid");
    let flags = Supervisor::builder().dynamic(Some(3)).give_up(GiveUp::Park).max_restarts(0);
    let users = flags.start().await.expect("started");
    for name in ["ann", "bad"] {
        users.start_child(spec(name)).await.expect("started");
    }
    let session = |name| lab.host.session(name).expect("it is there");
    let (ann, bad) = (session("ann"), session("bad"));
    ann.query("My name is Ann").await.expect("answered");
    let error = bad.query(DEADLY).await.expect_err("its CLIs die");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::GivenUp), "{error}");
    assert!(users.is_alive(), "it parks a child instead of ending");
    let answer = ann.query("What's my name?").await.expect("answered");
    assert!(answer.text.contains("Ann"), "{answer}");
    users.start_child(spec("new")).await.expect("a new user is taken");
    session("new").query("PROMPT-1").await.expect("answered");
    // The one that was given up has its name and its place until it is stopped; then it may be made of other options.
    users.start_child(spec("bad")).await.expect_err("its name is taken");
    bad.stop().await.expect("stopped");
    users.start_child(spec("bad")).await.expect("its place is free");
    session("bad").query("PROMPT-2").await.expect("answered");
    let ids = [id_of(&ann).await, id_of(&session("bad")).await];
    users.stop(ExitReason::Shutdown).await;
    for id in ids {
        nothing_left(&id).await;
    }
}

#[tokio::test]
async fn a_supervisor_that_does_not_park_ends_with_its_budget_and_says_so_to_whoever_asks() {
    let lab = Lab::new();
    let spec = |name: &str| lab.options(name).child_spec(&lab.host).expect("valid");
    let users = Supervisor::builder().dynamic(None).max_restarts(0).start().await.expect("started");
    for name in ["ann", "bad"] {
        users.start_child(spec(name)).await.expect("started");
    }
    let ann = lab.host.session("ann").expect("it is there");
    ann.query("PROMPT-1").await.expect("answered");
    let id = id_of(&ann).await;
    lab.host.session("bad").expect("it is there").query(DEADLY).await.expect_err("its CLIs die");
    eventually("the supervisor has ended", async || (!users.is_alive()).then_some(())).await;
    ann.query("PROMPT-2").await.expect_err("nobody supervises it");
    users.start_child(spec("new")).await.expect_err("nobody takes it");
    nothing_left(&id).await;
}

#[tokio::test]
async fn of_sessions_of_a_template_one_that_is_given_up_takes_nobody_along() {
    let ground = Ground::new();
    let tree = ground.start(&template("chat", "max_restarts = 0")).await;
    for name in ["ann", "bad"] {
        tree.new_session("chat", name).await.expect("it is made");
    }
    let ann = tree.session("ann");
    ann.query("My name is Ann").await.expect("answered");
    let error = tree.session("bad").query(DEADLY).await.expect_err("its CLIs die");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::GivenUp), "{error}");
    let answer = ann.query("What's my name?").await.expect("answered");
    assert!(answer.text.contains("Ann"), "{answer}");
    tree.new_session("chat", "new").await.expect("a new user is taken");
    tree.stop().await;
}

/// The text that a program shows that reads the events of a turn, and forgets what a dead CLI said.
async fn shown(session: &Session, prompt: String) -> String {
    let mut turn = session.stream(prompt).await.expect("opened");
    let (mut text, mut settled) = (String::new(), 0);
    while let Some(event) = turn.text_events().next().await {
        match event {
            TextEvent::Text(more) => text.push_str(&more),
            TextEvent::Resumed { .. } => text.clear(),
            TextEvent::Outcome(outcome) => {
                assert_eq!(outcome.word(), "completed");
                settled += 1;
            }
            _ => {}
        }
    }
    assert_eq!(settled, 1);
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_of_many_whose_clis_die_at_once_ends_without_its_text() {
    let lab = Arc::new(Lab::new());
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let lab = Arc::clone(&lab);
            tokio::spawn(async move {
                let session = Session::start(lab.streaming(&format!("s{n}"))).await.expect("started");
                let text = shown(&session, format!("PROMPT-{n} TOOL=1 CRASH=delta:1 ONCE=1")).await;
                assert_eq!(text.matches(&format!("answer to PROMPT-{n}")).count(), 1, "{n}: {text:?}");
                session.stop().await.expect("stopped");
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("it is as it should be");
    }
    lab.empty().await;
}

/// A worker of a program's own.
struct Reporter;

impl ractor::Actor for Reporter {
    type Msg = ();
    type State = ();
    type Arguments = (Arc<AtomicU64>, u64);

    async fn pre_start(
        &self,
        _: ractor::ActorRef<()>,
        (told, every): Self::Arguments,
    ) -> Result<(), ractor::ActorProcessingErr> {
        told.store(every, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn a_tree_of_a_file_has_workers_of_the_programs_own_with_options_beside_its_sessions() {
    let ground = Ground::new();
    let told = Arc::new(AtomicU64::new(0));
    let told_by = Arc::clone(&told);
    let types = ChildTypes::new().with("reporter", move |table: &ChildTable| {
        let options: BTreeMap<String, u64> = table.read()?;
        let every = options.get("every_seconds").copied().unwrap_or(60);
        let told = Arc::clone(&told_by);
        Ok::<_, serde_json::Error>(supervised(move || (Reporter, (Arc::clone(&told), every))))
    });
    let parse = |every: &str| {
        let (cli, home) = (fake_cli_path(), ground.path().join("home"));
        let text = format!(
            "[[child]]\nname = \"reports\"\ntype = \"reporter\"\nevery_seconds = {every}\n\n[[child]]\nname = \"assistant\"\n\n\
             [defaults]\ncli_path = {cli:?}\ncwd = {:?}\nenv = {{ CLAUDE_CONFIG_DIR = {home:?} }}\n",
            ground.path()
        );
        config::parse_with(&text, &ground.path().join("treewarden.toml"), &types)
    };
    let refused = parse("\"often\"").expect_err("it is no number").to_string();
    assert!(refused.contains("treewarden.toml") && refused.contains("often"), "{refused}");
    let tree = Tree::builder(parse("7").expect("valid")).state_dir(ground.path().join("state"));
    let tree = tree.start().await.expect("the tree starts");
    assert_eq!(told.load(Ordering::SeqCst), 7, "it was started with its options");
    tree.session("assistant").query("PROMPT-1").await.expect("answered");
    tree.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_the_real_cli_has_the_shape_that_was_asked_for_and_what_it_took() {
    let wanted = serde_json::json!({ "a": 7 });
    let given = wanted.clone();
    let reply = move |request: &treewarden_testkit::mock_api::Request| {
        let asked = request.content.as_ref().is_some_and(|content| {
            content.body["tools"].to_string().contains("\"name\":\"StructuredOutput\"")
        });
        if asked && !request.after_tool {
            Reply::tool("StructuredOutput", given.clone())
        } else {
            Reply::text("done")
        }
    };
    let Some(real) = RealLab::replying(reply).await else { return };
    let schema = r#"{"type":"object","properties":{"a":{"type":"number"}},"required":["a"]}"#;
    let session =
        Session::start(real.of(real.spec("shaped").extra_arg("json-schema", schema))).await.expect("started");
    for prompt in ["PROMPT-1", "PROMPT-2"] {
        let answer = session.query(prompt).await.expect("answered");
        let frame = answer.result.as_ref().expect("it printed a result");
        let Body::Result(result) = frame.body().expect("it can be read") else {
            panic!("a result: {frame:?}")
        };
        assert_eq!(result.structured_output.as_ref(), Some(&wanted), "{prompt}");
        assert!(result.usage.is_some() && result.total_cost_usd.is_some(), "{prompt}: {result:?}");
    }
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_reaches_the_model_of_the_real_cli() {
    let Some(real) = RealLab::new().await else { return };
    let session = Session::start(real.options("seer")).await.expect("started");
    let data =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
    let image: Block = serde_json::from_value(serde_json::json!({
        "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": data }
    }))
    .expect("a block");
    let prompt = Content::Blocks(vec![Block::text("PROMPT-1 what is in the image?"), image]);
    let answer = session.query(prompt).await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    let requests = real.api.requests();
    let mut bodies = requests.iter().filter_map(|request| Some(request.content.as_ref()?.body.to_string()));
    assert!(bodies.any(|body| body.contains("image/png") && body.contains("PROMPT-1")));
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_is_interrupted_while_the_real_cli_comes_up_ends_and_the_next_one_runs() {
    let Some(real) = RealLab::new().await else { return };
    let session = Session::start(real.options("cold")).await.expect("started");
    let turn = session.stream("PROMPT-1 HANG").await.expect("opened");
    assert!(session.interrupt().await.expect("it is there"), "there is a turn");
    let outcome = turn.outcome().await.expect("settled");
    assert!(["cancelled", "interrupted"].contains(&outcome.word()), "{outcome:?}");
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    end(&session).await;
}
