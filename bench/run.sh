#!/bin/bash
# Speed of portmap beside nft and iptables, in the same run, in network namespaces of its own. Prints medians and ratios;
# machines are noisy, so only the ratios mean anything. Needs root, nft, iptables and python3. About two minutes.
#
#   bench/run.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
make -s build
rounds=${1:-31}
apart() { unshare --net --mount --fork --kill-child python3 "$@"; }
apart bench/run.py "$PWD/bin/portmap" "$rounds"
for variant in nft legacy; do
    apart bench/iptables.py "$PWD/bin/portmap" "$rounds" "$variant"
done
