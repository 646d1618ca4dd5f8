#!/bin/sh
# firewalls.sh: the steps with other firewalls, and those through iptables. It is a part of steps.sh.

# legacy: a host that uses iptables-legacy.
legacy() {
    update-alternatives --set iptables /usr/sbin/iptables-legacy
    update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy
    iptables-legacy -N SITE
}

# without MODULE: the kernel loses a module, and does not get it back.
without() {
    echo "install $1 /bin/false" >"/etc/modprobe.d/without-$1.conf"
    modprobe -r "$1"
    ! nft list ruleset || die "$1 is back"
}

# fallback: without nf_tables a mapping goes into iptables-legacy, and nobody has to say so but to the boot unit.
fallback() {
    said=$(portmap add 443:8443 2>&1) || die "$said"
    case "$said" in *iptables-legacy*'sudo portmap enable'*) ;; *) die "what was taken, or the next boot, is not told: $said" ;; esac
    portmap enable
    reach 10
    portmap list | grep -q '^443:8443/tcp  *active ' || die "list: $(portmap list 2>&1)"
    portmap watch --for 1s
    ! portmap list --backend nft || die 'there is a backend nft'
}

# add_through BACKEND: and whatever its unit needs.
add_through() {
    portmap add 443:8443 --backend "$1"
    grep -q "^backend $1" /etc/portmap/portmap.conf || die 'the backend is not in the file'
    portmap enable
    reach 10
}

# lost VARIANT: what somebody flushes is put back by a reload of the unit, inside its sandbox.
lost() {
    systemctl stop portmap-reapply
    "$1" -t nat -F
    unanswered || die 'a client is answered although the mapping was taken away'
    systemctl reload portmap-restore
    reach 10
    systemctl restart portmap-restore
    reach 10
    portmap diff || die "file and kernel differ: $(portmap diff 2>&1)"
}

# firewall UNIT: runs from now on. Mappings that are live stay so, or are live again.
firewall() {
    case "$1" in
    nftables) grep -q '^flush ruleset' /etc/nftables.conf || die 'nftables.conf does not flush the ruleset' ;;
    netfilter-persistent) # which does not go with ufw
        dpkg --purge ufw
        DEBIAN_FRONTEND=noninteractive dpkg -i /opt/debs/*.deb
        iptables-nft-save >/etc/iptables/rules.v4
        ;;
    iptables | ip6tables) # as Red Hat's unit does, of which Debian has none
        printf '%s\n' '*nat' '-A OUTPUT -o nowhere0 -j RETURN' COMMIT >/etc/site.rules
        cat >"/etc/systemd/system/$1.service" <<END
[Unit]
Before=network-pre.target
Wants=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/$1-restore /etc/site.rules
ExecReload=/bin/sh -c 'sleep 0.3; $1-restore /etc/site.rules'
[Install]
WantedBy=multi-user.target
END
        ;;
    esac
    systemctl enable --now "$1"
    [ "$(systemctl is-active "$1")" = active ] || die "$1 is not active"
    ! grep -qs '^443' /etc/portmap/portmap.conf || reach 20
    case "$1" in firewalld | ufw) shut ;; esac
}

# firewalld_with NAME=VALUE: a setting in firewalld.conf.
firewalld_with() {
    grep -q "^${1%%=*}=" /etc/firewalld/firewalld.conf || die "firewalld has no ${1%%=*}"
    sed -i "s/^${1%%=*}=.*/$1/" /etc/firewalld/firewalld.conf
    systemctl try-restart firewalld
}

# shut: the port of the server is not open to clients, only the mapping is. firewalld counts as started before its rules are there.
shut() { within 20 closed || die '8443 is open'; }

closed() (
    # shellcheck disable=SC2034 # for ask
    patience=2
    ! ask https://192.0.2.1:8443/ ip netns exec client && ! ask 'https://[2001:db8::1]:8443/' ip netns exec client
)

# again UNIT VERB...: a mapping that was lost is live again after this was done to the unit of another firewall.
again() {
    unit=$1
    shift
    systemctl stop portmap-reapply # which may still be at it after the step before
    nft delete table inet portmap
    unanswered || die 'a client is answered although the mapping was taken away'
    nft add table inet witness
    for verb in "$@"; do systemctl "$verb" "$unit" || die "systemctl $verb $unit: $(systemctl status "$unit" 2>&1 | tail -n 5)"; done
    start=$(date +%s%N)
    reach 20
    echo "NOTE $unit $*: reached by all clients again $(seconds $((($(date +%s%N) - start) / 1000))) after the command ended"
    [ "$unit" != nftables ] || ! nft list table inet witness >/dev/null 2>&1 || die 'nftables did not flush the ruleset'
    nft delete table inet witness 2>/dev/null || true
}

# survives COMMAND...: the mapping is as live after it as before.
survives() {
    "$@"
    reach 5
}

# keeps COMMAND...: whatever it flushes, and whenever, is live again soon, and stays.
keeps() {
    systemctl stop portmap-reapply
    "$@"
    sleep 4 # for what is flushed later
    portmap diff || die "file and kernel differ: $(portmap diff 2>&1); $(journalctl -u portmap-reapply -n 5)"
    reach 5
    echo "NOTE $*: $(journalctl --no-pager -o cat -u portmap-reapply | grep -c '^portmap: put back') times put back until now"
}
