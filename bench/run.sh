#!/bin/bash
# Speed of portmap beside nft, in the same run, in a network namespace of its own. Prints medians and ratios; machines are
# noisy, so only the ratios mean anything. Needs root, nft and python3. About a minute.
#
#   bench/run.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
make -s build
exec unshare --net --mount --fork --kill-child python3 bench/run.py "$PWD/bin/portmap" "${1:-31}"
