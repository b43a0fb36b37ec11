#!/bin/sh
# Runs the schedules, and COUNT random ones from SEED on, on the real Erlang/OTP, and compares ours with its traces.
#
#     tests/conformance/oracle/run.sh [COUNT [SEED]]      needs erl and Elixir's Registry: Debian's erlang-base, elixir
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
erlc -o "$work" "$here/otp_oracle.erl"
oracle() { (cd "$work" && erl -noshell -pa . -pa /usr/lib/elixir/lib/elixir/ebin -run otp_oracle main "$@"); }
ours() { cargo run --quiet -p treewarden-conformance -- "$@"; }

oracle "$here/../schedules" > "$work/golden.jsonl"
ours --compare "$work/golden.jsonl" "$here/../schedules"
if [ "${1:-0}" -gt 0 ]; then
    ours --random "$1" "${2:-1}" > "$work/random.json"
    oracle "$work/random.json" > "$work/random.jsonl"
    ours --compare "$work/random.jsonl" "$work/random.json"
fi
