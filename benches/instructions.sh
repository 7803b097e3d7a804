#!/usr/bin/env bash
# Instructions for one operation, which no other load on the machine changes. Needs valgrind.
set -euo pipefail
cd "$(dirname "$0")"
command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
export CARGO_TARGET_DIR=../target/benches
cargo build --release --quiet
for operation in ring send send-and-ack two-rings session session-every-1 receive-and-handle answer parse-ack \
    map-get lookup map-insert-and-remove register-and-remove-first register-and-remove-second; do
    out=$CARGO_TARGET_DIR/callgrind.$operation
    valgrind --tool=callgrind --callgrind-out-file="$out" --collect-atstart=no --toggle-collect='*measured*' \
        "$CARGO_TARGET_DIR/release/instructions" "$operation" 2>"$out.log" || { cat "$out.log"; exit 1; }
    awk -v operation="$operation" '/^summary:/ { printf "%-20s %7.1f instructions\n", operation, $2 / 10000 }' "$out"
done
