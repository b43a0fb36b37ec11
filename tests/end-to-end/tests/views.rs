//! The views of a turn's stream: each gives what it says, whatever becomes of the CLI that streams it.

use treewarden::session::{Event, TextEvent};
use treewarden::{Session, SessionOptions};
use treewarden_end_to_end::{Lab, end};

#[tokio::test]
async fn each_view_of_a_stream_gives_what_it_says() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let mut turn = session.stream("one two three SPEAK=1").await.expect("opened");
    let mut deltas = String::new();
    while let Some(text) = turn.text_deltas().next().await {
        deltas.push_str(&text);
    }
    assert_eq!(deltas, "answer to one two three SPEAK=1");

    let mut turn = session.stream("PROMPT-2").await.expect("opened");
    let mut texts = Vec::new();
    while let Some(text) = turn.text().next().await {
        texts.push(text);
    }
    assert_eq!(texts, ["answer to PROMPT-2"]);

    let mut turn = session.stream("PROMPT-3 TOOL=1").await.expect("opened");
    let mut tools = Vec::new();
    while let Some(tool) = turn.tool_uses().next().await {
        tools.push(tool.name);
    }
    assert_eq!(tools, [Some("Bash".to_owned())]);

    let mut turn = session.stream("PROMPT-4").await.expect("opened");
    let mut kinds = Vec::new();
    while let Some(frame) = turn.until_result().next().await {
        kinds.push(frame.type_name().into_owned());
    }
    assert_eq!(kinds.last().map(String::as_str), Some("result"), "{kinds:?}");

    let text = session.stream("PROMPT-5").await.expect("opened").final_text().await.expect("answered");
    assert_eq!(text, "answer to PROMPT-5");

    let all = session.stream("PROMPT-6 TOOL=1").await.expect("opened").collect().await.expect("settled");
    assert_eq!((all.text.as_str(), all.tool_uses.len()), ("answer to PROMPT-6 TOOL=1", 1));
    assert_eq!(all.interruptions, 0);
    assert_eq!(all.outcome.word(), "completed");
    end(&session).await;
}

#[tokio::test]
async fn without_partial_messages_the_deltas_are_the_whole_messages() {
    let lab = Lab::new();
    let spec = lab.spec("assistant").include_partial_messages(false);
    let session = Session::start(SessionOptions::from(spec).host(&lab.host)).await.expect("started");
    let mut turn = session.stream("PROMPT-1").await.expect("opened");
    let mut deltas = Vec::new();
    while let Some(text) = turn.text_deltas().next().await {
        deltas.push(text);
    }
    assert_eq!(deltas, ["answer to PROMPT-1"]);
    end(&session).await;
}

#[tokio::test]
async fn a_stream_says_when_another_cli_carries_its_turn_on() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let mut turn = session.stream("PROMPT-1 CRASH=delta:2 ONCE=1").await.expect("opened");
    let (mut before, mut after, mut resumed, mut ended) = (0, 0, Vec::new(), false);
    while let Some(event) = turn.next().await {
        assert!(!ended, "nothing comes after the outcome");
        match event {
            Event::Frame(_) if resumed.is_empty() => before += 1,
            Event::Frame(_) => after += 1,
            Event::Resumed { interruptions } => resumed.push(interruptions),
            Event::Outcome(outcome) => {
                ended = true;
                let answer = outcome.answer().expect("answered");
                assert_eq!(answer.interruptions, 1);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(resumed, [1]);
    assert!(before > 0 && after > 0 && ended, "{before} frames before, {after} after");
    end(&session).await;
}

#[tokio::test]
async fn what_a_dead_cli_streamed_is_not_collected_twice() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let turn = session.stream("PROMPT-1 TOOL=1 CRASH=delta:1 ONCE=1").await.expect("opened");
    let all = turn.collect().await.expect("settled");
    assert_eq!(all.text.matches("answer to PROMPT-1").count(), 1, "{}", all.text);
    assert_eq!(all.interruptions, 1);
    end(&session).await;
}

#[tokio::test]
async fn an_answer_that_no_frame_told_is_in_the_views_of_the_text() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant").max_restarts(10)).await.expect("started");
    for (n, view) in ["deltas", "text", "events", "collect"].into_iter().enumerate() {
        // The CLI dies when its answer is stored, and the next one has nothing more to print of it: a view has the text
        // of the dead one and, after `Resumed`, that of the outcome.
        let mut turn = session.stream(format!("PROMPT-{n} CRASH=result ONCE=1")).await.expect("opened");
        let mut texts = String::new();
        let times = match view {
            "deltas" => {
                while let Some(text) = turn.text_deltas().next().await {
                    texts.push_str(&text);
                }
                2
            }
            "text" => {
                while let Some(text) = turn.text().next().await {
                    texts.push_str(&text);
                }
                2
            }
            "events" => {
                let mut told = Vec::new();
                while let Some(event) = turn.text_events().next().await {
                    match event {
                        TextEvent::Text(text) => texts.push_str(&text),
                        TextEvent::Resumed { interruptions } => {
                            assert_eq!((interruptions, &*told), (1, &[][..]));
                            texts.clear();
                        }
                        TextEvent::Outcome(outcome) => told.push(outcome.word()),
                        other => panic!("{other:?}"),
                    }
                }
                assert_eq!(told, ["completed"]);
                1
            }
            _ => {
                texts = turn.collect().await.expect("settled").text;
                1
            }
        };
        assert_eq!(texts.matches(&format!("answer to PROMPT-{n}")).count(), times, "{view}: {texts}");
    }
    end(&session).await;
}
