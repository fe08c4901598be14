# Recipes of the workspace. Without just on the machine: scripts/just RECIPE fetches it first.

set positional-arguments

DATA := justfile_directory() / "testdata"
OUT := justfile_directory() / "target/pipeline"
PRESET := "tiny"
FLOWS := "1000"
SEED := "1"

# list the recipes
default:
    @"{{just_executable()}}" --list

# captures to generated captures: just pipeline DATA=capture-or-folder [OUT=folder] [PRESET=tiny] [FLOWS=1000] [SEED=1] [MINUTES=n] [TRACE=1]
[no-cd]
pipeline *ARGS:
    @"{{justfile_directory()}}/scripts/pipeline" DATA={{quote(DATA)}} OUT={{quote(OUT)}} PRESET={{quote(PRESET)}} FLOWS={{quote(FLOWS)}} SEED={{quote(SEED)}} "$@"

# a capture from the model that comes with the project: just generate [OUT=generated.pcap] [FLOWS=1000] [SEED=1] [--force] [--server-port 443 ...]
[no-cd]
generate *ARGS:
    @"{{justfile_directory()}}/scripts/generate" "$@"

# everything that is checked: format, lints, what is built in, the CUDA kernels compiled, all tests
test: lint deny compile-cuda test-all test-tools (fuzz "60" "--seed" "1")

# rustfmt and clippy, warnings are errors
lint:
    cargo fmt --all --check
    scripts/with-libtorch cargo clippy --workspace --all-targets -- -D warnings

# licences, sources, bans and advisories of what is built in, by deny.toml
deny:
    scripts/check/deny

# a bill of materials of the programs, as CycloneDX
sbom OUT="target/sbom.cdx.json":
    mkdir -p "$(dirname "$1")"
    scripts/release/inventory sbom > "$1"

# release programs with checksums, licences and bill of materials; --twice FOLDER shows that they come out the same
dist *ARGS="target/dist":
    scripts/release/dist "$@"

# all Rust tests, with libtorch found or fetched by scripts/fetch/libtorch; without it, plain `cargo test` tests the rest
test-all:
    scripts/with-libtorch cargo test --workspace

# other people's tools on what we write: tshark, pyarrow, DuckDB, Polars
test-tools:
    scripts/check/tools

# build the binaries, optimised
build:
    scripts/programs release

# the Python package as a wheel, which holds tcp-encode, tcp-decode and tcp-eval too
wheel *ARGS="target/wheels":
    scripts/release/wheel "$@"

# the Python package with torch: just test-python, with PYTHON and PYTHONPATH as scripts/check/python says
test-python *ARGS:
    scripts/check/python "$@"

# write docs/tokens.md from the table of token ids
docs-tokens:
    cargo run -q -p tokenizer --example tokens_doc > target/tokens.md && mv target/tokens.md docs/tokens.md

# write docs/skeleton.md from the table of token ids of skeletons
docs-skeleton:
    cargo run -q -p tokenizer --example skeleton_doc > target/skeleton.md && mv target/skeleton.md docs/skeleton.md

# our conversations against tshark's, over folders of captures
conversations *FOLDERS="testdata":
    cargo build --release --quiet -p tcp-encode
    scripts/check/conversations "$@"

# what the programs give for a folder of inputs, against what is expected
cases *ARGS:
    cargo build --release --quiet -p tcp-encode -p tcp-decode -p tcp-eval
    scripts/check/cases "$@"

# a capture of 1.1 GB and 2.4 million packets, made of real ones
bench-data OUT="target/bench/big.pcap":
    cargo build --release --quiet -p tcpwire --example bench-data
    mkdir -p "$(dirname "$1")"
    target/release/examples/bench-data "$1" 1100000000 2400000 testdata/[!c]*.pcap testdata/*.pcapng testdata/*.gz

# tcp-encode on that capture next to tcpdump, tshark and cat: seconds, memory, ratios
bench-encode *ARGS:
    scripts/bench/encode "$@"

# parts of tcp-encode with one and two workers, and what Ray and Dask cost for each part
bench-parts *ARGS:
    cargo build --release --quiet -p tcp-encode
    BIN=target/release scripts/bench/parts "$@"

# the inner loops by criterion: reader, dissector, tracker
bench-inner:
    cargo bench -p tcpwire --bench frames
    cargo bench -p flowtrack --bench tracker

# tests of the crates without unsafe code under miri, on a nightly compiler
miri *CRATES:
    scripts/check/miri "$@"

# the heap of each program over a short and a long run, by heaptrack: a table of docs/reliability.md
heap *ARGS:
    scripts/bench/heap "$@"

# each fuzz target for so many seconds, on a nightly compiler: just fuzz 600 [--seed N] [TARGET...]
fuzz SECONDS="60" *ARGS:
    scripts/check/fuzz "$@"

# training by the original's recipe and by ours: what vocabulary, tokens per packet, packing and kernel each give
bench-train *ARGS:
    scripts/bench/train "$@"

# generation by the original's way and by ours, in one run
bench-generate *ARGS:
    scripts/bench/generate "$@"

# arrowio and tcp-decode next to pyarrow on the same table: processor time, memory, ratios
bench-datasets *ARGS:
    PYTHONPATH="${XDG_CACHE_HOME:-$HOME/.cache}/tcp-flows/python-2" scripts/bench/datasets "$@"

# the fused attention next to fast-transformers and to ATen operations: milliseconds, ratios, share of the peak
bench-attention *ARGS:
    scripts/bench/attention "$@"

# tasks of analysis: baselines and read-outs of models, from captures to docs/benchmark.md and target/benchmark/benchmark.html
benchmark *ARGS:
    scripts/bench/benchmark "$@"

# which parts of the model earn their place: rows of docs/results.md
ablations *ARGS:
    scripts/bench/ablations "$@"

# the reference model and its baselines, from captures to docs/results.md: just results MINUTES=60 PRESET=small FLOWS=2000
results *ARGS:
    scripts/docs/results "$@"

# compile the CUDA kernels for sm_80 and sm_90; nvcc is found or fetched by scripts/fetch/nvcc, no GPU is needed
compile-cuda:
    scripts/check/cuda compile
    scripts/check/kernels

# the CUDA kernels on a machine with a GPU: build, test, measure
check-cuda:
    scripts/check/cuda
