#!/bin/bash
# openrc.sh: a host that OpenRC starts, as Gentoo's and Alpine's are, in namespaces of its own: the package for Alpine, unpacked in
# /opt/boot/apk, is installed, there after the start, upgraded and removed. The last line it prints tells what is wrong.
set -eu
cd /opt/boot

die() {
    echo "$*"
    exit 1
}
live() { nft list ruleset | grep -q 'table inet portmap'; }
at_boot() { [ -L /etc/runlevels/boot/portmap-restore ]; }

# Debian's OpenRC starts the scripts of its sysvinit. These two stand for OpenRC's own.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
rm -rf /usr/bin/systemctl /etc/init.d/* /etc/runlevels/*/*
cat >/etc/init.d/localmount <<'END'
#!/sbin/openrc-run
start() { :; }
END
cat >/etc/init.d/network <<'END'
#!/sbin/openrc-run
depend() { provide net; }
start() { nft list ruleset >/run/rules-before-network; }
END
chmod +x /etc/init.d/*
for service in network localmount; do rc-update --quiet add $service boot; done

# Before OpenRC runs, as when an image is made.
cp -a apk/etc apk/usr /
sh -e apk/.post-install 0.0.1
at_boot || die 'the package is not in the runlevel boot'
[ -s /etc/portmap/portmap.conf ] || die 'the package makes no file'
echo 443:8443 >/etc/portmap/portmap.conf
! live || die 'there are rules, and nothing was started'

for runlevel in sysinit boot default; do openrc $runlevel; done
live || die "there are no rules after the start: $(rc-status --all)"
grep -q 'table inet portmap' /run/rules-before-network || die 'the rules came after the network'

nft flush ruleset
rc-service portmap-restore reload
live || die 'a reload does not bring back what was flushed'
rc-service portmap-restore restart
live || die 'there are no rules after a restart'
rc-service portmap-restore stop
! live || die 'there are rules after a stop'
rc-service portmap-restore start

portmap disable
! at_boot || die 'disable leaves the service in its runlevel'
portmap disable
portmap enable
at_boot || die 'enable does not put the service in its runlevel'
portmap enable
live || die 'enable and disable touch the rules'

# Another firewall, whose start flushes all: the watch, where it is on, puts back what goes, and ends before the mappings do.
soon() {
    for _ in $(seq 100); do
        if "$@"; then return; fi
        sleep 0.1
    done
    return 1
}
cat >/etc/init.d/nftables <<'END'
#!/sbin/openrc-run
extra_started_commands="reload"
start() { nft flush ruleset; }
reload() { nft flush ruleset; }
END
chmod +x /etc/init.d/nftables
rc-service nftables start
rc-service portmap-restore reload
rc-update --quiet add portmap-watch default
rc-service portmap-watch start
soon pgrep -f 'portmap watch' >/dev/null || die "the watch does not run: $(rc-status --all)"
nft flush ruleset
soon live || die 'the watch does not put back what is flushed by hand'
for verb in restart reload; do
    rc-service nftables $verb
    soon live || die "there are no rules after a $verb of nftables: $(rc-status --all)"
done
process=$(pgrep -f '^/usr/bin/portmap watch')
rc-service portmap-watch reload || die 'the watch cannot be told to apply the file at once'
sleep 0.5
[ "$(pgrep -f '^/usr/bin/portmap watch')" = "$process" ] || die 'a reload of the watch ends it'
rc-service portmap-restore restart
live || die 'there are no rules after a restart under the watch'
soon pgrep -f '^/usr/bin/portmap watch' >/dev/null || die 'the watch does not outlast a restart of what it needs'
rc-service portmap-restore stop
sleep 1 # for what should not happen
! live || die 'there are rules after a stop: the watch put them back'
! pgrep -f 'portmap watch' >/dev/null || die 'the watch outlives its service'
rc-service portmap-watch start
live || die 'the watch does not bring with it what it needs'
portmap disable
[ ! -L /etc/runlevels/default/portmap-watch ] || die 'disable leaves the watch in its runlevel'
portmap enable
rc-update --quiet add portmap-watch default
soon pgrep -f '^/usr/bin/portmap watch' >/dev/null || die 'the watch is gone'
process=$(pgrep -f '^/usr/bin/portmap watch')

handles() { nft --handle list table inet portmap; }
before=$(handles)
sh -e apk/.post-upgrade 0.0.2 0.0.1
[ "$(handles)" = "$before" ] || die "an upgrade made the rules anew: $(handles)"
renewed() { now=$(pgrep -f '^/usr/bin/portmap watch') && [ "$now" != "$process" ]; }
soon renewed || die 'after an upgrade the watch is the old one'

sh -e apk/.pre-deinstall 0.0.1
(cd apk && find etc usr -type f) | sed 's|^|/|' | xargs rm
sh -e apk/.post-deinstall 0.0.1
! live || die 'there are rules after the removal'
! at_boot || die 'the service is in its runlevel after the removal'
[ ! -L /etc/runlevels/default/portmap-watch ] || die 'the watch is in its runlevel after the removal'
! pgrep -f 'portmap watch' >/dev/null || die 'the watch outlives its package'
grep -qx 443:8443 /etc/portmap/portmap.conf || die 'the file went with the package'

# And back again, on the running host.
(cd apk && tar c usr etc/init.d) | tar x -C /
sh -e apk/.post-install 0.0.1
at_boot || die 'the package that came back is not in the runlevel boot'
live || die "there are no rules after the package came back: $(rc-status --all)"

# Without a package: enable writes the scripts, disable takes them away.
sh -e apk/.pre-deinstall 0.0.1
mv /usr/bin/portmap /usr/local/bin/
rm /etc/init.d/portmap-*
hash -r
portmap enable
rc-update --quiet add portmap-watch default
rc-update --quiet add portmap-watch nonetwork
rc-service portmap-watch start
live || die 'what enable wrote does not restore'
nft flush ruleset
soon live || die 'what enable wrote does not watch'
rc-service portmap-restore stop
portmap disable
left=$(find /etc/init.d /etc/runlevels -name 'portmap*')
[ -z "$left" ] || die "disable leaves $left"
