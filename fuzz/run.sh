#!/bin/sh
# Feeds a target, or all of them in turn, with inputs for so many seconds each (default: 30), and prints how many
# there were. It starts from `corpus` and leaves that as it is; `keep.sh` takes over what was found beside it.
#
#   fuzz/run.sh [target|all] [seconds]
set -eu
cd "$(dirname "$0")"
targets=${1:-all} seconds=${2:-30}
[ "$targets" != all ] || targets='parse bytes stamp write receive operations session snapshot'

# No sanitizer: there is no `unsafe` to watch, and without one any toolchain will do.
cargo fetch --locked
cargo fuzz build --fuzz-dir . --sanitizer none
failed='' all=0
for target in $targets; do
    mkdir -p "target/found/$target"
    log=target/$target.log
    if ! cargo fuzz run --fuzz-dir . --sanitizer none "$target" "target/found/$target" "corpus/$target" -- \
        -dict=words.dict -max_len=1024 -timeout=60 -print_final_stats=1 -max_total_time="$seconds" > "$log" 2>&1; then
        # Without libFuzzer's own progress.
        grep -av -e '^#[0-9]' -e '^INFO' -e NEW_FUNC "$log" | head -n 60
        echo "$target: FAILED, see fuzz/$log"
        failed="$failed $target"
        continue
    fi
    stat() { sed -n "s/^stat::$1: *//p" "$log"; }
    inputs=$(stat number_of_executed_units)
    all=$((all + inputs))
    echo "$target: $inputs inputs, $(stat average_exec_per_sec) a second, $(stat new_units_added) of them new"
done
[ -z "$failed" ] || exit 1
echo "in all: $all inputs"
