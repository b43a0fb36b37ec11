//! A conversation with a session: at a terminal, or with prompts that come through a pipe, one a line.
//!
//! It is for an operator, who expects of `/compact` and `@file` what the CLI makes of them. It is not for words of strangers.

mod asking;
mod keyboard;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Context;
use tokio::io::{AsyncBufRead, BufReader};
use treewarden::no_such;
use treewarden_service::Request;

use super::turn;
use crate::args::Place;
use crate::client::Client;
use crate::exit::{self, Exit, Failure};
use crate::lines::{MAX_REQUEST, read_line};
use crate::output;
use keyboard::{Keyboard, Said};

pub(super) async fn run(name: &str, keep_history: bool, place: &Place) -> anyhow::Result<ExitCode> {
    // Before the first line is typed: it would be typed for nobody.
    see_that_it_is_there(name, place).await?;
    // An editor needs both; with one of them elsewhere it would write its escapes there.
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        person(name, keep_history, place).await
    } else {
        piped(name, place).await
    }
}

/// Refuses a name that no session has, with names that may be meant.
async fn see_that_it_is_there(name: &str, place: &Place) -> anyhow::Result<()> {
    let answer = Client::connect(place).await?.call(&Request::Ps {}).await?;
    let sessions = answer["sessions"].as_array().into_iter().flatten();
    let names: Vec<&str> = sessions.filter_map(|session| session["name"].as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    Err(Failure::new(Exit::NotFound, no_such("session", name, &names)).into())
}

/// Prompts from a terminal, until the person leaves.
async fn person(name: &str, keep_history: bool, place: &Place) -> anyhow::Result<ExitCode> {
    let mut keyboard = Keyboard::new(keep_history)?;
    output::line("Ctrl-C ends the turn that runs. Ctrl-D ends the chat; the session goes on.")?;
    loop {
        let said;
        (keyboard, said) = keyboard.read().await?;
        let Said::Prompt(prompt) = said else { return Ok(ExitCode::SUCCESS) };
        match asking::for_a_person(name, prompt, place).await {
            // Nobody serves the session, or the tree does not come back: the next prompt would be refused.
            Ok(Some(report)) if report["outcome"].is_null() => return Ok(turn::code(&report)),
            Ok(_) => {}
            // Nobody is there any more who could type another.
            Err(error) if exit::is_broken_pipe(&error) => return Err(error),
            // The next prompt may do better.
            Err(error) => output::note(format!("error: {error:#}")),
        }
    }
}

/// Prompts from a pipe or a file, one a line, until its end; blank lines are none.
///
/// The exit code is that of the first turn that was not answered.
async fn piped(name: &str, place: &Place) -> anyhow::Result<ExitCode> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut failed = None;
    while let Some(prompt) = next_line(&mut input).await? {
        if prompt.is_empty() {
            continue;
        }
        let report = asking::for_a_pipe(name, prompt, place).await?;
        // As with a person; and nobody is here who could wait for a tree to come back.
        if report["outcome"].is_null() {
            return Ok(turn::code(&report));
        }
        if report["outcome"] != "completed" {
            failed.get_or_insert_with(|| turn::code(&report));
        }
    }
    Ok(failed.unwrap_or(ExitCode::SUCCESS))
}

/// The next line without blanks around it; `None` at the end of the input.
async fn next_line(input: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    let there_is_one = match read_line(input, &mut line, MAX_REQUEST).await {
        // The last line of a file may have no end.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
        read => read.context("cannot read the prompts from stdin")?,
    };
    if !there_is_one {
        return Ok(None);
    }
    let line = String::from_utf8(line).context("a prompt from stdin is not UTF-8")?;
    Ok(Some(line.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_line_needs_no_end_and_a_blank_one_is_not_the_end() {
        let mut input = &b"a\n \n\r\n b "[..];
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).await.expect("it can be read") {
            lines.push(line);
        }
        assert_eq!(lines, ["a", "", "", "b"]);
    }
}
