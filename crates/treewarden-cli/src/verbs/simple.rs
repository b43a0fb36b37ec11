//! Verbs that do one thing and say that it is done.

use std::process::ExitCode;

use treewarden::TurnId;
use treewarden_service::Request;

use crate::args::Place;
use crate::client::Client;
use crate::output;

pub(super) async fn run(request: Request, done: &str, place: &Place) -> anyhow::Result<ExitCode> {
    Client::connect(place).await?.call(&request).await?;
    output::line(done)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn stop(name: String, force: bool, place: &Place) -> anyhow::Result<ExitCode> {
    let request = Request::Stop { name: name.clone(), force };
    end(&request, &name, "stopped", place).await
}

pub(super) async fn remove(name: String, force: bool, place: &Place) -> anyhow::Result<ExitCode> {
    let request = Request::Remove { name: name.clone(), force };
    end(&request, &name, "removed", place).await
}

/// Ends a session, and says what was left of it.
async fn end(request: &Request, name: &str, done: &str, place: &Place) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(place).await?.call(request).await?;
    if let Some(left) = answer["may_be_left"].as_str() {
        output::note(format!("left alone, as nothing says whether it is of {name}: {left}"));
    }
    output::line(format!("{name} is {done}"))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn interrupt(name: String, place: &Place) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(place).await?.call(&Request::Interrupt { name: name.clone() }).await?;
    let interrupted = answer["interrupted"] == true;
    output::line(if interrupted {
        format!("{name} is interrupted")
    } else {
        format!("{name} does nothing that could be interrupted")
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn cancel(turn: TurnId, place: &Place) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(place).await?.call(&Request::Cancel { turn }).await?;
    let cancelled = answer["cancelled"] == true;
    output::line(if cancelled { "the turn is being cancelled" } else { "the turn has its outcome already" })?;
    Ok(ExitCode::SUCCESS)
}
