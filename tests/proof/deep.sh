#!/bin/sh
# Explores every world as deep as so many minutes allow (default: 60), and prints states, schedules and depth.
# It needs about 100 bytes of memory for each state. PROOF_WORLD='title' explores one world alone.
#
#   tests/proof/deep.sh [minutes]
set -eu
cd "$(dirname "$0")/../.."
minutes=${1:-60}
set -- cargo test --release --locked --manifest-path tests/proof/long/Cargo.toml --target-dir target/long \
    every_short_schedule --
# Without one of that name all would be well.
"$@" --list | grep ': test$' || { echo 'there is no such test' >&2; exit 1; }
PROOF_MINUTES=$minutes exec "$@" --nocapture
