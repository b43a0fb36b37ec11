#!/usr/bin/env bash
# Installs the peers of `just bench-peers` below target/peers, at the versions that were compared with. Each of them may
# fail without the others: a peer that is not there is left out of the table.
set -uo pipefail
cd "$(dirname "$0")/../../.."
peers="$PWD/target/peers"
mkdir -p "$peers"

echo "== Python SDK"
python3 -m venv "$peers/python" && "$peers/python/bin/pip" install --quiet claude-agent-sdk==0.2.187

echo "== TypeScript SDK"
npm install --prefix "$peers/node" --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error \
  @anthropic-ai/claude-agent-sdk@0.3.330

echo "== Rust SDKs"
cargo build --quiet --release --manifest-path tests/bench/peers/rust/Cargo.toml --target-dir "$peers/rust"
