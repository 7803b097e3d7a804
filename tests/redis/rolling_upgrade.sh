#!/usr/bin/env bash
# A server of an earlier commit beside the present one, on one store: clients go back and forth between them, while both are
# stopped, killed and cut off from Redis. The present one writes what the other can read.
#
#   tests/redis/rolling_upgrade.sh [COMMIT [OPTIONS of the example `nodes`]]
set -euo pipefail
cd "$(dirname "$0")/../.."

# The first that keeps sessions in Redis as they are kept now.
commit=${1:-211d1d1}
shift || true

git rev-parse --quiet --verify "$commit^{commit}" >/dev/null || {
    echo "commit $commit is not in this clone: git fetch --unshallow" >&2
    exit 1
}
tree=target/upgrade/tree
server=target/upgrade/server-$commit
if [ ! -x "$server" ]; then
    rm -rf "$tree"
    mkdir -p "$tree"
    git archive "$commit" | tar -x -C "$tree"
    # With what is built already of the dependencies.
    cargo build --quiet --locked --manifest-path "$tree/Cargo.toml" --target-dir "${CARGO_TARGET_DIR:-target}" --example server
    cp "${CARGO_TARGET_DIR:-target}/debug/examples/server" "$server"
    # What was built last is what lies there.
    touch examples/server/main.rs
fi
cargo build --quiet --locked --example server
cargo run --quiet --locked --example nodes -- --other-server "$server" --server-option=--snapshot-version=1 \
    --pairs 2 --messages 1500 "$@"
