# Thin recipes over cargo and `palisade`; nothing here is needed to build, run or test.

default:
    @just --list

# Everything that a landing must pass
ci:
    bash .ci/run

# The local proxy, the same as production
dev *args:
    cargo run --release -- dev {{args}}

# All tests, as the README says
test *args:
    cargo test --workspace --locked {{args}}

# The tests of a bundle, again at every change
policies dir="policies":
    cargo run -- test {{dir}} --watch

lint:
    bash .ci/lint

# Side by side with rivals, interleaved, in one run
bench *args:
    cargo run --release -p benches -- {{args}}

# Micro benchmarks of the core
bench-core:
    cargo bench -p benches

# The audit trail over 200,000 and 2 million entries: questions, lag, cost of the index; fails where one is too slow
audit-scale *args:
    cargo bench -p benches --bench audit -- {{args}}

# kill -9 under load, full size: no acknowledged entry may be lost
kills count="10000":
    PALISADE_KILLS={{count}} cargo test --release -p tests --test e2e -- --nocapture survives_sigkill

# Reloads under load, full size: no request fails, no decision mixes two bundles, memory stays flat
reloads count="10000":
    PALISADE_RELOADS={{count}} cargo test --release -p tests --test e2e -- --nocapture reload::storm

# From a save to its effect in `palisade dev`, by policies and by contracts
save-to-effect count="20":
    PALISADE_SAVES={{count}} cargo test --release -p tests --test e2e -- --nocapture reload::dev::a_save_takes_effect

# Known vulnerabilities; needs the advisory database
advisories:
    cargo deny check advisories

# Write the checked-in examples and golden files anew
bless:
    PALISADE_BLESS=1 cargo test --workspace --locked
