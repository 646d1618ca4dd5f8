#!/bin/sh
# After the files of the package are gone. deb: remove, or purge, which takes the saved mappings, too.
set -e
case "${1:-}" in
purge)
    rm -f /etc/portmap/portmap.conf /etc/portmap/portmap.conf.lock /etc/portmap/portmap.conf.new
    rmdir --ignore-fail-on-non-empty /etc/portmap 2>/dev/null || true
    ;;
esac
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    systemctl --quiet reset-failed 'portmap-*' 2>/dev/null || true
fi
