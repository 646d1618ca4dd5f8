#!/bin/bash
# Compiles portmap for release, a static binary: packaging/compile.sh VERSION FILE. The variables of Go (GOARCH) are as always.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/local/go/bin

# Inlining costs 0.8 MB, most of it in the HTTP and TLS of the demonstration. What handles mappings one by one keeps it.
flags=(-gcflags=all=-l)
for hot in runtime portmap/rules portmap/nft portmap/internal/conf github.com/google; do
    flags+=("-gcflags=$hot/...=")
done
# Only the demonstration's server needs net/http's own; its HTTP/2 is another 0.5 MB. Where few things are ordered, sort.Slice takes
# the place of slices.SortFunc, of which each type makes a copy of 12 kB.
CGO_ENABLED=0 exec go build -tags nethttpomithttp2 -trimpath -buildvcs=false "${flags[@]}" -ldflags "-s -w -X main.version=$1" -o "$2" ./cmd/portmap
