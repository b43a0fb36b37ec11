//! What is done about all sessions whose records are lost.

use std::process::ExitCode;

use treewarden_service::Request;

use crate::args::Place;
use crate::client::Client;
use crate::output;

pub(super) async fn clear(place: &Place) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(place).await?.call(&Request::ClearLost {}).await?;
    output::line(match answer["cleared"].as_u64() {
        None | Some(0) => "every name may begin".to_owned(),
        Some(1) => "1 lost session begins anew".to_owned(),
        Some(many) => format!("{many} lost sessions begin anew"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Takes all over; the exit code says whether all could be.
pub(super) async fn adopt(place: &Place) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(place).await?.call(&Request::AdoptLost {}).await?;
    let mut refused = false;
    for adopted in answer["names"].as_array().into_iter().flatten() {
        let name = adopted["name"].as_str().unwrap_or_default();
        match adopted["refused"].as_str() {
            Some(why) => {
                refused = true;
                output::note(format!("{name} is lost still: {why}"));
            }
            None => {
                let id = adopted["session_id"].as_str().unwrap_or_default();
                output::line(format!("{name} has the conversation {id}"))?;
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
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
