# What the gate runs.
check:
    .ci/run

# Everything that `cargo test` covers, the real CLI included.
test:
    cargo test --workspace

# All of `soak-shapes`, and the kill matrix at length on the real CLI: prints a table by phase.
soak kills="500": (soak-shapes kills)
    TREEWARDEN_SOAK={{kills}} cargo test --release -p treewarden-end-to-end --test kill_matrix -- --ignored --nocapture soak

# Kills in turns of every shape, of hosts at any instant and in each phase of a turn, and of CLIs that work for themselves: tables.
soak-shapes kills="500" hosts="200" fakes="10000":
    cargo build --release -p treewarden-testkit --bins
    TREEWARDEN_SOAK={{kills}} cargo test --release -p treewarden-end-to-end --test kill_shapes -- --ignored --nocapture soak
    TREEWARDEN_SOAK={{hosts}} cargo test --release -p treewarden-end-to-end --test host_kills --test host_phases -- --ignored --nocapture soak
    TREEWARDEN_SOAK={{fakes}} cargo test --release -p treewarden-end-to-end --test working_kills -- --ignored --nocapture soak

# 200 sessions killed every second for so long, and restart storms of so many sessions, on the fake CLI: prints figures.
soak-sessions sessions="10000" seconds="600":
    cargo build --release -p treewarden-testkit --bin treewarden-fake-claude
    TREEWARDEN_SOAK={{sessions}} TREEWARDEN_SOAK_SECONDS={{seconds}} cargo test --release -p treewarden-end-to-end --test many_kills --test restart_storm -- --ignored --nocapture --test-threads 1

# The store under power cuts: so many of each kind replayed, 500 damages, copies of a block device (root); and under a long lock.
soak-store cuts="5000" copies="22":
    TREEWARDEN_SOAK={{cuts}} cargo test --release -p treewarden-store-faults --test power -- --nocapture
    cargo test --release -p treewarden-store-faults --test damage --test locks -- --ignored --nocapture soak
    TREEWARDEN_SOAK={{copies}} cargo test --release -p treewarden-store-faults --test device -- --ignored --nocapture soak

# So many sessions made of a template, used once and removed: prints time and memory, and fails if anything is left of them.
soak-dynamic sessions="10000":
    cargo build --release -p treewarden-testkit --bin treewarden-fake-claude
    TREEWARDEN_SOAK={{sessions}} cargo test --release -p treewarden-end-to-end --test dynamic_many -- --ignored --nocapture

# So many rounds of tools that leak on the real CLI: killed at the limit, with the CLI ended, and with the CLI replaced between turns.
soak-memory rounds="20":
    TREEWARDEN_SOAK={{rounds}} cargo test --release -p treewarden-end-to-end --test memory -- --ignored --nocapture soak

# Three daemons that ask for one conversation at once, and so in namespaces of their own, which needs root: prints who won.
soak-races races="100":
    TREEWARDEN_SOAK={{races}} cargo test -p treewarden-cli --test it -- --ignored --nocapture one_writer::soak

# Looks at a version of the CLI for sockets on which it listens, as it is started here and with its door open.
probe version:
    TREEWARDEN_PROBE={{version}} cargo test -p treewarden-end-to-end --test second_door -- --ignored --nocapture --exact probe

# Asks a version of the CLI, which is installed, what strangers may say, and looks whether anything acts: 2.1.197 is an old one.
strangers version="2.1.197":
    TREEWARDEN_STRANGERS={{version}} cargo test -p treewarden-end-to-end --test verbatim -- --ignored --nocapture

# Random inputs for one parser, for so long: frames, control, prompts, rows, transcripts, resume; config, requests, segments.
fuzz target seconds="60":
    tests/fuzz/run.sh {{target}} {{seconds}}

# Cost of a frame, a turn, a restart, a parked session, beside the floor; one table, or some rows of it by name.
bench *names:
    cargo run --release -p treewarden-bench -- {{names}}

# The whole table and the peers, kept as tests/bench/baseline.md, from which the README's figures come.
bench-baseline:
    cargo run --release -p treewarden-bench -- --baseline "$(date -I), $(nproc) shared cores" ""

# Other programs that drive the CLI, beside a session; those that are not installed are left out.
bench-peers: (bench "peers")

# Installs those programs below target/peers, with pip, npm and cargo.
bench-peers-install:
    tests/bench/peers/install.sh

# The parts alone: parse of a frame, decisions of the supervisor machine, process trees, the store.
bench-criterion:
    cargo bench -p treewarden-proto -p treewarden-otp-core -p treewarden-process -p treewarden-sqlite

# The supervisor against raw ractor, and OTP where it is installed; `just bench-otp --features mimalloc` with that allocator.
bench-otp *options:
    cargo run --release -p treewarden-conformance --bin bench-otp {{options}}

# The schedules, and so many random ones, on real OTP, compared with ours; needs erl.
oracle random="0":
    tests/conformance/oracle/run.sh {{random}}

# The documentation, as docs.rs would show it.
docs:
    cargo doc --workspace --no-deps --open

# Writes what is made from the table of keys: the JSON Schema, and the tables in docs/config.md.
reference:
    cargo test -p treewarden --test config_schema -- --ignored --exact write_the_schema_and_the_tables

# What crates.io would be given of the crates that need no other one of these; uploads nothing.
publish-check:
    for crate in treewarden-proto treewarden-otp-core treewarden-process; do cargo publish --dry-run -p "$crate"; done
