#!/bin/sh
# After the files of the package are gone. deb: remove, or purge, which takes the saved mappings, too; rpm: 0 for the removal, 1
# for an upgrade; others: the removal. The saved mappings stay; a file that never had one goes.
set -e
case "${1:-}" in
1 | upgrade | failed-upgrade | abort-* | disappear) ;;
*)
    if [ "$(cat /etc/portmap/portmap.conf 2>/dev/null)" = '# The mappings that portmap applies, one a line: portmap.conf(5).' ]; then
        rm -f /etc/portmap/portmap.conf
    fi
    ;;
esac
if [ "${1:-}" = purge ]; then
    rm -f /etc/portmap/portmap.conf /etc/portmap/portmap.conf.old
    rm -rf /var/lib/portmap-nat
fi
if ! [ -e /etc/portmap/portmap.conf ]; then
    rm -f /etc/portmap/portmap.conf.lock /etc/portmap/.portmap.conf.portmap-*
    rmdir /etc/portmap 2>/dev/null || true
fi
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    systemctl daemon-reload || true
    systemctl --quiet reset-failed 'portmap-*' 2>/dev/null || true
fi
