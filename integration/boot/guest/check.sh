#!/bin/sh
# check.sh: the steps in which a host is broken on purpose, and `portmap check` says how. It is a part of steps.sh.

# first_finding prints the ID of what check finds first. Node.js is here for the server.
first_finding() {
    portmap check -o json >/run/boot/checked 2>/run/boot/check-said || true
    node -p 'const r = JSON.parse(require("fs").readFileSync("/run/boot/checked"));
        (r.mappings.flatMap(m => m.findings).concat(r.host)[0] || { id: "nothing" }).id'
}

# finds ID: check names that cause before all others.
finds() {
    found=$(first_finding) || die "check says no JSON: $(cat /run/boot/check-said)"
    [ "$found" = "$1" ] || die "check finds $found, not $1: $(cat /run/boot/checked)"
}

# clean: check finds nothing on a host that works.
clean() { portmap check >/run/boot/check-said 2>&1 || die "check finds: $(cat /run/boot/check-said)"; }

# whose TOOL: what check found first is a rule of TOOL's.
whose() { grep -q "($1)" /run/boot/checked || die "$1 is not named: $(cat /run/boot/checked)"; }

# cured [CLIENTS]: check types the cure, and it works for these clients, for all if none are named.
cured() {
    said=$(portmap check --fix --yes 2>&1) || die "check --fix ends with $?: $said"
    within 10 "${1:-all_reach}" || die "$(cat /run/boot-unlike)"
    clean
    printf '%s\n' "$said" | sed -n 's/^ *to undo: *//p' | sed 's/sudo //g' >/run/boot/undo
    [ -s /run/boot/undo ] || die "check --fix does not say how to undo it: $said"
}

# undone: the command that check printed takes the cure back.
undone() { sh -eux /run/boot/undo || die 'the undo fails'; }

fixed() { cured "$@" && undone; }

# traced: the way of a client's packet is shown.
traced() {
    portmap trace 443 --count 1 >/run/boot/way 2>/run/boot/trace-said &
    within 20 grep -q waiting /run/boot/trace-said || die "trace says $(cat /run/boot/trace-said)"
    reach 10
    wait $! || die "trace ends with $?: $(cat /run/boot/trace-said)"
    grep -q '^ *went to 192.0.2.1:8443' /run/boot/way || die "trace says: $(cat /run/boot/way)"
}

# untraced: without nf_tables nothing reports it.
untraced() {
    said=$(portmap trace 443 --count 1 2>&1) && die "trace says: $said"
    case "$said" in *'this kernel has no nf_tables'*) ;; *) die "trace says: $said" ;; esac
}

# server_on ADDRESS: the server listens there.
server_on() {
    sed -i "s|/opt/boot [^ ]* 8443|/opt/boot $1 8443|" /etc/systemd/system/rwserve.service
    systemctl daemon-reload
    systemctl restart rwserve
    within 60 listens || die 'the server does not listen'
}

# crowded ROOM: connection tracking has many connections, and room for so many more; for none if ROOM is below zero.
crowded() {
    sysctl -qw net.netfilter.nf_conntrack_udp_timeout=600
    node -e 'const s = require("dgram").createSocket("udp4"); let left = 300;
        for (let p = 20000; p < 20300; p++) s.send("x", p, "127.0.0.1", () => --left || s.close());'
    count=$(cat /proc/sys/net/netfilter/nf_conntrack_count)
    [ "$count" -ge 300 ] || die "connection tracking has $count connections"
    sysctl -qw net.netfilter.nf_conntrack_max=$((count + $1))
}

# deserted: connection tracking has room as ever.
deserted() {
    sysctl -qw net.netfilter.nf_conntrack_max=65536
    clean
}

# capable: the program of the server may listen on privileged ports, as after setcap.
capable() {
    setcap cap_net_bind_service=+ep "$(readlink -f /usr/bin/node)"
    systemctl restart rwserve
    within 60 listens || die 'the server does not listen'
}
