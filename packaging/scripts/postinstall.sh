#!/bin/sh
# After the files of the package are there. deb: configure [OLD-VERSION]; rpm: 1 for the first installation, 2 for an upgrade;
# others: the first installation. In a chroot nothing is running: what is enabled there works at its first boot. Whatever an init
# system says, the package is installed.
set -e

upgrade=no
case "${1:-}" in
configure) [ -z "${2:-}" ] || upgrade=yes ;;
abort-remove) ;; # the removal has switched all off before it failed
abort-*) exit 0 ;;
2) upgrade=yes ;;
esac
# dpkg names the old version also where it was removed since.
if [ -e /var/lib/portmap-nat/removed ]; then
    upgrade=no
    rm -r /var/lib/portmap-nat
fi

# The saved mappings are state, not configuration that comes with a package: whoever has the file keeps it, and nobody is asked. A
# link that leads nowhere may lead to a disk that is mounted later.
conf=/etc/portmap/portmap.conf
if ! [ -e $conf ] && ! [ -L $conf ]; then
    umask 022
    mkdir -p /etc/portmap
    echo '# The mappings that portmap applies, one a line: portmap.conf(5).' >$conf
fi

for other in /usr/local/sbin/portmap /usr/local/bin/portmap; do
    if [ -e $other ]; then
        echo "portmap-nat: $other comes before /usr/bin/portmap, which is this package's; to have this one: sudo rm $other"
    fi
done

# chrooted: what is live belongs to a host that keeps its mappings.
chrooted() { [ "$(stat -L -c %d:%i /proc/1/root/ 2>/dev/null)" != "$(stat -L -c %d:%i /)" ]; }

# A command that was built by hand and enabled has left units that would go before these.
for unit in /etc/systemd/system/portmap-restore.service /etc/systemd/system/portmap-reapply.service /etc/systemd/system/portmap-watch.service; do
    if grep -qs '^# Written by .portmap enable' $unit; then
        rm -f $unit
        moved=yes
    fi
done

if command -v systemctl >/dev/null 2>&1; then
    booted=no
    [ ! -d /run/systemd/system ] || booted=yes
    [ $booted = no ] || systemctl daemon-reload || true
    if [ $upgrade = no ] || [ "${moved:-no}" = yes ]; then
        # Where nobody answers, by the files alone.
        systemctl --quiet reenable portmap-restore.service || systemctl --quiet --root=/ reenable portmap-restore.service || true
    fi
    if [ $booted = yes ] && systemctl --quiet is-enabled portmap-restore.service; then
        # Mappings that are live stay so: apply changes only what differs.
        if systemctl --quiet is-active portmap-restore.service; then
            systemctl reload portmap-restore.service || true
        else
            systemctl start portmap-restore.service || true
        fi
        systemctl --quiet try-restart portmap-watch.service || true
    fi
elif [ $upgrade = no ] && [ -e /etc/init.d/portmap-restore ] && command -v rc-update >/dev/null 2>&1; then
    rc-update --quiet add portmap-restore boot || true
    if [ -d /run/openrc ] && ! chrooted; then
        rc-service --quiet portmap-restore start || true
    fi
fi
