#!/bin/sh
# Installs the package in a fresh machine, makes a server of an unprivileged user public, and checks it; after a reboot it checks
# again: provision.sh install|check. As root. The packages are in DIST (default /portmap/dist).
set -eu
dist=${DIST:-/portmap/dist}

die() {
    echo "$*" >&2
    exit 1
}

# A server that anybody has: it answers on 8443 with its user's name.
serve() {
    id rwserve >/dev/null 2>&1 || useradd --system --no-create-home rwserve 2>/dev/null || adduser -S -D -H rwserve
    mkdir -p /srv/rwserve
    echo rwserve >/srv/rwserve/index.html
    if [ -d /run/systemd/system ]; then
        cat >/etc/systemd/system/rwserve.service <<'UNIT'
[Service]
User=rwserve
WorkingDirectory=/srv/rwserve
ExecStart=/usr/bin/env python3 -m http.server 8443
[Install]
WantedBy=multi-user.target
UNIT
        systemctl enable --now rwserve
    else
        cat >/etc/local.d/rwserve.start <<'START'
#!/bin/sh
cd /srv/rwserve && exec su -s /bin/sh rwserve -c 'python3 -m http.server 8443' >/dev/null 2>&1 &
START
        chmod +x /etc/local.d/rwserve.start
        rc-update add local default
        /etc/local.d/rwserve.start
    fi
}

install() {
    if command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq python3 curl
        dpkg -i "$dist"/*.deb
    elif command -v dnf >/dev/null; then
        dnf install -q -y python3 curl
        rpm -U --replacepkgs "$dist"/*.rpm
    elif command -v pacman >/dev/null; then
        pacman -Sy --noconfirm --needed python curl
        pacman -U --noconfirm "$dist"/*.pkg.tar.zst
    elif command -v apk >/dev/null; then
        apk add python3 curl
        apk add --allow-untrusted "$dist"/*.apk
        portmap enable
    else
        die 'no package manager that is known here'
    fi
}

# check: by each address of this host, on the public port.
check() {
    for address in 127.0.0.1 $(ip -4 -o address show scope global | awk '{ sub("/.*", "", $4); print $4 }'); do
        tries=0
        until [ "$(curl -sS --max-time 5 "http://$address:443/" 2>&1)" = rwserve ]; do
            tries=$((tries + 1))
            [ $tries -lt 20 ] || die "http://$address:443/ is not answered by the server on 8443"
            sleep 1
        done
    done
    portmap diff || die 'file and kernel differ'
    echo "portmap $(portmap version): the server on 8443 is public on 443"
}

case "${1:-}" in
install)
    install
    serve
    portmap add 443:8443
    check
    ;;
check) check ;;
*) die 'provision.sh install|check' ;;
esac
