#!/bin/sh
# After an upgrade, where the package manager has a script of its own for it.
set -e
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    systemctl daemon-reload || true
    if systemctl --quiet is-active portmap-restore.service; then
        systemctl reload portmap-restore.service || true
    fi
    systemctl --quiet try-restart portmap-watch.service || true
fi
