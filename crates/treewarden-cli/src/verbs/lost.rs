//! What is done about all sessions whose records are lost.

use std::process::ExitCode;

use serde_json::Value;
use treewarden_service::Request;

use crate::args::Place;
use crate::client::Client;
use crate::output;

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

/// What makes a session again whose name nobody has.
fn made_again(adopted: &Value) -> String {
    if adopted["is_held"] != false {
        return String::new();
    }
    let name = adopted["name"].as_str().unwrap_or_default();
    match adopted["template"].as_str() {
        Some(template) => format!(
            ", and no session has that name: the tree has no template {template} now, and once it has one the session comes back, \
             with the next start or by `treewarden new {template} {name}`"
        ),
        None => format!(
            ", and no session has that name: `treewarden new TEMPLATE {name}` makes it, of the template that it had"
        ),
    }
}

/// Takes all over; the exit code says whether all could be.
pub(super) async fn adopt(place: &Place) -> anyhow::Result<ExitCode> {
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
                output::line(format!("{name} has the conversation {id}{}", made_again(adopted)))?;
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
