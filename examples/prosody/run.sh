#!/usr/bin/env bash
# Prosody on loopback, with xmpp-sm in the place of its stream management.
#
#   examples/prosody/run.sh PORT DATADIR [NAME:PASSWORD...]
#
# It stops on SIGTERM. What it keeps is in DATADIR: started again, it goes on with the sessions that it had.
#   SMACKS=stock     Prosody's own stream management, to compare; SMACKS=none: neither
#   PROSODY_CONFIG   more lines for its configuration: 'smacks_hibernation_time = 60'
#   PROSODY_MODULES  more of its own modules: 'websocket'
#   PROSODY_MODULE   one more module: the path of its file
#   PROSODY_WITH     a program, with its arguments, that runs the interpreter: valgrind
#   PROSODY_LOG      how much it tells on standard output: debug, info (the default), warn, error
set -euo pipefail

fail() {
    echo "$0: $1" >&2
    exit 1
}

[ $# -ge 2 ] || fail 'PORT DATADIR [NAME:PASSWORD...]'
here=$(realpath "$(dirname "$0")")
port=$1
data=$(realpath -m "$2")
shift 2
[[ $port =~ ^[0-9]+$ ]] || fail "$port is no port"
! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is taken: Debian's package starts a Prosody on 5222"
for user in "$@"; do
    [[ $user =~ ^[a-z0-9._-]+:[^\"\\]+$ ]] || fail "$user: NAME:PASSWORD, without quotes and backslashes"
done
command -v prosody >/dev/null || fail 'prosody is missing: apt-get install prosody'
command -v lua5.4 >/dev/null || fail 'Lua 5.4, on which Prosody has to run, is missing: apt-get install lua5.4'

smacks='"smacks";' plugins= native=
case ${SMACKS-ours} in
    ours)
        command -v cargo >/dev/null || fail 'cargo is missing: https://rustup.rs'
        cargo build --quiet --release --locked --manifest-path "$here/Cargo.toml" || fail 'the module does not build'
        native=$(realpath "${CARGO_TARGET_DIR-$here/target}/release/libsm_native.so")
        plugins="\"$here\""
        ;;
    stock) ;;
    none) smacks= ;;
    *) fail "SMACKS=$SMACKS: ours, stock or none" ;;
esac

modules=$smacks
for module in ${PROSODY_MODULES-}; do
    modules="$modules \"$module\";"
done
if [ -n "${PROSODY_MODULE-}" ]; then
    module=$(basename "$PROSODY_MODULE" .lua)
    modules="$modules \"${module#mod_}\";"
    plugins="$plugins; \"$(realpath "$(dirname "$PROSODY_MODULE")")\""
fi

umask 077
mkdir -p "$data/localhost/accounts" "$data/certs"
for user in "$@"; do
    printf 'return { ["password"] = "%s"; };\n' "${user#*:}" > "$data/localhost/accounts/${user%%:*}.dat"
done
cat > "$data/prosody.cfg.lua" <<END
run_as_root = true
data_path = "$data"
pidfile = "$data/prosody.pid"
plugin_paths = { ${plugins#; } }
interfaces = { "127.0.0.1" }
c2s_ports = { $port }
modules_enabled = { "roster"; "saslauth"; "disco"; "ping"; "private"; "offline"; "carbons"; "csi"; "csi_simple"; $modules }
modules_disabled = { "s2s"; "tls" }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"
storage = "internal"
smacks_native = "$native"
log = { ${PROSODY_LOG-info} = "*console" }
${PROSODY_CONFIG-}
VirtualHost "localhost"
END
# shellcheck disable=SC2086
exec ${PROSODY_WITH-} lua5.4 "$(command -v prosody)" --config "$data/prosody.cfg.lua" -F
