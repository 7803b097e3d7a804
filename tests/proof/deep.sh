#!/bin/sh
# Explores every world as deep as so many minutes allow (default: 60), and prints states, schedules and depth.
# It needs about 100 bytes of memory for each state. PROOF_WORLD='title' explores one world alone.
#
#   tests/proof/deep.sh [minutes]
set -eu
cd "$(dirname "$0")/../.."
PROOF_MINUTES=${1:-60} exec cargo test --release --locked --manifest-path tests/proof/long/Cargo.toml --target-dir target/long \
    every_short_schedule -- --nocapture
