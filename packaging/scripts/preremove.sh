#!/bin/sh
# Before the files of the package go. deb: remove, or upgrade NEW-VERSION; rpm: 0 for the removal, 1 for an upgrade; others: the
# removal. The rules leave the kernel, the file stays.
set -e
case "${1:-}" in
upgrade | deconfigure | failed-upgrade | 1) exit 0 ;;
esac

# chrooted: what is live belongs to a host that keeps its mappings.
chrooted() { [ "$(stat -L -c %d:%i /proc/1/root/ 2>/dev/null)" != "$(stat -L -c %d:%i /)" ]; }

# What puts mappings back goes first.
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    systemctl --quiet stop portmap-watch.service portmap-reapply.service portmap-restore.service || true
elif [ -d /run/openrc ] && command -v rc-service >/dev/null 2>&1 && ! chrooted; then
    rc-service --quiet portmap-watch stop || true
    rc-service --quiet portmap-restore stop || true
fi
# Mappings can be live without a unit, too.
chrooted || /usr/bin/portmap --quiet flush || true
/usr/bin/portmap --quiet disable 2>/dev/null || true
if command -v systemctl >/dev/null 2>&1; then
    units='portmap-watch.service portmap-restore.service portmap-reapply.service'
    # shellcheck disable=SC2086 # three words
    systemctl --quiet disable $units || systemctl --quiet --root=/ disable $units || true # where nobody answers, by the files alone
elif command -v rc-update >/dev/null 2>&1; then
    for service in portmap-watch portmap-restore; do
        rc-update --quiet --all del $service >/dev/null 2>&1 || true # it fails for each runlevel that does not have it
    done
fi
# For dpkg, which does not tell an installation after this from an upgrade.
if [ "${1:-}" = remove ]; then
    mkdir -p /var/lib/portmap-nat
    : >/var/lib/portmap-nat/removed
fi
