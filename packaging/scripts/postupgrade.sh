#!/bin/sh
# After an upgrade, where the package manager has a script of its own for it.
set -e

# chrooted: what is live belongs to a host that keeps its mappings.
chrooted() { [ "$(stat -L -c %d:%i /proc/1/root/ 2>/dev/null)" != "$(stat -L -c %d:%i /)" ]; }

if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    systemctl daemon-reload || true
    if systemctl --quiet is-active portmap-restore.service; then
        systemctl reload portmap-restore.service || true
    fi
    systemctl --quiet try-restart portmap-watch.service || true
elif [ -d /run/openrc ] && command -v rc-service >/dev/null 2>&1 && ! chrooted; then
    rc-service --quiet --ifstarted portmap-restore reload || true
    rc-service --quiet --ifstarted portmap-watch restart || true
fi
