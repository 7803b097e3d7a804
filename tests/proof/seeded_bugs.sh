#!/bin/sh
# Puts each bug of tests/proof/bugs (in the engine and the store), tests/proof_session/bugs (in Session) or tests/nodes/bugs
# (in what outlives a process, and in hosts) into a copy of the tree, and tells whether the explorer and the random
# schedules of that suite catch it, and how fast. Exits with 1 if one is missed by either (of nodes: by both), or if they
# find one where none was put in.
#
#   tests/proof/seeded_bugs.sh [proof|proof_session|nodes] [bug...]
#
# SEEDED_SAMPLE=n takes every n-th bug, from a place on that hangs on the commit.
set -u
cd "$(dirname "$0")/../.."
suite=proof
case ${1-} in proof | proof_session | nodes) suite=$1; shift ;; esac
work=$PWD/target/seeded-$suite
# What they depend on is built once for all suites.
build=$PWD/target/seeded-build
mkdir -p "$work"
missed=0
if [ $# = 0 ]; then
    sample=${SEEDED_SAMPLE:-1}
    place=$((0x$(git rev-parse --short=7 HEAD) % sample))
    set -- $(cd "tests/$suite/bugs" && ls | sed 's/\.patch$//' | awk "NR % $sample == $place % $sample")
fi
set -- none "$@"

run() {
    cargo test -q --release --locked --manifest-path "$work/tree/tests/$suite/long/Cargo.toml" --target-dir "$build" "$@"
}

for bug; do
    rm -rf "$work/tree"
    mkdir "$work/tree"
    git ls-files -z -- Cargo.toml Cargo.lock README.md src "tests/$suite" tests/support_proof | xargs -0 cp --parents -t "$work/tree"
    # Whatever cargo looks at must be newer than what it built for the last bug.
    if [ "$bug" != none ] && ! patch -s -F0 -d "$work/tree" -p1 < "tests/$suite/bugs/$bug.patch"; then
        printf '%-28s THE PATCH DOES NOT APPLY\n' "$bug"
        missed=1
        continue
    fi
    run --no-run > "$work/log" 2>&1 || { printf '%-28s DOES NOT COMPILE, see %s\n' "$bug" "$work/log"; missed=1; continue; }
    caught=0
    for by in every_short_schedule long_random; do
        PROOF_ALL_ENDS=1 PROOF_CASES=${PROOF_CASES:-3000} RUST_BACKTRACE=0 run $by -- --nocapture > "$work/$bug.$by.log" 2>&1
        code=$?
        how=$(sed -n 's/.*\(caught after.*\)/\1/p' "$work/$bug.$by.log" | head -1)
        grep -q '^running [1-9]' "$work/$bug.$by.log" || { how='NO SUCH TEST'; missed=1; }
        case $bug:$how in
            none:) [ $code = 0 ] && how='nothing to catch' || { how=FAILED; missed=1; } ;;
            none:*) missed=1 ;;
            *:) [ $suite = nodes ] || missed=1 ;;
            *) caught=1 ;;
        esac
        printf '%-28s %-21s %s\n' "$bug" "$by" "${how:-not caught}"
    done
    [ $suite != nodes ] || [ "$bug" = none ] || [ $caught = 1 ] || missed=1
done
exit $missed
