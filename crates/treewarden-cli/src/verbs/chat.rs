//! A conversation, line by line.

use std::io::IsTerminal;
use std::process::ExitCode;

use tokio::io::BufReader;
use treewarden::Prompt;
use treewarden_service::{Request, Streaming};

use super::ask;
use crate::args::{Output, Place};
use crate::client::Client;
use crate::lines::{MAX_REQUEST, read_line};
use crate::output::{self, Paint};

pub(super) async fn run(name: &str, place: &Place) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(place).await?;
    let mut input = BufReader::new(tokio::io::stdin());
    let is_person = std::io::stdin().is_terminal();
    let paint = Paint(output::is_colourful());
    if is_person {
        output::line(paint.dim("An empty line or Ctrl-D ends the chat; the session goes on."))?;
    }
    let mut line = Vec::new();
    loop {
        if is_person {
            output::text(paint.bold("> "))?;
        }
        line.clear();
        if !read_line(&mut input, &mut line, MAX_REQUEST).await? {
            break;
        }
        let prompt = String::from_utf8_lossy(&line).trim().to_owned();
        if prompt.is_empty() {
            break;
        }
        // Whoever chats is the operator, and expects of `/compact` and `@file` what the CLI makes of them.
        let command = !Prompt::from(prompt.as_str()).is_inert();
        let request =
            Request::Ask { name: name.to_owned(), prompt, command, stream: Streaming::Text, detach: false };
        client.send(&request).await?;
        let report = ask::follow(&mut client, name, Streaming::Text, Output { json: false }).await?;
        super::turn::show(&report, Output { json: false }, false)?;
        // Nobody serves the session, or the tree is gone: the next prompt would be refused.
        if report["outcome"].is_null() {
            return Ok(super::turn::code(&report));
        }
    }
    Ok(ExitCode::SUCCESS)
}
