#!/bin/sh
# After the files of the package are there. deb: configure [OLD-VERSION]; rpm: 1 for the first installation, 2 for an upgrade;
# others: the first installation. In a chroot nothing is running: what is enabled there works at its first boot.
set -e

upgrade=no
case "${1:-}" in
configure) [ -z "${2:-}" ] || upgrade=yes ;;
abort-*) exit 0 ;;
2) upgrade=yes ;;
esac

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if [ $upgrade = no ] && command -v systemctl >/dev/null 2>&1; then
    systemctl --quiet enable portmap-restore.service || true
elif [ $upgrade = no ] && command -v rc-update >/dev/null 2>&1; then
    rc-update --quiet add portmap-restore boot || true
fi
if [ -d /run/systemd/system ] && systemctl --quiet is-enabled portmap-restore.service; then
    # Mappings that are live stay so: apply changes only what differs.
    if systemctl --quiet is-active portmap-restore.service; then
        systemctl reload portmap-restore.service || true
    else
        systemctl start portmap-restore.service || true
    fi
    systemctl --quiet try-restart portmap-watch.service || true
fi
