#!/bin/sh
# Every interleaving of calls of the store and of the tasks that take a session over, with loom: some hours.
#
#   tests/proof/loom.sh [test...]
#
# With LOOM_SAMPLE=n only every n-th of the many sets of calls is tested, from one on that hangs on the commit: the same
# commit gets the same ones.
set -eu
cd "$(dirname "$0")/../.."
run() { cargo test --release --locked --manifest-path tests/proof/loom/Cargo.toml --target-dir target/loom -- "$@"; }
for test in "${@:-}"; do
    # Without one of that name all would be well.
    run --list "$test" | grep ': test$' || { echo "there is no test $test" >&2; exit 1; }
done
if [ -n "${LOOM_SAMPLE-}" ]; then
    LOOM_FROM=$((0x$(git rev-parse --short=7 HEAD) % LOOM_SAMPLE))
    export LOOM_FROM
fi
run --nocapture "$@"
