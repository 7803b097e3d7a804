#!/bin/sh
# Puts small bugs into src, one at a time (https://mutants.rs), and tells which of them no test sees. What tests them,
# and which are not tested and why, is in .cargo/mutants.toml. Exits with 1 if one is missed.
#
#   tests/proof/mutants.sh [option of cargo-mutants...]     all of src; `--iterate` goes on where a run was cut short
#   tests/proof/mutants.sh --since COMMIT                   what has changed in src since then
#
# MUTANTS_MAX bounds how many are tested, and MUTANTS_SECONDS how long. If there are more, every second, third, ... is
# tested, from a place on that hangs on the commit: the same commit gets the same ones. MUTANTS_MISSED_MAX says how many
# may be missed, none if it is not set.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
work=$root/target/mutants
out=$work/mutants.out
tree=$work/tree
: "${CARGO_TARGET_DIR:=$work/build}"
export CARGO_TARGET_DIR

# A copy, which an interrupted run may leave mutated. Always at the same place, so that cargo knows it again.
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z --deduplicate | xargs -0 cp --parents -t "$tree"
cd "$tree"

whole=yes
if [ "${1-}" = --since ]; then
    whole=no
    git -C "$root" diff "$2" -- src > "$work/change.diff"
    # The empty tree is no commit.
    commit=$(git -C "$root" log -1 --format='%h, %cd' "$2")
    printf 'mutants of what has changed in src since %s\n' "${commit:-the beginning}"
    shift 2
    set -- --in-diff "$work/change.diff" "$@"
    [ -s "$work/change.diff" ] || { echo 'mutants: nothing in src has changed'; exit 0; }
fi

number() { cargo mutants --list "$@" | grep -c . || true; }
if [ -n "${MUTANTS_MAX-}" ]; then
    all=$(number "$@")
    parts=$(((all + MUTANTS_MAX - 1) / MUTANTS_MAX))
    if [ "$parts" -gt 1 ]; then
        part=$((0x$(git -C "$root" rev-parse --short=7 HEAD) % parts))
        set -- --shard "$part/$parts" --sharding round-robin "$@"
        echo "of $all mutants, one in $parts is tested, beginning with number $part"
    fi
fi

# What an earlier run has left is not this one's.
case " $* " in *' --iterate '*) ;; *) rm -rf "$out" ;; esac
code=0
timeout --foreground -s INT "${MUTANTS_SECONDS:-1000000}" \
    cargo mutants --in-place --output "$work" "$@" || code=$?
case $code in
    0 | 2 | 3) ;;
    124) echo "cut short after $MUTANTS_SECONDS s" ;;
    *) exit "$code" ;;
esac

count() { cat "$out/$1.txt" 2>/dev/null | wc -l; }
# One that makes the tests run for ever is seen by that.
endless=$(count timeout)
caught=$(($(count caught) + $(count previously_caught) + endless))
missed=$(count missed)
printf 'mutants: %d tested, %d caught (%d of them by a time-out), %d missed; %d more do not compile' \
    $((caught + missed)) $caught "$endless" "$missed" "$(count unviable)"
if [ $whole = yes ]; then
    printf '; %d more stand in .cargo/mutants.toml, with the reason' $(($(number --no-config) - $(number)))
fi
echo
cat "$out/missed.txt" 2>/dev/null || true
[ "$missed" -le "${MUTANTS_MISSED_MAX:-0}" ] || exit 1
if [ $((caught + missed)) = 0 ] && [ "$(number "$@")" != 0 ]; then
    echo 'mutants: none was tested'
    exit 1
fi
