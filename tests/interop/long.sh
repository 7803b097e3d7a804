#!/bin/sh
# A thousand cuts for each peer, or for those named: some twenty minutes for all of them.
set -eu
cd "$(dirname "$0")/../.."
exec cargo test --test interop -- --cuts 1000 --scenario cuts "$@"
