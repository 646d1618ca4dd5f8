#!/bin/sh
# Boots real systems, in systemd-nspawn and in qemu, and looks whether mappings are there after it. As root, on amd64; on Debian or
# Ubuntu it installs what it needs. Arguments are those of `go test`: -run Nspawn is the quick half.
#
#   PORTMAP_BOOT_DEBS="old.deb new.deb"    these packages instead of newly built ones
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin
GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"
export PATH GOFLAGS

die() {
    for line in "$@"; do echo "$line" >&2; done
    exit 1
}
[ "$(id -u)" = 0 ] || die 'test-boot: needs root' '  sudo make test-boot'
[ "$(uname -m)" = x86_64 ] || die 'test-boot: the guests are made for amd64'

missing=''
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need mmdebstrap mmdebstrap
need qemu-system-x86_64 qemu-system-x86
need mke2fs e2fsprogs
need make make
need unshare util-linux
need setpriv util-linux
if [ -n "$missing" ] && command -v apt-get >/dev/null 2>&1; then
    echo "test-boot: installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # package names are words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null </dev/null
elif [ -n "$missing" ]; then
    die "test-boot: missing:$missing"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
if [ -z "${PORTMAP_BOOT_DEBS:-}" ]; then
    for version in 0.0.1 0.0.2; do
        make -s packages VERSION=$version DIST="$folder/$version"
        PORTMAP_BOOT_DEBS="${PORTMAP_BOOT_DEBS:-} $(echo "$folder/$version"/*.deb)"
    done
fi
echo 'test-boot: the image'
PORTMAP_BOOT_IMAGE=$(integration/boot/image.sh)
export PORTMAP_BOOT_DEBS PORTMAP_BOOT_IMAGE
go test -tags boot -count=1 -timeout 20m -v "$@" ./integration/boot
