#!/usr/bin/env bash
# Builds one target with libFuzzer and coverage, on the stable compiler, and runs it for so many seconds.
# usage: run.sh TARGET SECONDS; what it finds, and the inputs that it keeps, are below target/fuzz
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1 seconds=$2
case $target in config | requests | segments) features=(--features tree) ;; *) features=() ;; esac
case $target in resume) longest=512 ;; segments) longest=2048 ;; *) longest=8192 ;; esac
host=$(rustc -vV | sed -n 's/^host: //p')
# What `cargo fuzz` passes, without a sanitizer, which only a nightly compiler has. `--target` keeps it out of build scripts.
passes=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg=fuzzing)
export RUSTFLAGS="${passes[*]}" CARGO_TARGET_DIR=$PWD/target/fuzz
cargo build --quiet --release --target "$host" --manifest-path tests/fuzz/Cargo.toml "${features[@]}" --bin "$target"
work=target/fuzz/$target
mkdir -p "$work/corpus" "$work/seeds" "$work/found"
# One seed for each line that a CLI was seen to print; for a config, each file of the documentation.
python3 - "$target" "$work/seeds" << 'PY'
import glob, hashlib, os, sys
target, folder = sys.argv[1:]
seeds = []
if target == "config":
    seeds = [open(path, "rb").read() for path in glob.glob("docs/*.toml") + glob.glob("examples/*.toml")]
elif target == "transcripts":
    seeds = [open(path, "rb").read() for path in glob.glob("tests/fuzz/seeds/transcripts/*")]
elif target in ("requests", "prompts", "segments", "rows"):
    seeds = [line for path in glob.glob(f"tests/fuzz/seeds/{target}") for line in open(path, "rb").read().split(b"\n") if line]
elif target in ("frames", "control"):
    seeds = [line for path in glob.glob("crates/treewarden-proto/tests/captured/*/*.jsonl") for line in open(path, "rb")]
for seed in seeds:
    if len(seed) <= 8192:
        open(os.path.join(folder, hashlib.sha1(seed).hexdigest()), "wb").write(seed)
PY
exec "target/fuzz/$host/release/$target" -max_total_time="$seconds" -max_len="$longest" -timeout=20 -rss_limit_mb=2048 \
  -print_final_stats=1 -verbosity=0 -artifact_prefix="$work/found/" "$work/corpus" "$work/seeds"
