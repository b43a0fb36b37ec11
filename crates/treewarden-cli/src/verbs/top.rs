//! The sessions, looked at again and again.

use std::process::ExitCode;
use std::time::Duration;

use treewarden_service::Request;

use crate::args::Place;
use crate::client::Client;
use crate::output::{self, Paint};

pub(super) async fn run(interval: f64, place: &Place) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(place).await?;
    let colourful = output::is_colourful();
    let paint = Paint(colourful);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(interval));
    // After a pause the tree is asked once, and not once for each tick that was missed.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = client.call(&Request::Ps {}).await?;
        let sessions = answer["sessions"].as_array().cloned().unwrap_or_default();
        let live = sessions.iter().filter(|session| session["pid"].is_number()).count();
        let head = format!("{}, {live} with a CLI", output::count(sessions.len(), "session"));
        // Home, then each line to its end, then the rest of the screen: nothing flickers.
        let clear = if colourful { "\x1b[H\x1b[J" } else { "" };
        output::text(format!("{clear}{}\n\n{}\n", paint.bold(&head), super::ps::table(&sessions, paint)))?;
    }
}
