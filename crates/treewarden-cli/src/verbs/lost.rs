//! What is done about sessions whose records are lost, and what makes those again whose names no session has.

use std::process::ExitCode;

use serde_json::Value;
use treewarden::SessionId;
use treewarden_service::Request;

use crate::args::Place;
use crate::client::Client;
use crate::output;
use crate::shown::{self, Lines};

pub(super) async fn clear(place: &Place) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(place).await?.call(&Request::ClearLost {}).await?;
    for name in answer["names"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::line(format!("{name} begins anew"))?;
    }
    output::line(match answer["cleared"].as_u64() {
        None | Some(0) => {
            "no session is known to be lost; every name may begin, and what `ps` said of the store is over"
                .to_owned()
        }
        Some(1) => "1 lost session begins anew".to_owned(),
        Some(many) => format!("{many} lost sessions begin anew"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What makes a session again whose name nobody has, as a clause of its own.
pub(super) fn made_again(lost: &Value) -> String {
    let word = |key: &str| lost[key].as_str().map(|word| shown::text(word, Lines::Escape));
    let name = word("name").unwrap_or_default();
    match word("template") {
        // A daemon of an earlier version does not say whether it has it.
        Some(template) if lost["has_template"] == false => format!(
            "the tree has no template {template} now; declare that, or a session {name}, in its config file and reload, and the \
             session is made again"
        ),
        Some(template) => format!("`treewarden new {template} {name}` makes it again"),
        None => format!(
            "`treewarden new TEMPLATE {name}` makes it again, of the template that it had, if it was of one; else declare it in the \
             config file and reload"
        ),
    }
}

/// The end of what is said of a name that has its conversation again.
fn if_unheld(adopted: &Value) -> String {
    format!(", and no session has that name: {}", made_again(adopted))
}

/// Takes one over.
pub(super) async fn adopt_one(
    name: String,
    session_id: SessionId,
    place: &Place,
) -> anyhow::Result<ExitCode> {
    let done = format!("{name} has the conversation {session_id}");
    let answer = Client::connect(place).await?.call(&Request::Adopt { name, session_id }).await?;
    // Of a name that a session has there is nothing to add.
    let rest = if answer["name"].is_string() { if_unheld(&answer) } else { String::new() };
    output::line(format!("{done}{rest}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Takes all over; the exit code says whether all could be.
pub(super) async fn adopt_all(place: &Place) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(place).await?.call(&Request::AdoptLost {}).await?;
    let names = answer["names"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut refused = false;
    for adopted in names {
        let name = adopted["name"].as_str().unwrap_or_default();
        match adopted["refused"].as_str() {
            Some(why) => {
                refused = true;
                output::note(format!(
                    "{name} is lost still: {why}; or `treewarden clear {name}` begins anew"
                ));
            }
            None => {
                let id = adopted["session_id"].as_str().unwrap_or_default();
                let rest = if adopted["is_held"] == false { if_unheld(adopted) } else { String::new() };
                output::line(format!("{name} has the conversation {id}{rest}"))?;
            }
        }
    }
    if let Some(why) = answer["others"].as_str() {
        refused = true;
        output::note(format!(
            "names of which nothing is known are lost still: {why}; `treewarden adopt NAME ID` takes one over, where ID is the name \
             of its transcript, `ID.jsonl` below `projects` in the CLI's config directory, and `treewarden clear --all-lost` has \
             all that are lost begin anew"
        ));
    }
    let many = names.iter().filter(|one| one["refused"].is_null()).count();
    output::line(match (many, names.len()) {
        (_, 0) if refused => "of no lost session it is known that it is".to_owned(),
        (_, 0) => "no session is lost".to_owned(),
        (many, all) => format!("{many} of {} taken over", output::count(all, "lost session")),
    })?;
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
