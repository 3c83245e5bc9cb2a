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

# A storm of retries over real Envoys: nothing, retry budgets, adaptive_concurrency and ours, three times in turn; `--quick`, `--full`, `--scenario NAME`
storm *args:
    cargo run -p benches --bin storm -- {{args}}

# Micro benchmarks of the core; a word chooses the cases that contain it
bench-core *words:
    cargo bench -p benches --bench core -- {{words}}

# Decisions by index beside plain Cedar at 10 to 10,000 policies: warm, cold, declared and brought callers
bench-policies *args:
    cargo bench -p benches --bench policies -- {{args}}

# What a token costs, verified for the first time and known already
bench-identity *args:
    cargo bench -p palisade-identity --bench identity -- {{args}}

# The ledger beside bare group commit, and its processor time; `durable` or `buffered` alone, and a directory on the disk that matters
bench-ledger *args:
    cargo bench -p benches --bench ledger -- {{args}}

# The audit trail over 200,000 and 2 million entries: questions, lag, cost of the index; fails where one is too slow
audit-scale *args:
    cargo bench -p benches --bench audit -- {{args}}

# kill -9 under load, full size: no acknowledged entry may be lost
kills count="10000":
    PALISADE_KILLS={{count}} cargo test --release --workspace --test e2e -- --nocapture kills::

# Half an hour of mixed calls: memory stays flat, every call is recorded
soak seconds="1800":
    PALISADE_SOAK_S={{seconds}} cargo test --release --workspace --test e2e -- --nocapture soak::

# Refusals by the filter while the server is killed again and again, full size: each is stored once, or counted as lost
reports count="200000" kills="20":
    PALISADE_REPORTS={{count}} PALISADE_REPORT_KILLS={{kills}} cargo test --release -p tests --test e2e -- --nocapture reports::

# Calls cancelled at random moments, full size: no allow without its entry, no decision without one
cancels count="100000":
    PALISADE_CANCELS={{count}} cargo test --release -p palisade --lib -- --nocapture calls_that_are_cancelled

# Floods of cheap HTTP/2 frames on the server's port, so many seconds each, full size: bounded memory, and others hardly notice
floods seconds="60":
    PALISADE_FLOODS_S={{seconds}} cargo test --release --workspace --test e2e -- --nocapture floods::

# Reloads under load, full size: no request fails, no decision mixes two bundles, memory stays flat
reloads count="10000":
    PALISADE_RELOADS={{count}} cargo test --release --workspace --test e2e -- --nocapture reload::storm

# From a save to its effect in `palisade dev`, by policies and by contracts
save-to-effect count="20":
    PALISADE_SAVES={{count}} cargo test --release --workspace --test e2e -- --nocapture reload::dev::a_save_takes_effect

# Check a bundle of so many policies and a tenth as many operations, full size: how long it takes
scale policies="10000":
    PALISADE_SCALE={{policies}} cargo test --release --workspace --test e2e -- --nocapture scale::

# Read contracts that are not checked in, each file below DIRECTORY: how long it takes, and what is wrong with them
contracts directory:
    PALISADE_CONTRACTS={{absolute_path(directory)}} cargo test --release -p palisade --lib public_contracts -- --ignored --nocapture

# Power lost in the middle of every operation of the ledger, and every operation failing, full size: so many ways each to lose what was not synced
power-cuts seeds="500":
    PALISADE_POWER_CUTS={{seeds}} cargo test --release -p palisade-ledger -- --nocapture faults::

# Random edits of a ledger, full size: each is found and its entry named
ledger-edits edits="100000" entries="100000":
    PALISADE_EDITS={{edits}} PALISADE_EDITED_ENTRIES={{entries}} cargo test --release -p palisade-ledger -- --nocapture random_edits

# How long a start takes after a crash with so many entries, full size
ledger-recovery entries="2000000":
    PALISADE_RECOVERY_ENTRIES={{entries}} cargo test --release -p palisade-ledger -- --nocapture a_start_reads

# Every system call that the ledger makes fails in turn on the real binary, full size
ledger-faults places="60":
    PALISADE_FAULTS={{places}} cargo test --release --workspace --test e2e -- --nocapture ledger_faults

# Recorded decisions made again from their entries, full size: every one comes out as it was
replays count="1000000":
    PALISADE_REPLAYS={{count}} cargo test --release -p palisade --lib -- --nocapture replay::tests::what_was_decided

# Random rows of callbacks on the compiled filter, with a host that fails and lies, full size: no trap, and nothing refused goes on
module-fuzz runs="100000" seed="1":
    PALISADE_MODULE_RUNS={{runs}} PALISADE_MODULE_SEED={{seed}} cargo test --release -p tests --test e2e -- --nocapture module::rows

# libFuzzer on every target of the core, so many seconds each; needs `rustup toolchain install nightly` and cargo-fuzz 0.13.2
fuzz seconds="600":
    bash .ci/fuzz {{seconds}}

# Whatever our JSON reader accepts, Python and Node read as the same value, full size
json-readers documents="1000000" seed="1":
    PALISADE_JSON_DOCUMENTS={{documents}} PALISADE_JSON_SEED={{seed}} cargo test --release -p tests --test e2e -- --nocapture json_readers::

# Random bodies in random frames, chunks and padding, with another body filter behind ours, full size: equal hashes at both ends
bodies count="10000" seed="5":
    PALISADE_BODIES={{count}} PALISADE_BODIES_SEED={{seed}} cargo test --release --workspace --test e2e -- --nocapture bodies::hashes

# Random schemas and documents beside the jsonschema crate, full size: both say the same
schema-oracle documents="1000000" seed="5":
    PALISADE_ORACLE_DOCUMENTS={{documents}} PALISADE_ORACLE_SEED={{seed}} cargo test -p palisade --lib -- --nocapture oracle::

# The official suite of JSON Schema, whose directory of draft 2020-12 is given: right, otherwise, refused by name
schema-suite directory:
    PALISADE_SCHEMA_SUITE={{absolute_path(directory)}} cargo test -p palisade --lib -- --ignored --nocapture suite::

# The index of policies beside Cedar's evaluation of all of them, full size: so many policy sets, each with 100 requests
index-equals sets="100000" seed="20261122":
    PALISADE_INDEX_SETS={{sets}} PALISADE_INDEX_SEED={{seed}} cargo test --release -p palisade-policy-index -- --nocapture equals::

# Cedar's published integration tests, whose repository is given, its corpus unpacked: the index, Cedar and they agree
cedar-tests directory:
    PALISADE_CEDAR_TESTS={{absolute_path(directory)}} cargo test --release -p palisade-policy-index -- --ignored --nocapture published::

# Known vulnerabilities; needs the advisory database
advisories:
    cargo deny check advisories

# Write the checked-in examples and golden files anew
bless:
    PALISADE_BLESS=1 cargo test --workspace --locked
