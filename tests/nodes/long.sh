#!/bin/sh
# Tries so many long random schedules (default: 1000000) of up to 400 steps each, from the seed PROOF_SEED on.
#
#   tests/nodes/long.sh [schedules]
set -eu
cd "$(dirname "$0")/../.."
schedules=${1:-1000000}
set -- cargo test --release --locked --manifest-path tests/nodes/long/Cargo.toml --target-dir target/long-nodes long_random --
# Without one of that name all would be well.
"$@" --list | grep ': test$' || { echo 'there is no such test' >&2; exit 1; }
PROOF_CASES=$schedules exec "$@" --nocapture
