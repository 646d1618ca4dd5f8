#!/bin/sh
# switches.sh: the steps with a mapping that needs a switch of the kernel: the server listens on 127.0.0.1 only. It is a
# part of steps.sh.

switched() { [ "$(cat /proc/sys/net/ipv4/conf/all/route_localnet)" = "$1" ]; }

drop_ins() { find /etc/systemd/system -path '*/portmap-*.service.d/*'; }

# loopback: the mapping works at once. The next boot may not set the switch, which is said.
loopback() {
    said=$(portmap add 443:127.0.0.1:8443 2>&1) || die "$said"
    case "$said" in *'sudo portmap enable'*) ;; *) die "nobody is told of the next boot: $said" ;; esac
    switched 1 || die 'route_localnet is off'
    within 10 others_reach4 || die "$(cat /run/boot-unlike)"
}

# unswitched: after a reboot without the drop-in the rules are there, and the switch is not. The log and check say so. The
# cure ends with the mapping.
unswitched() {
    within 120 settled || die 'portmap-restore is still at it'
    switched 0 || die 'route_localnet is on, and nothing should have set it'
    log=$(journalctl --no-pager -o cat -u portmap-restore)
    case "$log" in *route_localnet*) ;; *) die "the log does not name the switch: $log" ;; esac
    finds switch-off
    grep -q boot-off /run/boot/checked || die "check says nothing of the next boot: $(cat /run/boot/checked)"
    portmap check --fix --yes || true # boot-off stays
    within 10 others_reach4 || die "$(cat /run/boot-unlike)"
    portmap remove 443
    switched 0 || die 'the cure outlives the mapping'
}

# switched_off: without the mapping the switch is as it was, and the next enable takes the drop-in away.
switched_off() {
    [ -n "$(drop_ins)" ] || die 'there is no drop-in'
    portmap remove 443
    switched 0 || die 'route_localnet is still on'
    unanswered || die 'a client is answered after the removal'
    portmap enable
    [ -z "$(drop_ins)" ] || die "left: $(drop_ins)"
}
