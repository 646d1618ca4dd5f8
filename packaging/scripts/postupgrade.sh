#!/bin/sh
# After an upgrade, where the package manager has a script of its own for it.
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl --quiet is-active portmap-restore.service && systemctl reload portmap-restore.service || true
    systemctl --quiet try-restart portmap-watch.service || true
fi
