#!/bin/sh
# Runs all tests. As root on Debian or Ubuntu it installs what they need; elsewhere it says what is missing.
#
#   ./test.sh                                  everything
#   ./test.sh -run Oracle ./integration        what `go test` would run with these arguments
#   FUZZ_SECONDS=30 ./test.sh                  each fuzz target for that long afterwards (default 5, 0 for none)
set -eu
cd "$(dirname "$0")"

# tool package ...: what the tests use, and which Debian package has it
missing=''
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin
export PATH
need nft nftables
need iptables iptables
need iptables-legacy-save iptables
need conntrack conntrack
need ip iproute2
need sysctl procps
need pgrep procps
need node nodejs
need curl curl
need unshare util-linux
need gcc gcc
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"

if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # package names are words
    set -- $missing -- "$@"
    packages=''
    while [ "$1" != -- ]; do
        case " $packages " in *" $1 "*) ;; *) packages="$packages $1" ;; esac
        shift
    done
    shift
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "test.sh: installing$packages"
        apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
    else
        echo "test.sh: missing:$packages" >&2
        echo "  sudo apt-get install --no-install-recommends$packages" >&2
        exit 1
    fi
fi
if ! command -v go >/dev/null 2>&1; then
    echo "test.sh: missing: Go 1.24 or newer (https://go.dev/dl/)" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then user=''; else user=-Ur; fi
if ! unshare ${user:+"$user"} -n true 2>/dev/null; then
    echo "test.sh: the tests make network namespaces, which this user may not" >&2
    echo "  sudo ./test.sh" >&2
    exit 1
fi

if [ $# -gt 0 ]; then
    exec go test -race -count=1 "$@"
fi
go vet ./...
go test -race -count=1 ./...

seconds=${FUZZ_SECONDS:-5}
[ "$seconds" != 0 ] || exit 0
for package in ./rules ./internal/conf; do
    for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz'); do
        go test -run '^$' -fuzz "^$target\$" -fuzztime "${seconds}s" "$package"
    done
done
