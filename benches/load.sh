#!/usr/bin/env bash
# Messages per second and CPU per message of the example server, with stream management and without it; or, with
# valgrind, its instructions per message. The feature `tracing` is compiled in, and nobody listens.
# Usage: benches/load.sh [time [ROUNDS [MESSAGES]] | instructions]
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x target/release/examples/server ] || echo "the first build takes some minutes" >&2
nice cargo build --release --quiet --features tracing --example server
nice cargo build --release --quiet --manifest-path benches/Cargo.toml --target-dir target/benches --bin load
exec target/benches/release/load target/release/examples/server "$@"
