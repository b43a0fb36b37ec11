//! One prompt of a chat: asked, shown as it is answered, ended by Ctrl-C, and found again when its tree comes back.

use std::cell::Cell;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use treewarden::{Prompt, TurnId};
use treewarden_service::{Request, Streaming};

use crate::args::{Output, Place};
use crate::client::{Client, TreeEnded};
use crate::exit::{self, Exit};
use crate::output;
use crate::verbs::printed::Printed;
use crate::verbs::turn::{self, untold};

/// How long a person waits for a tree that ended under a turn, unless they want to wait no longer.
const RETURN: Duration = Duration::from_secs(120);

/// How long until it is looked for again.
const KNOCK: Duration = Duration::from_millis(200);

/// A prompt on its way.
struct Asked {
    client: Client,
    request: Request,
    printed: Printed,
}

/// Asks a prompt that came through a pipe, shows its turn, and returns the report of that.
pub(super) async fn for_a_pipe(name: &str, prompt: String, place: &Place) -> anyhow::Result<Value> {
    let mut asked = Asked::open(name, prompt, place).await?;
    let opened = Cell::new(None);
    let report = match (asked.follow(&opened, place).await?, opened.get()) {
        (Some(report), _) => report,
        // The turn is stored, and whoever asked has its id from nowhere else.
        (None, Some(turn)) => untold(&turn.to_string(), Some(name)),
        (None, None) => return Err(TreeEnded.into()),
    };
    asked.show(&report, false)?;
    Ok(report)
}

/// The same for a prompt that a person typed, who may end the turn with Ctrl-C, and leave it with another; `None` if they left it.
pub(super) async fn for_a_person(name: &str, prompt: String, place: &Place) -> anyhow::Result<Option<Value>> {
    // A new one for each prompt hears of no Ctrl-C of before.
    let mut ctrl_c = signal(SignalKind::interrupt())?;
    let mut asked = Asked::open(name, prompt, place).await?;
    let opened = Cell::new(None);
    let followed = {
        // Kept over a Ctrl-C: a line that has come in part would be lost with it.
        let follow = asked.follow(&opened, place);
        tokio::pin!(follow);
        let mut is_ended = false;
        loop {
            tokio::select! {
                biased;
                followed = &mut follow => break followed?,
                _ = ctrl_c.recv() => match opened.get() {
                    Some(turn) if !std::mem::replace(&mut is_ended, true) => end(turn, place).await,
                    // Whoever hangs up ends the turn as well; only how it came out is not seen.
                    Some(turn) => {
                        output::note(format!("\n(left; `treewarden turn {turn}` says what became of it)"));
                        return Ok(None);
                    }
                    None => {
                        output::note("\n(left before the prompt was taken)");
                        return Ok(None);
                    }
                },
            }
        }
    };
    match (followed, opened.get()) {
        (Some(report), _) => {
            asked.show(&report, false)?;
            Ok(Some(report))
        }
        (None, Some(turn)) => {
            asked
                .printed
                .note("(the tree ended, and the turn stays open: it is waited for; Ctrl-C stops that)")?;
            let report = tokio::select! {
                report = found_again(turn, name, place) => report?,
                _ = ctrl_c.recv() => {
                    output::note(format!("\n(left; `treewarden turn --wait {turn}` waits for its outcome)"));
                    return Ok(None);
                }
            };
            asked.show(&report, true)?;
            Ok(Some(report))
        }
        (None, None) => {
            asked.printed.note("(the tree ended before it said whether it took the prompt; it may have)")?;
            Ok(None)
        }
    }
}

/// Ends a turn of ours, wherever it is. How it comes out is told by the turn itself.
async fn end(turn: TurnId, place: &Place) {
    // By its id, and not as the one that runs: ours may wait behind somebody else's.
    let ended = async { Client::connect(place).await?.call(&Request::Cancel { turn }).await };
    if let Err(error) = ended.await {
        output::note(format!("\nerror: the turn is not ended: {error:#}"));
    }
}

/// Waits for a tree that comes back, and then for the turn; what is known of it if no tree comes.
async fn found_again(turn: TurnId, name: &str, place: &Place) -> anyhow::Result<Value> {
    let until = Instant::now() + RETURN;
    loop {
        let asked = async { Client::connect(place).await?.call(&Request::Turn { turn, wait: true }).await };
        let error = match asked.await {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        let may_pass = error.is::<TreeEnded>() || matches!(exit::code(&error), Exit::NoDaemon | Exit::Busy);
        if !may_pass {
            return Err(error);
        }
        if Instant::now() >= until {
            return Ok(untold(&turn.to_string(), Some(name)));
        }
        sleep(KNOCK).await;
    }
}

impl Asked {
    async fn open(name: &str, prompt: String, place: &Place) -> anyhow::Result<Self> {
        // A connection for each: one that is idle may be hung up on.
        let client = Client::connect(place).await?;
        // Whoever chats is the operator, and expects of `/compact` and `@file` what the CLI makes of them.
        let command = !Prompt::from(prompt.as_str()).is_inert();
        let stream = Streaming::Text;
        let request = Request::Ask { name: name.to_owned(), prompt, command, stream, detach: false };
        Ok(Self { client, request, printed: Printed::default() })
    }

    /// Sends it, shows what comes before the outcome, notes the turn once it is stored, and returns its report; `None` if the tree ended
    /// first.
    async fn follow(
        &mut self,
        opened: &Cell<Option<TurnId>>,
        place: &Place,
    ) -> anyhow::Result<Option<Value>> {
        let mut told = self.client.ask(&self.request, place).await;
        loop {
            let item = match told {
                Ok(Ok(item)) => item,
                Ok(Err(report)) => return Ok(Some(report)),
                Err(error) if error.is::<TreeEnded>() => return Ok(None),
                Err(error) => return Err(error),
            };
            if item["type"] == "opened" {
                opened.set(item["turn"].as_str().and_then(|turn| turn.parse().ok()));
            }
            self.printed.item(&item)?;
            told = self.client.item().await;
        }
    }

    /// Shows how the turn came out, with its text if nothing was shown of that.
    fn show(&mut self, report: &Value, with_text: bool) -> anyhow::Result<()> {
        self.printed.end_line()?;
        turn::show(report, Output { json: false }, with_text)
    }
}
