#!/bin/bash
# Builds the packages into dist/: packaging/build.sh VERSION [deb|rpm|apk|archlinux...]. Needs Go; nfpm comes through the Go module
# proxy.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/local/go/bin
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.1

VERSION=$(packaging/version.sh "$1")
GOARCH=${GOARCH:-$(go env GOARCH)}
ARCH=$GOARCH # that of the package
export VERSION GOARCH ARCH
here() { env GOARCH="$(go env GOHOSTARCH)" GOOS="$(go env GOHOSTOS)" "$@"; }
shift
[ $# -gt 0 ] || set -- deb rpm apk archlinux

stage=dist/stage
rm -rf "$stage"
mkdir -p "$stage"
packaging/compile.sh "$VERSION" "$stage/portmap"
tool=$stage/portmap
if [ "$GOARCH" != "$(go env GOHOSTARCH)" ]; then
    tool=$stage/host-portmap
    here go build -ldflags "-X main.version=$VERSION" -o "$tool" ./cmd/portmap
fi
"$tool" manual 8 | gzip -9n >"$stage/portmap.8.gz"
"$tool" manual 5 | gzip -9n >"$stage/portmap.conf.5.gz"
for shell in bash zsh fish; do "$tool" completion "$shell" >"$stage/portmap.$shell"; done
gzip -9n <CHANGELOG.md >"$stage/CHANGELOG.md.gz"
gzip -9n >"$stage/changelog.gz" <<END
portmap-nat ($VERSION) stable; urgency=medium

  * What changed is in CHANGELOG.md.gz.

 -- $(sed -n 's/^maintainer: //p' packaging/nfpm.yaml)  $(date -R -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
END
release=$VERSION
for packager in "$@"; do
    VERSION=$release
    case "$packager" in
    apk) # it knows a few words and numbers alone (apk-package(5))
        echo 'the .apk is not signed; it is installed with: apk add --allow-untrusted FILE'
        VERSION=$(sed -E 's/~(alpha|beta|pre|rc)[.]?([0-9]*)/_\1\2/; s/~git([0-9]+)[.]([0-9]+)[^+]*/_pre\1_p\2/; s/\+([0-9]*).*/_p\1/; s/$/-r0/' <<<"$release")
        ;;
    archlinux) VERSION=${release/\~/} ;; # letters after a number sort before it, a ~ after it (vercmp(8))
    esac
    here go run "$nfpm" package --config packaging/nfpm.yaml --packager "$packager" --target dist/
done
rm -rf "$stage"
