//! What the demo shows, in order.

use std::time::{Duration, Instant};

use anyhow::Context;
use treewarden::events::{Happening, Reader, SupervisionContext};
use treewarden::session::{Event, Session, SessionState, Turn};
use treewarden::{Tree, TurnId};

use super::stage::Stage;
use super::voice::{Speech, Voice};
use crate::output;
use crate::verbs::session_table;

/// The words after which the CLI is killed.
const WORDS_BEFORE_THE_KILL: usize = 16;

/// What is asked when the CLI is killed.
const QUESTION: &str = "Explain ownership in Rust.";

/// Tells the whole story.
pub(super) async fn tell(stage: &Stage, tree: &Tree) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut voice = Voice::new();
    output::line(voice.paint.bold("treewarden: a session is killed, and its conversation is carried on"))?;
    output::line("")?;
    voice.tell(
        "No key and no Claude Code are needed: the model behind these sessions is a\n\
         stand-in. The rest is real: the tree, the processes, the kill, the recovery.",
    )?;

    voice.part("A tree of named sessions")?;
    let outline = serde_json::to_value(tree.outline().await)?;
    voice.show(&crate::verbs::outline_text(&outline, voice.paint))?;

    voice.part("A conversation with one of them")?;
    let assistant = tree.session("assistant");
    converse(voice, &assistant, "My name is Alice.").await?;
    show_sessions(voice, tree, &assistant).await?;

    voice.part("kill -9, in the middle of an answer")?;
    let (before, turn) = kill_and_recover(voice, tree, &assistant).await?;

    voice.part("The conversation was carried on")?;
    converse(voice, &assistant, "What is my name?").await?;
    show_sessions(voice, tree, &assistant).await?;
    output::line("")?;
    let after = assistant.status().await?;
    anyhow::ensure!(
        before == after.session_id,
        "the session has another conversation: {:?}",
        after.session_id
    );
    let report = tree.host().turn(turn).await?.context("the turn is not in the journal")?;
    voice.tell(&format!(
        "Another process, the same conversation. CLIs that died under the turn: {}.\n\
         Times that its prompt stands in the transcript: {}. Answers: 1.",
        report.interruptions,
        stage.times_in_transcript(QUESTION),
    ))?;

    voice.part("Nothing is left behind")?;
    tree.stop().await;
    stage.clear().await?;
    voice.tell(&format!(
        "The tree is stopped, and {} of its processes live. {:.1} s in all.",
        stage.processes().len(),
        began.elapsed().as_secs_f64()
    ))?;
    output::line("")?;
    voice.tell("With Claude Code installed:  treewarden run treewarden.toml").map_err(Into::into)
}

/// Asks, and shows question and answer as they come.
async fn converse(voice: Voice, session: &Session, prompt: &str) -> anyhow::Result<()> {
    voice.say("you", prompt)?;
    let turn = session.stream(prompt).await?;
    voice.begin(session.name())?;
    let mut speech = Speech::default();
    finish(turn, &mut speech, session.name(), voice).await
}

/// Shows the rest of a turn.
async fn finish(mut turn: Turn, speech: &mut Speech, who: &str, voice: Voice) -> anyhow::Result<()> {
    while let Some(event) = turn.next().await {
        match event {
            Event::Frame(frame) => {
                if let Some(text) = frame.text_delta() {
                    speech.add(&text)?;
                }
            }
            Event::Resumed { .. } => {
                speech.end()?;
                *speech = Speech::default();
                voice.begin(who)?;
            }
            _ => {}
        }
    }
    speech.end()?;
    turn.answer().await?;
    Ok(())
}

/// Streams an answer, kills the CLI on the way, and shows the same turn come to its end all the same.
async fn kill_and_recover(
    voice: Voice,
    tree: &Tree,
    session: &Session,
) -> anyhow::Result<(Option<treewarden::SessionId>, TurnId)> {
    let mut events = tree.events().now();
    voice.say("you", QUESTION)?;
    let mut turn = session.stream(QUESTION).await?;
    let id = turn.id();
    voice.begin(session.name())?;
    let mut speech = Speech::default();
    let mut words = 0;
    while words < WORDS_BEFORE_THE_KILL {
        let event = turn.next().await.context("the turn ended before the kill")?;
        if let Event::Frame(frame) = event
            && let Some(text) = frame.text_delta()
        {
            speech.add(&text)?;
            words += 1;
        }
    }
    let status = session.status().await?;
    let pid = status.pid.context("the session has no CLI")?;
    speech.end()?;
    voice.command(&format!("kill -9 {pid}"))?;
    output::line("")?;
    let killed = Instant::now();
    kill(pid)?;
    report(voice, &mut events).await?;
    // What the dead CLI had printed may still come; the next one begins the answer anew.
    while !matches!(turn.next().await.context("the turn ended with the CLI")?, Event::Resumed { .. }) {}
    let first = loop {
        match turn.next().await.context("the turn ended with the CLI")? {
            Event::Frame(frame) => {
                if let Some(text) = frame.text_delta() {
                    break text.into_owned();
                }
            }
            Event::Outcome(_) => anyhow::bail!("the turn ended without its text"),
            _ => {}
        }
    };
    let next = session.status().await?.pid.context("the session has no CLI")?;
    let late = killed.elapsed().as_millis();
    voice.tell(&format!("CLI:         {next} carries the turn on, {late} ms after the kill"))?;
    output::line("")?;
    voice.begin(session.name())?;
    let mut speech = Speech::default();
    speech.add(&first)?;
    finish(turn, &mut speech, session.name(), voice).await?;
    Ok((status.session_id, id))
}

/// Shows what the supervisor reports about the end of its child and the start of the next one.
async fn report(voice: Voice, events: &mut Reader) -> anyhow::Result<()> {
    let both = async {
        loop {
            let event = events.next().await.context("the tree ended")??;
            let Happening::Supervision { context, child: Some(child), reason, .. } = &event.what else {
                continue;
            };
            voice.tell(&format!("supervisor:  {} {child}", context.as_str()))?;
            if let Some(reason) = reason {
                voice.tell(&format!("             {reason}"))?;
            }
            if *context == SupervisionContext::Progress {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), both)
        .await
        .context("the supervisor did not restart the session")?
}

fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("no such process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).context("cannot kill the CLI")
}

/// Shows what `treewarden ps` would, when the session rests.
async fn show_sessions(voice: Voice, tree: &Tree, session: &Session) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(2);
    while session.status().await?.state != SessionState::Ready && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sessions = serde_json::to_value(tree.host().sessions())?;
    output::line("")?;
    voice.tell("$ treewarden ps")?;
    voice.show(&session_table(sessions.as_array().map(Vec::as_slice).unwrap_or_default(), voice.paint))?;
    Ok(())
}
