#!/bin/sh
# Installs the peers that the interop runner talks to. Safe to run again.
# Debian: prosody, ejabberd, libstrophe; PyPI: slixmpp; npm: xmpp.js.
# Everything that is not a Debian package goes under target/interop.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out="$here/../../target/interop"
mkdir -p "$out"
out=$(cd "$out" && pwd)

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian's packages start their daemons when they are installed; the runner starts its own instead.
policy=/usr/sbin/policy-rc.d
put_policy() {
    [ -e "$policy" ] && return
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    trap 'as_root rm -f "$policy"' EXIT
}

packages="prosody lua5.4 ejabberd libstrophe-dev gcc libc6-dev pkg-config python3 python3-venv"
command -v npm >/dev/null || packages="$packages nodejs npm"
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    put_policy
    as_root apt-get update -q
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi

[ -x "$out/venv/bin/python" ] || python3 -m venv "$out/venv"
"$out/venv/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt"

mkdir -p "$out/xmpp_js"
if ! cmp -s "$here/package-lock.json" "$out/xmpp_js/package-lock.json" || [ ! -d "$out/xmpp_js/node_modules" ]; then
    cp "$here/package.json" "$here/package-lock.json" "$out/xmpp_js/"
    (cd "$out/xmpp_js" && npm ci --no-audit --no-fund --loglevel=error)
fi

# shellcheck disable=SC2046
gcc -O1 -Wall -Wextra -o "$out/libstrophe_driver" "$here/libstrophe_driver.c" \
    $(pkg-config --cflags --libs libstrophe)
