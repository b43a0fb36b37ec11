//! The transcript on the real CLI: what is not demanded of it, where it is, who else keeps it, and which branch is taken.

use std::path::{Path, PathBuf};

use serde_json::Value;
use treewarden::session::SessionState;
use treewarden::{Prompt, Session};
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{end, eventually, id_of, reaches};
use treewarden_proto::SessionId;
use treewarden_store::Told;
use treewarden_testkit::faults;

/// A session whose CLI gets these variables besides.
async fn session(real: &RealLab, name: &str, variables: &[(&str, &str)]) -> Session {
    let spec = variables.iter().fold(real.spec(name), |spec, (name, value)| spec.env(*name, *value));
    Session::start(real.of(spec).max_restarts(20)).await.expect("started")
}

async fn at_home(real: &RealLab, name: &str) -> Session {
    session(real, name, &[]).await
}

/// The file of a session's conversation below a configuration directory.
async fn transcript(config_dir: &Path, session: &Session) -> PathBuf {
    let id: SessionId = id_of(session).await.parse().expect("an id");
    treewarden_transcript::find(config_dir, id).expect("looked for").expect("it has been written")
}

async fn answers(session: &Session, prompt: &str) {
    let answer = session.query(prompt).await.unwrap_or_else(|error| panic!("{prompt}: {error}"));
    let tag = prompt.split(' ').next().expect("a word");
    assert!(answer.text.contains(&format!("answer to {tag}")), "{answer}");
}

