//! The shape of the tree.

use std::process::ExitCode;

use serde_json::Value;
use treewarden_service::Request;

use crate::args::{Output, Place};
use crate::client::Client;
use crate::output::{self, Paint};

pub(super) async fn run(output: Output, place: &Place) -> anyhow::Result<ExitCode> {
    let tree = Client::connect(place).await?.call(&Request::Tree {}).await?;
    if output.json {
        output::pretty_json(&tree)?;
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint(output::is_colourful());
    output::text(outline_text(&tree, paint))?;
    Ok(ExitCode::SUCCESS)
}

/// A tree as a drawing.
pub(crate) fn outline_text(tree: &Value, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold("treewarden"));
    draw(tree, "", paint, &mut text);
    text
}

fn draw(node: &Value, indent: &str, paint: Paint, text: &mut String) {
    let children = node["children"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (i, child) in children.iter().enumerate() {
        let last = i + 1 == children.len();
        let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let name = child["name"].as_str().unwrap_or("?");
        let kind = child["kind"].as_str().unwrap_or("?");
        let state = child["session"]["state"].as_str().or_else(|| child["state"].as_str()).unwrap_or("?");
        let what = if kind == "session" { String::new() } else { format!(" {}", paint.dim(kind)) };
        text.push_str(&format!("{indent}{branch}{}{what} {}\n", paint.bold(name), paint.state(state)));
        draw(child, &format!("{indent}{below}"), paint, text);
    }
}
