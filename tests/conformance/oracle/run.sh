#!/bin/sh
# Runs the schedules, and COUNT random ones from SEED on, on the real Erlang/OTP, and compares ours with its traces.
#
#     tests/conformance/oracle/run.sh [COUNT [SEED]]      needs erl and Elixir's Registry: Debian's erlang-base, elixir
#
# Most of the time goes by waiting for a step to settle, so many files are run at once. Prints what differs, and how
# many of how many.
#
# Then asks Elixir, where it is installed, what tests/elixir.rs has stored of its answers.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
erlc -o "$work" "$here/otp_oracle.erl"
cargo build --quiet -p treewarden-conformance
ours=${CARGO_TARGET_DIR:-$here/../../../target}/debug/treewarden-conformance

mkdir "$work/schedules"
cp "$here"/../schedules/*.json "$work/schedules"
count=${1:-0} seed=${2:-1}
while [ "$count" -gt 0 ]; do
    part=$((count < 20 ? count : 20))
    "$ours" --random "$part" "$seed" > "$work/schedules/random_$seed.json"
    count=$((count - part)) seed=$((seed + part))
done

export work ours
find "$work/schedules" -name '*.json' | sort | xargs -P 16 -I {} sh -c '
    out="$work/$(basename {} .json)"
    (cd "$work" && erl -noshell -pa . -pa /usr/lib/elixir/lib/elixir/ebin -run otp_oracle main {} > "$out.golden")
    "$ours" --compare "$out.golden" {} > "$out.result" 2>&1 || true'
# A machine that is too busy makes Erlang late, and then an event comes in the step after its own: what differs is run
# once more, alone, and is told when it does not differ again.
grep -L "^0 differing of" "$work"/*.result | while read -r result; do
    name=$(basename "$result" .result) out="${result%.result}"
    grep "^DIFF" "$result" | sed "s/^DIFF/once:/" || true
    (cd "$work" && erl -noshell -pa . -pa /usr/lib/elixir/lib/elixir/ebin \
        -run otp_oracle main "schedules/$name.json" > "$out.golden")
    "$ours" --compare "$out.golden" "$work/schedules/$name.json" > "$result" 2>&1 || true
done
cat "$work"/*.result | grep -v "^[0-9]* differing of" || true
if command -v elixir > /dev/null; then
    elixir "$here/elixir.exs" > "$work/elixir" && diff "$here/../elixir.golden" "$work/elixir"
fi
cat "$work"/*.result | awk '/ differing of / { bad += $1; all += $4 } END { print bad " differing of " all; exit bad > 0 }'
