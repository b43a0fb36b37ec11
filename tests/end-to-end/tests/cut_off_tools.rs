//! What becomes of a tool that was running when the real CLI died: it is told, or it runs again, as the session says.

use std::path::Path;

use treewarden::Session;
use treewarden::session::CutOffTools;
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{end, eventually};
use treewarden_testkit::faults;

/// How often the tool began.
fn runs(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

/// Kills the CLI while a tool runs that notes each of its runs; returns how often it ran by the end of the turn, and
/// whether the model was told that its outcome is unknown.
async fn killed_in_a_tool(cut_off_tools: CutOffTools) -> Option<(usize, bool)> {
    let real = RealLab::new().await?;
    let options = real.options("worker").cut_off_tools(cut_off_tools);
    let session = Session::start(options).await.expect("started");
    let before = session.query("PROMPT-before").await.expect("answered");
    assert!(before.text.contains("answer to PROMPT-before"), "{}", before.text);

    let turn = session.stream("PROMPT-cut BASH=echo ran >> ran.txt; sleep 2;;").await.expect("opened");
    let file = real.work().join("ran.txt");
    eventually("the tool runs", async || (runs(&file) == 1).then_some(())).await;
    // The call itself is on disk a moment after the tool began; without it there is nothing to tell of.
    let id = session.status().await.expect("status").session_id.expect("a conversation").to_string();
    eventually("the call is written down", async || {
        // Not its command, which the prompt holds as well.
        real.transcript(&id).contains(r#""type":"tool_use""#).then_some(())
    })
    .await;
    faults::kill(session.status().await.expect("status").pid.expect("a CLI")).expect("killed");
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-cut"), "{}", answer.text);
    assert_eq!(answer.interruptions, 1);
    assert_eq!(real.api.prompts_in_last_context(), ["PROMPT-before", "PROMPT-cut"]);
    let features = session.status().await.expect("status").cli;
    assert_eq!((features.awaits_initialize, features.tells_cut_off_tools), (Some(true), Some(true)));
    let told = real.transcript(&id).contains("outcome is unknown");
    end(&session).await;
    Some((runs(&file), told))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_a_crash_cut_off_is_told_and_not_run_again() {
    let Some(seen) = killed_in_a_tool(CutOffTools::Tell).await else { return };
    assert_eq!(seen, (1, true), "runs of the tool, and whether the model was told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_a_crash_cut_off_runs_again_where_the_session_says_so() {
    let Some(seen) = killed_in_a_tool(CutOffTools::RunAgain).await else { return };
    assert_eq!(seen, (2, false), "runs of the tool, and whether the model was told");
}
