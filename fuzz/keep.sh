#!/bin/sh
# Takes over into `corpus` what `run.sh` has found beside it, and leaves there the fewest inputs that reach all that
# is reached.
#
#   fuzz/keep.sh [target...]
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- parse bytes stamp write receive operations session snapshot
for target; do
    mkdir -p "corpus/$target" "target/found/$target"
    rm -rf "target/kept/$target"
    mkdir -p "target/kept/$target"
    cargo fuzz run --fuzz-dir . --sanitizer none "$target" "target/kept/$target" "corpus/$target" "target/found/$target" -- \
        -set_cover_merge=1 -use_counters=0 > "target/$target.log" 2>&1
    rm -rf "corpus/$target" "target/found/$target"
    mv "target/kept/$target" "corpus/$target"
    echo "$target: $(ls "corpus/$target" | wc -l) inputs, $(du -bs "corpus/$target" | cut -f1) bytes"
done
