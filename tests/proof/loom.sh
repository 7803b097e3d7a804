#!/bin/sh
# Every interleaving of calls of the store and of the tasks that take a session over, with loom: some ten minutes.
#
#   tests/proof/loom.sh [test]
set -eu
cd "$(dirname "$0")/../.."
exec cargo test --release --locked --manifest-path tests/proof/loom/Cargo.toml --target-dir target/loom "$@" -- --nocapture
