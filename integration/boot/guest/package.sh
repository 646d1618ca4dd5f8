#!/bin/sh
# package.sh: the steps in which a package, or the command without one, is installed, upgraded and removed. It is a part of steps.sh.

# everything names all files of this system but those that change by themselves.
everything() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /opt/boot -o -path /var/log \
        -o -path /var/cache -o -path /var/tmp -o -path /var/lib/systemd -o -path /var/lib/boot-test \) -prune -o -print |
        grep -v '^/var/lib/dpkg/.*-old$' | LC_ALL=C sort
}

# install: the package, as its user installs it. What was there before is written down for `purge`.
install() {
    everything >files-before
    dpkg -i dist/old.deb
    installed
}

installed() {
    [ "$(systemctl is-enabled portmap-restore)" = enabled ] || die 'portmap-restore is not enabled by the package'
    [ "$(systemctl is-active portmap-restore)" = active ] || die 'portmap-restore is not active after the installation'
}

# provision install|check: as in a machine of Vagrant's.
provision() {
    [ "$1" != install ] || everything >files-before
    DIST=/opt/boot/dist ./provision.sh "$1"
    installed
}

# by_hand: the command without its package, enabled by itself; what fails leaves nothing behind.
by_hand() {
    dpkg-deb -x dist/old.deb /run/unpacked
    cp /run/unpacked/usr/bin/portmap /usr/local/bin/
    said=$(portmap add 443:8443 2>&1)
    case "$said" in *'sudo portmap enable'*) ;; *) die "nobody is told of the next boot: $said" ;; esac
    chown nobody /etc/portmap/portmap.conf
    chmod 600 /etc/portmap/portmap.conf
    said=$(portmap enable 2>&1) && die 'enable succeeds, and its unit cannot read the file'
    case "$said" in *journalctl*) ;; *) die "nobody is told where to look: $said" ;; esac
    left=$(find /etc/systemd/system -name 'portmap*')
    [ -z "$left" ] || die "an enable that failed leaves $left"
    [ -z "$(systemctl list-unit-files --no-legend 'portmap*')" ] || die 'systemd still knows the units of an enable that failed'
    systemctl mask portmap-restore
    portmap enable && die 'enable overrides a mask'
    systemctl unmask portmap-restore
    chmod 644 /etc/portmap/portmap.conf
    portmap enable
    [ "$(systemctl is-active portmap-restore)" = active ] || die 'portmap-restore is not active'
    reach 10
}

# packaged: the package comes later, and takes over; it can go and come again.
packaged() {
    dpkg --force-confold -i dist/old.deb
    installed
    dpkg -r portmap-nat
    dpkg -i dist/old.deb
    rm /usr/local/bin/portmap
    installed
    left=$(find /etc/systemd/system -maxdepth 1 -name 'portmap*')
    [ -z "$left" ] || die "the units of the package are hidden by $left"
    reach 10
}

upgrade_package() {
    dpkg -i new.deb
    [ "$(dpkg-query -W -f '${Version}' portmap-nat)" = "$(dpkg-deb -f new.deb Version)" ] || die 'the old package is still there'
}

upgrade() {
    under_load upgrade_package
    [ "$(systemctl is-active portmap-restore)" = active ] || die 'portmap-restore is not active after the upgrade'
    reach 10
}

# gap: the negative control of `upgrade`.
make_gap() { portmap flush && portmap apply; }
gap() { under_load make_gap; }

# remove: the rules go, the file stays.
remove() {
    dpkg --remove portmap-nat
    unanswered || die 'a client is answered after the removal'
    grep -q '^443:8443' /etc/portmap/portmap.conf || die 'the file went with the package'
}

# purge: nothing is left.
purge() {
    dpkg --purge portmap-nat
    unanswered || die 'a client is answered after the purge'
    ! nft list ruleset | grep -i portmap || die 'rules are left'
    ! iptables-legacy-save 2>/dev/null | grep PORTMAP || die 'rules are left in iptables-legacy'
    [ -z "$(systemctl list-units --all --no-legend 'portmap*')" ] || die "units are left: $(systemctl list-units --all 'portmap*')"
    ! dpkg-query -W portmap-nat 2>&1 || die 'dpkg still knows the package'
    everything >/run/boot/files-after
    left=$(LC_ALL=C comm -13 files-before /run/boot/files-after)
    [ -z "$left" ] || die "files are left: $left"
}

# litter: the negative control of `purge`.
litter() { touch /usr/lib/systemd/system/portmap-litter.service; }
