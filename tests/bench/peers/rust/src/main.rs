//! Two Rust SDKs: one firehose turn, then empty turns. Prints the figures of the one that is named as JSON.

use std::time::Instant;

use claude_agent_sdk_rs::{ClaudeAgentOptions, ClaudeClient};
use claude_codes::AsyncClient;
use claude_codes::cli::ClaudeCliBuilder;
use futures::StreamExt;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

enum Peer {
    Sdk(Box<ClaudeClient>),
    Codes(Box<AsyncClient>),
}

impl Peer {
    async fn connect(name: &str, cli: &str) -> Result<Self> {
        if name == "claude-codes" {
            let builder = ClaudeCliBuilder::new().command(cli);
            return Ok(Self::Codes(Box::new(AsyncClient::from_builder(builder).await?)));
        }
        let options = ClaudeAgentOptions {
            cli_path: Some(cli.into()),
            include_partial_messages: true,
            ..Default::default()
        };
        let mut client = ClaudeClient::new(options);
        client.connect().await?;
        Ok(Self::Sdk(Box::new(client)))
    }

    /// Runs a turn to its end; returns how many messages it had.
    async fn turn(&mut self, text: &str) -> Result<u64> {
        let mut seen = 0;
        match self {
            Self::Sdk(client) => {
                client.query(text).await?;
                let mut messages = client.receive_response();
                while let Some(message) = messages.next().await {
                    message?;
                    seen += 1;
                }
            }
            Self::Codes(client) => {
                let mut messages = client.query_stream(text).await?;
                while let Some(message) = messages.next().await {
                    message?;
                    seen += 1;
                }
            }
        }
        Ok(seen)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, cli, frames, turns] = &args[..] else { return Err("NAME CLI FRAMES TURNS".into()) };
    let turns: u32 = turns.parse()?;
    let mut peer = Peer::connect(name, cli).await?;
    peer.turn("N=0").await?;
    let began = Instant::now();
    let seen = peer.turn(&format!("N={frames}")).await?;
    let firehose = began.elapsed().as_secs_f64();
    let began = Instant::now();
    for _ in 0..turns {
        peer.turn("N=0").await?;
    }
    let each = began.elapsed().as_secs_f64() / f64::from(turns);
    println!("{}", serde_json::json!({ "seen": seen, "frames_per_s": seen as f64 / firehose, "turn_s": each }));
    Ok(())
}
