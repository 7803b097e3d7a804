#!/bin/sh
# Tries so many long random schedules (default: 100000) of up to 600 steps each, from the seed PROOF_SEED on.
#
#   tests/proof_session/long.sh [schedules]
set -eu
cd "$(dirname "$0")/../.."
schedules=${1:-100000}
set -- cargo test --release --locked --manifest-path tests/proof_session/long/Cargo.toml \
    --target-dir target/long-session long_random --
# Without one of that name all would be well.
"$@" --list | grep ': test$' || { echo 'there is no such test' >&2; exit 1; }
PROOF_CASES=$schedules exec "$@" --nocapture
