//! The mock API as a program of its own: `treewarden-mock-api [--port N]`.
//!
//! It prints its URL, and runs until it is killed.

use std::io::Write;

use treewarden_testkit::mock_api::MockApi;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let port = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 0,
        ["--port", port] => port.parse().map_err(|_| usage())?,
        _ => return Err(usage()),
    };
    let api = MockApi::builder().port(port).start().await?;
    writeln!(std::io::stdout(), "{}", api.base_url())?;
    std::future::pending().await
}

fn usage() -> std::io::Error {
    std::io::Error::other("usage: treewarden-mock-api [--port N]")
}
