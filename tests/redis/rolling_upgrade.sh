#!/usr/bin/env bash
# A server of an earlier commit beside the present one, on one store, as in a rolling upgrade: clients go back and forth between
# them, and each is stopped in good order and started again, in turn. The present one writes what the other can read.
#
# Unless asked for, none is killed or cut off from Redis: the earlier one may not stop after that. No resource is bound anew,
# and no client logs in inline: the earlier one loses or keeps back some mail then, by faults that are mended since.
#
#   tests/redis/rolling_upgrade.sh [COMMIT [OPTIONS of the example `nodes`, in place of those below]]
set -euo pipefail
cd "$(dirname "$0")/../.."

# The last that knows version 1 of the snapshots alone. Before 05b9a77 a client that logs in inline while the Redis is away
# gets a new session, and leaves its own behind.
commit=${1:-d7bed0d}
shift || true
[ $# -gt 0 ] || set -- --pairs 2 --messages 2500 --every 1000 --disturb cut,stop

git rev-parse --quiet --verify "$commit^{commit}" >/dev/null || {
    echo "commit $commit is not in this clone: git fetch --unshallow" >&2
    exit 1
}
tree=target/upgrade/tree
server=target/upgrade/server-$commit
if [ ! -x "$server" ]; then
    rm -rf "$tree"
    mkdir -p "$tree"
    git archive "$commit" | tar -x -m -C "$tree"
    # By another name it is another package to cargo, and shares all that the two depend on.
    sed -i -E 's/^( *|name = )"xmpp-sm"/\1"xmpp-sm-earlier"/; s/^xmpp-sm = \{/& package = "xmpp-sm-earlier",/' \
        "$tree/Cargo.toml" "$tree/Cargo.lock"
    printf '\n[lib]\nname = "xmpp_sm"\n' >> "$tree/Cargo.toml"
    cargo build --quiet --locked --manifest-path "$tree/Cargo.toml" --target-dir target --example server
    cp target/debug/examples/server "$server"
fi
cargo build --quiet --locked --example server
cargo run --quiet --locked --example nodes -- --other-server "$server" --server-option=--snapshot-version=1 "$@"