/// Kills the session's CLI; its next turn goes to another one.
async fn kill(session: &Session) {
    let pid = session.status().await.expect("status").pid.expect("its CLI lives");
    faults::kill(pid).expect("killed");
    eventually("the kill is seen", async || (session.status().await.ok()?.pid != Some(pid)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompts_that_the_cli_answers_by_itself_are_not_missed_in_the_transcript() {
    let Some(real) = RealLab::new().await else { return };
    let hooks = r#"{ "hooks": { "UserPromptSubmit": [{ "hooks": [{ "type": "command",
        "command": "if grep -q SECRET; then echo refused >&2; exit 2; fi" }] }] } }"#;
    std::fs::create_dir(real.work().join(".claude")).expect("a folder");
    std::fs::write(real.work().join(".claude/settings.json"), hooks).expect("written");
    let session = at_home(&real, "assistant").await;
    let mut asked = Vec::new();
    for (at, prompt) in
        [Prompt::command("/help"), Prompt::command("/cost"), "a SECRET".into()].into_iter().enumerate()
    {
        let tag = format!("PROMPT-{at}");
        answers(&session, &tag).await;
        asked.push(tag);
        session.query(prompt).await.unwrap_or_else(|error| panic!("{at}: {error}"));
        kill(&session).await;
        // Another host knows no more than the journal.
        if at == 2 {
            session.stop().await.expect("stopped");
        }
    }
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-last").await;
    asked.push("PROMPT-last".to_owned());
    assert_eq!(real.api.prompts_in_last_context(), asked);
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cli_that_refuses_to_start_does_not_take_the_conversation_along() {
    use std::os::unix::fs::MetadataExt;
    let Some(real) = RealLab::new().await else { return };
    let tmp = real.lab.path().join("tmp");
    std::fs::create_dir(&tmp).expect("a folder");
    let user = std::fs::metadata(&tmp).expect("it is there").uid();
    let session = session(&real, "assistant", &[("CLAUDE_CODE_TMPDIR", &tmp.display().to_string())]).await;
    answers(&session, "PROMPT-1").await;
    let id = id_of(&session).await;
    session.restart().await.expect("restarted");
    eventually("its CLI is gone", async || session.status().await.ok()?.pid.is_none().then_some(())).await;
    // Where it wants to have a folder somebody else has put a file.
    let own = tmp.join(format!("claude-{user}"));
    drop(std::fs::remove_dir_all(&own));
    std::fs::write(&own, "").expect("written");
    let refused = session.query("PROMPT-2").await.expect_err("it is refused");
    assert!(refused.to_string().contains("temp_dir_unusable"), "{refused}");
    assert_eq!(id_of(&session).await, id);
    std::fs::remove_file(&own).expect("removed");
    answers(&session, "PROMPT-3").await;
    assert_eq!(id_of(&session).await, id);
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-1", "PROMPT-3"]);
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcript_that_somebody_cleaned_up_comes_back() {
    let Some(real) = RealLab::new().await else { return };
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-1").await;
    reaches(&session, SessionState::Ready).await;
    let config_dir = real.config_dir();
    let path = transcript(&config_dir, &session).await;
    let id: SessionId = id_of(&session).await.parse().expect("an id");
    let second = eventually("it has its second name", async || {
        treewarden_transcript::kept(&config_dir, id).expect("looked for")
    })
    .await;
    for n in 2..4 {
        session.stop().await.expect("stopped");
        std::fs::remove_dir_all(path.parent().expect("a folder")).expect("removed");
        let session = at_home(&real, "assistant").await;
        answers(&session, &format!("PROMPT-{n}")).await;
        session.stop().await.expect("stopped");
    }
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-1", "PROMPT-2", "PROMPT-3"]);
    let (own, ours) = (std::fs::read(path).expect("it is back"), std::fs::read(second).expect("there"));
    assert_eq!(own, ours, "the CLI goes on in the same file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_is_left_is_kept_no_longer() {
    let Some(real) = RealLab::new().await else { return };
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-1").await;
    let config_dir = real.config_dir();
    let left: SessionId = id_of(&session).await.parse().expect("an id");
    eventually("it has its second name", async || {
        treewarden_transcript::kept(&config_dir, left).expect("looked for")
    })
    .await;
    session.clear().await.expect("cleared");
    eventually("it has none", async || {
        treewarden_transcript::kept(&config_dir, left).expect("looked for").is_none().then_some(())
    })
    .await;
    assert!(
        treewarden_transcript::find(&config_dir, left).expect("looked for").is_some(),
        "the CLI has it still"
    );
    answers(&session, "PROMPT-2").await;
    let next: SessionId = id_of(&session).await.parse().expect("an id");
    eventually("the next one has its own", async || {
        treewarden_transcript::kept(&config_dir, next).expect("looked for")
    })
    .await;
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_result_on_an_old_call_leaves_the_conversation_where_it_was() {
    let Some(real) = RealLab::new().await else { return };
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-1 BASH=echo x;;").await;
    answers(&session, "PROMPT-2").await;
    answers(&session, "PROMPT-3 BASH=echo y;;").await;
    session.stop().await.expect("stopped");
    let path = transcript(&real.config_dir(), &session).await;
    let mut text = std::fs::read_to_string(&path).expect("it can be read");
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let results = lines.iter().filter(|line| line["message"]["content"][0]["type"] == "tool_result");
    for result in results {
        let mut late = result.clone();
        late["uuid"] = SessionId::random().to_string().into();
        text.push_str(&format!("{late}\n"));
    }
    std::fs::write(&path, text).expect("it can be written");
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-4").await;
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-1", "PROMPT-2", "PROMPT-3", "PROMPT-4"]);
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_are_looked_for_where_the_cli_keeps_them() {
    let Some(real) = RealLab::new().await else { return };
    let (home, work) = (real.lab.path().display().to_string(), real.work());
    let (decomposed, composed) = (format!("{home}/cafe\u{301}"), real.lab.path().join("caf\u{e9}"));
    let cases = [
        ("home", home.as_str(), None, real.config_dir()),
        ("decomposed", &home, Some(decomposed.as_str()), composed),
        ("relative-home", "own", None, work.join("own/.claude")),
        ("relative", &home, Some("config"), work.join("config")),
        ("empty", &home, Some(""), work.clone()),
    ];
    for (name, home, config, config_dir) in cases {
        let mut variables = vec![("HOME", home)];
        variables.extend(config.map(|dir| ("CLAUDE_CONFIG_DIR", dir)));
        let variables = &variables;
        let session = session(&real, name, variables).await;
        answers(&session, &format!("PROMPT-{name}")).await;
        assert!(transcript(&config_dir, &session).await.starts_with(&config_dir), "{name}");
        kill(&session).await;
        answers(&session, &format!("PROMPT-{name}-again")).await;
        end(&session).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcript_that_is_taken_from_a_live_session_is_back_before_its_next_turn() {
    let Some(real) = RealLab::new().await else { return };
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-1").await;
    let config_dir = real.config_dir();
    let path = transcript(&config_dir, &session).await;
    let id: SessionId = id_of(&session).await.parse().expect("an id");
    eventually("it has its second name", async || {
        treewarden_transcript::kept(&config_dir, id).expect("looked for")
    })
    .await;
    answers(&session, "PROMPT-2").await;
    std::fs::remove_file(&path).expect("as a clean-up does");
    answers(&session, "PROMPT-3").await;
    kill(&session).await;
    answers(&session, "PROMPT-4").await;
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-1", "PROMPT-2", "PROMPT-3", "PROMPT-4"]);
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_was_never_written_costs_the_context_nothing_but_itself() {
    let Some(real) = RealLab::new().await else { return };
    let session = at_home(&real, "assistant").await;
    for n in 1..4 {
        answers(&session, &format!("PROMPT-{n}")).await;
    }
    session.stop().await.expect("stopped");
    let path = transcript(&real.config_dir(), &session).await;
    let text = std::fs::read_to_string(&path).expect("it is there");
    // Everything from the second prompt to the third, as if the disk had been full; long ago, so that the CLI itself does not
    // take the two ends for neighbours.
    let of = |tag: &str| {
        text.lines().position(|line| line.contains("\"user\"") && line.contains(tag)).expect("a line")
    };
    let (second, third) = (of("PROMPT-2"), of("PROMPT-3"));
    let kept = text.lines().enumerate().filter(|(at, _)| !(second..third).contains(at)).map(|(at, line)| {
        if at < second { line.replace("\"timestamp\":\"20", "\"timestamp\":\"19") } else { line.to_owned() }
    });
    let kept: String = kept.map(|line| line + "\n").collect();
    std::fs::write(&path, kept).expect("written");
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-4").await;
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-1", "PROMPT-3", "PROMPT-4"]);
    end(&session).await;
}

/// What a query failed with.
async fn fails(session: &Session, prompt: &str) -> String {
    match session.query(prompt).await {
        Ok(answer) => panic!("{prompt} was answered: {answer}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcript_that_is_emptied_under_a_live_cli_is_said_and_then_lost_and_never_gone_on_without() {
    let Some(real) = RealLab::new().await else { return };
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-1").await;
    let path = transcript(&real.config_dir(), &session).await;
    reaches_disk(&real, &session).await;
    std::fs::File::options().write(true).truncate(true).open(&path).expect("emptied in place");
    answers(&session, "PROMPT-2").await;
    let why =
        eventually("it is said", async || session.status().await.ok()?.unsaved.map(|why| why.to_string()))
            .await;
    assert!(why.contains("beginning"), "{why}");
    kill(&session).await;
    let error = fails(&session, "PROMPT-3").await;
    assert!(error.contains("is lost") && error.contains(&path.display().to_string()), "{error}");
    assert_eq!(
        real.api.prompts_in_last_context(),
        ["PROMPT-1", "PROMPT-2"],
        "nothing was asked without that"
    );
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcript_that_an_editor_emptied_is_put_back() {
    let Some(real) = RealLab::new().await else { return };
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-1").await;
    let path = transcript(&real.config_dir(), &session).await;
    reaches_disk(&real, &session).await;
    let replace = || {
        let new = path.with_extension("new");
        std::fs::write(&new, "").and_then(|()| std::fs::rename(&new, &path)).expect("as an editor does");
    };
    session.stop().await.expect("stopped");
    replace();
    let session = at_home(&real, "assistant").await;
    answers(&session, "PROMPT-2").await;
    reaches_disk(&real, &session).await;
    // The same under a live CLI, which goes on behind nothing.
    replace();
    answers(&session, "PROMPT-3").await;
    kill(&session).await;
    answers(&session, "PROMPT-4").await;
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-1", "PROMPT-2", "PROMPT-3", "PROMPT-4"]);
    end(&session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_without_an_answer_that_is_gone_does_not_begin_blank() {
    let Some(real) = RealLab::new().await else { return };
    let session = at_home(&real, "assistant").await;
    let turn = session.stream("PROMPT-1 BASH=touch ran; sleep 60;;").await.expect("asked");
    let config_dir = real.config_dir();
    eventually("the tool runs", async || real.work().join("ran").exists().then_some(())).await;
    session.interrupt().await.expect("interrupted");
    assert!(turn.answer().await.is_err(), "it was interrupted");
    session.stop().await.expect("stopped");
    for folder in ["projects", "treewarden/transcripts"] {
        std::fs::remove_dir_all(config_dir.join(folder)).expect("removed");
    }
    let session = at_home(&real, "assistant").await;
    let error = fails(&session, "PROMPT-2").await;
    assert!(error.contains("is lost") && error.contains("first message"), "{error}");
    session.clear().await.expect("cleared");
    answers(&session, "PROMPT-3").await;
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-3"]);
    end(&session).await;
}

/// Waits until the beginning of the conversation was seen on disk, and its last answer.
async fn reaches_disk(real: &RealLab, session: &Session) {
    let name = session.status().await.expect("status").name;
    let seen = async || match real.lab.host.store().record(name.clone()).await {
        Ok(Told::Record(record)) => record.first_message().map(drop),
        _ => None,
    };
    eventually("the beginning of the conversation is seen", seen).await;
    assert_eq!(session.unsaved().await.expect("the session is there"), None);
}
