# What the gate runs.
check:
    .ci/run

# Everything that `cargo test` covers, the real CLI included.
test:
    cargo test --workspace

# The kill matrix at length on the real CLI: prints a table by phase.
soak kills="500":
    TREEWARDEN_SOAK={{kills}} cargo test --release -p treewarden-end-to-end --test kill_matrix -- --ignored --nocapture soak

# Cost of a frame, a turn, a restart, a parked session, beside the floor; one table.
bench:
    cargo run --release -p treewarden-bench

# The supervisor against raw ractor, and OTP where it is installed.
bench-otp:
    cargo run --release -p treewarden-conformance --bin bench-otp

# The schedules on real OTP, compared with ours; needs erl.
oracle:
    tests/conformance/oracle/run.sh

# The documentation, as docs.rs would show it.
docs:
    cargo doc --workspace --no-deps --open
