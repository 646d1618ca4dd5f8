#!/bin/sh
# Installs the package in a fresh machine, makes a server of an unprivileged user public, and checks it; after a reboot it checks
# again: provision.sh install|check. As root. The packages are in DIST (default /portmap/dist); of several the newest is taken. A
# server that is on 8443 already stays.
set -eu
dist=${DIST:-/portmap/dist}

die() {
    echo "$*" >&2
    exit 1
}

# newest SUFFIX
newest() {
    # shellcheck disable=SC2012 # names of packages are plain
    file=$(ls -t "$dist"/*"$1" 2>/dev/null | head -n 1)
    [ -n "$file" ] || die "no package *$1 in $dist"
    echo "$file"
}

# fetch COMMAND...: python3 and curl, where one of them is missing.
fetch() {
    if ! command -v python3 >/dev/null || ! command -v curl >/dev/null; then "$@"; fi
}

install_package() {
    if command -v apt-get >/dev/null; then
        fetch sh -c 'apt-get update -qq && apt-get install -y -qq python3 curl'
        dpkg -i "$(newest .deb)"
    elif command -v dnf >/dev/null; then
        fetch dnf install -q -y python3 curl
        rpm -U --replacepkgs "$(newest .rpm)"
    elif command -v pacman >/dev/null; then
        fetch pacman -Sy --noconfirm --needed python curl
        pacman -U --noconfirm "$(newest .pkg.tar.zst)"
    elif command -v apk >/dev/null; then
        fetch apk add python3 curl
        apk add --allow-untrusted "$(newest .apk)"
    else
        die 'no package manager that is known here'
    fi
}

# answer ADDRESS PORT: what the server there says, whichever it speaks.
answer() {
    curl -sSk --max-time 5 "https://$1:$2/" 2>/dev/null || curl -sS --max-time 5 "http://$1:$2/"
}

# A server that anybody has.
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

# public ADDRESS: it answers on 443 what the server answers on 8443.
public() {
    server=$(answer "$1" 8443 2>&1) && [ "$(answer "$1" 443 2>&1)" = "$server" ]
}

# check: by each address of this host.
check() {
    for address in 127.0.0.1 $(ip -4 -o address show scope global | awk '{ sub("/.*", "", $4); print $4 }'); do
        tries=0
        until public "$address"; do
            tries=$((tries + 1))
            [ $tries -lt 20 ] || die "$address: 443 is not answered by the server on 8443: $(answer "$address" 443 2>&1)"
            sleep 1
        done
    done
    portmap diff || die 'file and kernel differ'
    echo "$(portmap version): the server on 8443 is public on 443"
}

case "${1:-}" in
install)
    install_package
    answer 127.0.0.1 8443 >/dev/null 2>&1 || serve
    portmap add 443:8443
    check
    ;;
check) check ;;
*) die 'provision.sh install|check' ;;
esac
