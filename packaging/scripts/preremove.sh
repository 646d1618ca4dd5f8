#!/bin/sh
# Before the files of the package go. deb: remove, or upgrade NEW-VERSION; rpm: 0 for the removal, 1 for an upgrade; others: the
# removal. The rules leave the kernel, the file stays.
set -e
case "${1:-}" in
upgrade | deconfigure | failed-upgrade | 1) exit 0 ;;
esac

# chrooted: what is live belongs to a host that keeps its mappings.
chrooted() { [ "$(stat -L -c %d:%i /proc/1/root/ 2>/dev/null)" != "$(stat -L -c %d:%i /)" ]; }

if [ -d /run/systemd/system ]; then
    systemctl --quiet stop portmap-watch.service portmap-restore.service || true
fi
# Mappings can be live without a unit, too.
chrooted || /usr/bin/portmap --quiet flush || true
/usr/bin/portmap --quiet disable 2>/dev/null || true
if command -v systemctl >/dev/null 2>&1; then
    systemctl --quiet disable portmap-watch.service portmap-restore.service portmap-reapply.service || true
elif command -v rc-update >/dev/null 2>&1; then
    rc-update --quiet --all del portmap-restore >/dev/null 2>&1 || true # it fails for each runlevel that does not have it
fi
