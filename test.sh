#!/bin/sh
# Runs all tests: go vet, go test, and each fuzz target for a short while; with the race detector where several things run at
# once. As root on Debian or Ubuntu it installs what they need; elsewhere it says what is missing.
#
#   ./test.sh                                  everything
#   ./test.sh -run Oracle ./integration        go test alone, with these arguments; without a package in them, on all
#   ./test.sh fuzz                             the fuzz targets alone
#   FUZZ_SECONDS=60 ./test.sh                  each of them for that long (default 5; 0 for none)
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin
# Who checked the sources out may be another user than the one who tests them: git then refuses to tell Go of what it builds.
GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"
# Else each process with the race detector in it lasts a second longer than it runs.
GORACE="atexit_sleep_ms=0${GORACE:+ $GORACE}"
export PATH GOFLAGS GORACE

die() {
    for line in "$@"; do echo "$line" >&2; done
    exit 1
}

# need TOOL PACKAGE: what the tests use, and what Debian calls the package that has it.
missing=''
need() {
    command -v "$1" >/dev/null 2>&1 && return
    case "$missing " in *" $2 "*) ;; *) missing="$missing $2" ;; esac
}
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
need nsenter util-linux
need systemd-analyze systemd
need "${CC:-gcc}" gcc # the race detector is linked by it
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"

version=$(go env GOVERSION 2>/dev/null) || version=none
minor=${version#*go1.}
minor=${minor%%[!0-9]*}
if [ "${minor:-0}" -lt 24 ]; then
    echo "test.sh: missing: Go 1.24 or newer; here is $version. See https://go.dev/dl/" >&2
fi
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "test.sh: installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # package names are words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null </dev/null
elif [ -n "$missing" ]; then
    die "test.sh: missing:$missing" "  sudo apt-get install --no-install-recommends$missing"
fi
[ "${minor:-0}" -ge 24 ] || exit 1

if [ "$(id -u)" = 0 ]; then user=''; else user=-Ur; fi
# shellcheck disable=SC2086 # an option, or none
if ! unshare $user -n -m -p -f nft add table inet test 2>/dev/null; then
    die 'test.sh: the tests make networks of their own, which this user may not, or this kernel has no nf_tables' '  sudo ./test.sh'
fi

[ -z "$user" ] || echo 'test.sh: without root there is one user only: tests that need several are skipped' >&2

fuzz() {
    seconds=${FUZZ_SECONDS:-5}
    [ "$seconds" != 0 ] || return 0
    grep -roE '^func Fuzz[A-Za-z0-9]*' --include='*_test.go' . | sort | while IFS=: read -r file target; do
        fuzz_one "${target#func }" "$(dirname "$file")"
    done
}

# On a busy machine Go sometimes takes the end of the time for a failure ("context deadline exceeded") although no input failed.
fuzz_one() {
    said=$(go test -run '^$' -fuzz "^$1\$" -fuzztime "${seconds}s" "$2" 2>&1) && status=0 || status=$?
    echo "$said"
    case "$status $said" in
    0*) ;;
    *'Failing input'*) exit 1 ;;
    *'context deadline exceeded'*) echo "$1: the time was over, and no input failed" ;;
    *) exit 1 ;;
    esac
}

# integration runs in two halves beside all other packages: each waits for the kernel and for programs part of the time. It is
# without the race detector, which costs a third of the time, and does not see into the programs that it runs.
half='TestKernelDoesWhatTheOracleSays|TestSixtyThousandMappings|TestModel|TestKilledAtAnyMoment|TestFaultAtAnyCall'
half="^($half|TestDamagedBySomeoneElse|TestWatchMendsDamage|TestWatchPutsBackWhatIsFlushed|TestMovingUnderLoad|TestInvalidSegments.*|TestLongest.*|TestLiveMapping.*|TestCheck.*|TestTrace.*|TestForeign.*)\$"

# concurrent prints the folders of packages whose code does several things at once. In the others the race detector has nothing
# to see. A process with it takes several times as long, so the demonstration, which is many short processes, does without.
concurrent() {
    grep -rlE '\bgo (func|[a-zA-Z.]+)\(|\b(sync|atomic)\.' --include='*.go' --exclude='*_test.go' "$PWD" |
        xargs -n 1 dirname | grep -vE '/(integration|internal/(demo|fault|lab))' | sort -u
}

everything() {
    # process groups, which can be ended as a whole
    setsid go test -count=1 -timeout 30m -run "$half" ./integration &
    first=$!
    setsid go test -count=1 -timeout 30m -skip "$half" ./integration &
    second=$!
    trap 'kill -- "-$first" "-$second" 2>/dev/null || true' EXIT
    trap 'exit 1' INT TERM
    status=0
    race=$(concurrent)
    rest=$({ go list -f '{{.Dir}}' ./... | grep -v /integration && echo "$race"; } | sort | uniq -u)
    # shellcheck disable=SC2086 # folders are words
    go test -race -count=1 -timeout 30m -p 1 $race || status=$?
    # shellcheck disable=SC2086
    go test -count=1 -timeout 30m -p 1 $rest || status=$?
    wait "$first" || status=$?
    wait "$second" || status=$?
    trap - EXIT
    return "$status"
}

case "${1:-}" in
'')
    go vet ./...
    everything
    fuzz
    ;;
fuzz) fuzz ;;
*)
    packages=./...
    for argument in "$@"; do
        case "$argument" in . | ./* | portmap/*) packages='' ;; esac
    done
    exec go test -race -count=1 -timeout 30m "$@" ${packages:+"$packages"}
    ;;
esac
