# Sourced by tools/demo and tools/test: from a fresh Debian with python3 to a venv with all that is pinned.
# CVMD_VENV names another place for the venv than .venv, PYTHON another interpreter than python3.
# shellcheck shell=bash
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV=${CVMD_VENV:-$PWD/.venv}
PYTHON=${PYTHON:-python3}
PATH=$PATH:/usr/sbin:/sbin  # where Debian keeps servers, and an ordinary user's PATH ends before it

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# need "PROBE" PACKAGE...: the packages are wanted where the command PROBE fails.
wanted=()
need() {
    eval "$1" >/dev/null 2>&1 || wanted+=("${@:2}")
}

# Installs what is wanted. No service starts: the tests run servers of their own.
install_wanted() {
    [ ${#wanted[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "missing: ${wanted[*]} (Debian's names); install them and come again"
    local as_root=() policy=/usr/sbin/policy-rc.d
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "missing: ${wanted[*]}; run as root: apt-get install ${wanted[*]}"
        as_root=(sudo)
    fi
    echo "installing ${wanted[*]}"
    (
        if [ ! -e "$policy" ]; then
            trap '"${as_root[@]}" rm -f "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
            "${as_root[@]}" chmod 755 "$policy"
        fi
        "${as_root[@]}" apt-get update -qq &&
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -qq --yes --no-install-recommends "${wanted[@]}" >/dev/null
    ) </dev/null || fail "apt-get could not install ${wanted[*]}; its own message is above"
    wanted=()
}

# pinned_venv DIRECTORY INTERPRETER: a venv with exactly the files that constraints-dev.txt names by hash.
pinned_venv() {
    local venv=$1 interpreter=$2 stamp
    stamp=$(sha256sum <constraints-dev.txt)
    "$venv/bin/python" -c '' 2>/dev/null || rm -f "$venv/pinned"
    [ "$(cat "$venv/pinned" 2>/dev/null)" != "$stamp" ] || return 0
    echo "installing the pinned Python packages into $venv"
    "$interpreter" -m venv "$venv" </dev/null || fail "$interpreter cannot make a venv in $venv"
    "$venv/bin/python" -m pip --quiet --disable-pip-version-check install \
        --require-hashes --requirement constraints-dev.txt </dev/null ||
        fail "pip could not install constraints-dev.txt into $venv; its own message is above"
    echo "$stamp" >"$venv/pinned"
}

# The venv to work in, with the checkout itself in it: its bin/ has cvmd and cvm-client.
set_up() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$PYTHON is no Python 3.11 or later; name one: PYTHON=python3.11 $0"
    need "'$PYTHON' -m ensurepip --version" python3-venv
    need "command -v openssl" openssl  # the independent judge of certificates, in the demo too
    install_wanted
    pinned_venv "$VENV" "$PYTHON"
    [ "$VENV/bin/cvm-client" -nt setup.py ] ||
        "$VENV/bin/python" -m pip --quiet --disable-pip-version-check install \
            --no-deps --no-build-isolation --editable . </dev/null ||
        fail "pip could not put the checkout into $VENV; its own message is above"
}
