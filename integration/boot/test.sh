#!/bin/bash
# Boots real systems, in systemd-nspawn and in qemu, and looks whether mappings are there after it. As root, on amd64; on Debian or
# Ubuntu it installs what it needs. Arguments are those of `go test`: -run Nspawn is the quick half.
#
#   PORTMAP_BOOT_PACKAGES="OLD NEW"    the packages in these folders instead of newly built ones
#   PORTMAP_BOOT_SKIP=PATTERN          leaves these tests out, as -skip of `go test` does
set -euo pipefail
script=$(readlink -f "$0")
cd "$(dirname "$0")/../.."
export PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"

cache=${XDG_CACHE_HOME:-$HOME/.cache}
pebble=v2.10.1 # an ACME server for tests, by the Go module proxy

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# sweep GROUP: waits until nobody is left who could write to its input, then removes the control group and those in it. They are
# the one thing here that no namespace takes with it, and the kernel refuses as long as a process is in them.
sweep() {
    cat
    umount -R -l /sys/fs/cgroup || true
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    for _ in {1..100}; do
        [ -d "/sys/fs/cgroup/$1" ] || return 0
        find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
    done
}

# boot ARGUMENT...: most guests wait most of the time, so there are more of them than processors.
boot() { go test -tags boot -count=1 -timeout 40m -parallel 3 -v "$@" ./integration/boot; }

# enclosed: the packages, the image and the tests. What is made here is made in memory, and ends with the namespaces.
enclosed() {
    mount -t tmpfs tmpfs /mnt
    export TMPDIR=/mnt
    if [ -z "${PORTMAP_BOOT_PACKAGES:-}" ]; then
        echo 'test-boot: the packages'
        mkdir -p dist /mnt/old /mnt/new
        mount -t tmpfs tmpfs dist # what was built there before is neither used nor lost
        make -s packages VERSION=0.0.1
        mv dist/portmap-nat* /mnt/old/
        make -s packages VERSION=0.0.2
        mv dist/portmap-nat* /mnt/new/
        PORTMAP_BOOT_PACKAGES='/mnt/old /mnt/new'
    fi
    echo 'test-boot: the images'
    PORTMAP_BOOT_BOOKWORM=$(integration/boot/image.sh bookworm)
    case "${PORTMAP_BOOT_SKIP:-}" in
    *Readme*Strict*) PORTMAP_BOOT_TRIXIE=$PORTMAP_BOOT_BOOKWORM ;; # nobody boots it
    *) PORTMAP_BOOT_TRIXIE=$(integration/boot/image.sh trixie) ;;
    esac
    PORTMAP_BOOT_CACHE=${PORTMAP_BOOT_BOOKWORM%/*}
    PORTMAP_BOOT_PEBBLE=$cache/portmap-tools/pebble-$pebble/pebble
    [ -x "$PORTMAP_BOOT_PEBBLE" ] ||
        GOBIN=${PORTMAP_BOOT_PEBBLE%/*} go install "github.com/letsencrypt/pebble/v2/cmd/pebble@$pebble"
    export PORTMAP_BOOT_PACKAGES PORTMAP_BOOT_BOOKWORM PORTMAP_BOOT_TRIXIE PORTMAP_BOOT_CACHE PORTMAP_BOOT_PEBBLE
    if [ $# -gt 0 ]; then
        boot "$@"
        return
    fi
    # A machine in qemu takes longest, and all of a processor: one at a time runs beside the other guests, and before them, since
    # they are done sooner.
    { renice -n -5 $BASHPID || true; boot -run Qemu -parallel 1; } >/mnt/qemu 2>&1 &
    boot -skip "Qemu${PORTMAP_BOOT_SKIP:+|$PORTMAP_BOOT_SKIP}"
    wait $! || { cat /mnt/qemu; return 1; }
    cat /mnt/qemu
}

if [ -n "${PORTMAP_BOOT_CGROUP:-}" ]; then
    enclosed "$@"
    exit
elif [ "${1:-}" = sweep ]; then
    sweep "$2"
    exit
fi

[ "$(id -u)" = 0 ] || die 'test-boot: needs root' '  sudo make test-boot'
[ "$(uname -m)" = x86_64 ] || die 'test-boot: the guests are made for amd64'
missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need mmdebstrap mmdebstrap
need qemu-system-x86_64 qemu-system-x86
need mke2fs e2fsprogs
need make make
need npm npm
need lintian lintian
need rpm rpm
need pacman pacman-package-manager
need ruby ruby
need unshare util-linux
need setsid util-linux
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring) # Ubuntu
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || die "test-boot: missing: ${missing[*]}"
    echo "test-boot: installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null </dev/null
fi

# Whoever kills this process, in whatever way, ends all that it started, but not the sweeper, which waits for just that: all others
# have the descriptor 8 open.
group=portmap-boot-$$
exec 8> >(exec setsid unshare --mount --propagation private "$BASH" "$script" sweep $group >/dev/null 2>&1)
export PORTMAP_BOOT_CGROUP=$group
exec unshare --mount --pid --fork --kill-child --mount-proc --propagation private "$BASH" "$script" "$@"
