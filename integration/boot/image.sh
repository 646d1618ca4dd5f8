#!/bin/sh
# image.sh SUITE: makes the root file system of the guests, Debian bookworm or trixie, and prints where it is. It is kept in the user's
# cache, under a name that follows from this file, and appears there only when it is whole. Needs root, mmdebstrap, npm and Debian's
# archive. Most guests are bookworm; trixie has what the README asks for and a firewalld that knows StrictForwardPorts, and no kernel.
set -eu

suite=$1
packages=systemd,systemd-sysv,systemd-container,udev,dbus,kmod,procps,iproute2,curl,ca-certificates,nodejs,nftables,sudo,lego
firewalls='' debs='' npm=''
[ "$suite" != trixie ] || packages=$packages,firewalld,iptables firewalls=firewalld
if [ "$suite" = bookworm ]; then
    firewalls='firewalld ufw nftables rinetd'
    debs='netfilter-persistent iptables-persistent'
    npm=pm2
    packages=$packages,iptables,firewalld,ufw,openrc,linux-image-cloud-amd64,certbot,rinetd,libcap2-bin
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/portmap-boot
image=$cache/$suite-$(sha256sum <"$0" | cut -c 1-16)
mkdir -p "$cache"
# One at a time; and what a killed run left, or nobody has used for a month, goes.
exec 9>"$cache/lock"
flock 9
find "$cache" -mindepth 1 -maxdepth 1 -name '*.new' -exec rm -rf {} +
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +30 ! -path "$image" -exec rm -rf {} +

# The hooks of mmdebstrap: $1 is the new root. The initial file system gets two modules, not those of every disk there is.
# shellcheck disable=SC2016 # expanded there
before_kernel='mkdir -p "$1/etc/initramfs-tools/conf.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/boot-test"
printf "%s\n" virtio_pci virtio_blk >"$1/etc/initramfs-tools/modules"'
# Firewalls are switched on by the tests that want them; what does not go with ufw is at hand. Without a machine-id, the first boot
# would switch on all that is installed. Timers would only run in the tests' way. The guests have no network: npm takes packages from
# its cache.
# shellcheck disable=SC2016 # expanded there
at_last='set -e
rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$1/etc/apt/apt.conf.d/99mmdebstrap"
for unit in $FIREWALLS e2scrub_reap getty@tty1 remote-fs.target machines.target systemd-pstore; do
    chroot "$1" systemctl -q disable $unit
done
chroot "$1" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-random-seed.service
echo 706f72746d61702d626f6f742d746573 >"$1/etc/machine-id"
echo boot-test >"$1/etc/hostname"
rm -f "$1/usr/sbin/policy-rc.d"
mkdir "$1/opt/debs"
[ -z "$DEBS" ] || chroot "$1" sh -c "cd /opt/debs && apt-get download -qq $DEBS"
[ -z "$NPM" ] || {
    export npm_config_cache="$1/var/cache/npm" npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false
    npm install --silent --global --prefix "$1/usr" npm@10
    npm install --silent --global --prefix "$1/opt/unused" $NPM
    rm -r "$1/opt/unused"
    mkdir -p "$1/usr/etc"
    printf "%s\n" cache=/var/cache/npm offline=true update-notifier=false >"$1/usr/etc/npmrc"
}'

if ! [ -d "$image" ]; then
    FIREWALLS=$firewalls DEBS=$debs NPM=$npm mmdebstrap --mode=root --variant=minbase --quiet --skip=check/empty \
        --aptopt='Apt::Install-Recommends "false"' \
        --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --essential-hook="$before_kernel" --customize-hook="$at_last" \
        --include="$packages" "$suite" "$image.new" >"$cache/log" 2>&1 9>&- || {
        cat "$cache/log" >&2
        exit 1
    }
    mv "$image.new" "$image"
fi
touch "$image"
echo "$image"
