#!/bin/sh
# steps.sh STEP [WORD...]: one step of a plan, inside the guest. It ends with 0 when all is as it must be; the last line it
# prints tells why not. A line that begins with NOTE is something measured.
set -eu
cd /opt/boot

die() {
    echo "$*"
    exit 1
}

# within SECONDS COMMAND...: true as soon as the command is.
within() {
    tries=$(($1 * 10))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.1
    done
}

property() { systemctl show -P "$2" "$1"; }

# seconds MICROSECONDS
seconds() { printf '%d.%03d s' $(($1 / 1000000)) $(($1 / 1000 % 1000)); }

# serve: a server on 8443, as a unit of its own user; it knows nothing of 443.
serve() {
    useradd --system --no-create-home --shell /usr/sbin/nologin rwserve
    systemctl enable --now rwserve
    within 120 listens || die "the server does not listen: $(systemctl status rwserve 2>&1 | tail -n 5)"
    within 10 expect 192.0.2.2 https://192.0.2.1:8443/ ip netns exec client || die "$(cat /run/boot-unlike)"
    unanswered || die 'a client is answered on 443 before there is a mapping'
}

# off: disabled, and the watch with it; what is live stays.
off() {
    systemctl enable --now portmap-watch
    portmap disable
    reach 10
}

# not_restored: after a reboot.
not_restored() {
    within 120 test -e /run/boot/rules-before-network || die 'the network did not come up'
    [ "$(systemctl is-active portmap-restore)" = inactive ] || die 'portmap-restore was started, and is disabled'
    ! nft list ruleset | grep portmap || die 'there are mappings, and nothing should have restored them'
}

add() {
    portmap add 443:8443
    grep -q '^443:8443' /etc/portmap/portmap.conf || die 'the mapping is not in the file'
    reach 10
}

# misconfigure HOW: the negative controls. After a reboot, `restored` must tell.
misconfigure() {
    systemctl disable portmap-restore
    case "$1" in
    disabled) ;;
    late)
        # A drop-in cannot take an order away: the unit is copied.
        systemctl cat portmap-restore | sed -e 's/\(Before=.*\)network-pre\.target/\1/' -e 's/^WantedBy=.*//' \
            -e 's/^\[Unit\]/&\nAfter=network.target/' -e 's/^\[Install\]/&\nWantedBy=multi-user.target/' >/run/late
        cp /run/late /etc/systemd/system/portmap-restore.service
        systemctl daemon-reload
        systemctl enable portmap-restore
        ;;
    esac
}

settled() { [ "$(systemctl is-active portmap-restore)" != activating ]; }

# restored [CLIENTS]: after a reboot, the mappings were live before the network was, and serve these clients, or all.
restored() {
    within 120 settled || die 'portmap-restore is still at it'
    [ "$(systemctl is-active portmap-restore)" = active ] ||
        die "portmap-restore did not start at boot: it is $(systemctl is-active portmap-restore)"
    live=$(property portmap-restore ExecMainExitTimestampMonotonic)
    network=$(property network-pre.target ActiveEnterTimestampMonotonic)
    [ "$network" -gt 0 ] || die 'network-pre.target was not reached: nothing is ordered before the network'
    [ "$live" -gt 0 ] || die 'portmap-restore did not end'
    [ "$live" -le "$network" ] ||
        die "the mappings were live $(seconds $((live - network))) after network-pre.target: portmap-restore is ordered too late"
    grep -qE 'table inet portmap|PORTMAP' /run/boot/rules-before-network ||
        die "there was no mapping when the network came up: $(cat /run/boot/rules-before-network)"
    note="mappings live $(seconds $((live - $(systemctl show -P UserspaceTimestampMonotonic)))) after the start of systemd"
    # A container's clock is its host's.
    systemd-detect-virt -cq || note="$note, $(seconds "$live") after the start of the kernel"
    echo "NOTE $note, $(seconds $((network - live))) before network-pre.target"
    within 120 test -e /run/boot/first-answer || die "a client that tries from the start gets no answer: $(systemctl status boot-client 2>&1)"
    within 20 "${1:-all_reach}" || die "$(cat /run/boot-unlike)"
    systemd-detect-virt -cq || echo "NOTE first answer to a client that tried all the time: $(cat /run/boot/first-answer) s after the start of the kernel"
}

# misspell: a line that nobody can read, in front of a good one.
misspell() { sed -i '/^443/i 80:eighty' /etc/portmap/portmap.conf; }

# misspelled: after a reboot, the good line is live, and who looks is told of the other one.
misspelled() {
    line=$(grep -n '^80:eighty' /etc/portmap/portmap.conf | cut -d : -f 1)
    reach 20
    status=$(systemctl status --no-pager --full portmap-restore 2>&1) || true
    echo "$status" | grep -E "line $line\\b|portmap\.conf:$line\\b" || die "systemctl status does not tell of line $line: $status"
}

# shellcheck source=integration/boot/guest/clients.sh
. ./clients.sh
# shellcheck source=integration/boot/guest/firewalls.sh
. ./firewalls.sh
# shellcheck source=integration/boot/guest/package.sh
. ./package.sh
# shellcheck source=integration/boot/guest/pages.sh
. ./pages.sh
# shellcheck source=integration/boot/guest/switches.sh
. ./switches.sh
# shellcheck source=integration/boot/guest/check.sh
. ./check.sh

mkdir -p /run/boot
"$@"
