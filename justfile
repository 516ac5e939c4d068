# What there is to do, `just` lists it.
default:
    @just --list

# The whole pipeline with demo traffic, on the terminal.
demo *arguments:
    cargo run -- up --demo {{arguments}}

# All tests.
test *arguments:
    ./test {{arguments}}

# What the gate runs.
ci:
    .ci/run

# Formats all code.
format:
    cargo fmt --all

# Lints all code, tests included.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Licences, advisories and duplicate versions of what must be one (needs cargo-deny).
deny:
    cargo deny check

# The lean programs, optimised, and their sizes.
release:
    cargo build --release -p weir-gateway -p weir-collector -p weir-tui
    ls -l target/release/weir-gateway target/release/weir-collector target/release/weir-tui

# Kills gateways in front of a collector that comes and goes, in the same way.
torture-spool rounds="400" seed="0":
    WEIR_SPOOL_ROUNDS={{rounds}} WEIR_SPOOL_SEED={{seed}} cargo test --test stories spool_kills -- --nocapture

# Kills collectors for as many rounds as one likes, beginning with this seed.
torture rounds="1000" seed="0":
    WEIR_TORTURE_ROUNDS={{rounds}} WEIR_TORTURE_SEED={{seed}} cargo test --test stories torture -- --nocapture

# What a collector takes on one core, from OTLP/gRPC to committed Parquet, and what a record costs it.
ingest seconds="10" *arguments:
    benches/ingest {{seconds}} {{arguments}}

# What a request costs Weir, nginx, HAProxy and Envoy, side by side.
gateway-bench *arguments:
    benches/gateway {{arguments}}

# What each step of a record's way through the collector costs.
steps *arguments:
    cargo run --release -p weir-benches --bin steps -- "$(mktemp -d)/steps" {{arguments}}

# Gives a parser of foreign bytes what it was not made for (needs cargo-fuzz and a nightly compiler).
fuzz target seconds="600":
    mkdir -p fuzz/corpus/{{target}}
    cd fuzz && cargo +nightly fuzz run {{target}} corpus/{{target}} seeds/{{target}} -- -max_total_time={{seconds}}
