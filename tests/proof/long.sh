#!/bin/sh
# Tries so many long random schedules (default: 100000) of up to 3000 steps each.
#
#   tests/proof/long.sh [schedules]
set -eu
cd "$(dirname "$0")/../.."
PROOF_CASES=${1:-100000} exec cargo test --release --locked --manifest-path tests/proof/long/Cargo.toml --target-dir target/long \
    long_random -- --nocapture
