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

# ask URL COMMAND...: what the server says to a client that COMMAND starts, and the version of HTTP that was spoken. $options
# are curl's in place of -k.
ask() {
    url=$1
    shift
    # shellcheck disable=SC2086 # options are words
    "$@" curl -gsS --http2 ${options:--k} --connect-timeout "${patience:-5}" --max-time 20 -w ' HTTP/%{http_version}' "$url" 2>&1
}

# says ANSWER URL COMMAND...
says() {
    wanted="$1 HTTP/2"
    shift
    got=$(ask "$@") || true
    [ "$got" = "$wanted" ] || {
        echo "asked $*: got '$got', not '$wanted'" >/run/boot-unlike
        return 1
    }
}

# expect CLIENT URL COMMAND...: the answer of server.js: the client's address, the server's port and user.
expect() {
    client=$1
    shift
    says "$client 8443 uid=$(id -u rwserve)" "$@"
}

# all_reach: clients on another host and on this one, IPv4 and IPv6, reach the server on 443 and are seen as who they are.
all_reach() {
    expect 192.0.2.2 https://192.0.2.1/ ip netns exec client &&
        expect 2001:db8::2 'https://[2001:db8::1]/' ip netns exec client &&
        expect 127.0.0.1 https://127.0.0.1/ env &&
        expect ::1 'https://[::1]/' env
}

reach() { within "$1" all_reach || die "$(cat /run/boot-unlike)"; }

# unanswered: a client finds nobody on 443. 7 and 28 are curl's words for a refusal and for silence, which is a firewall's way.
unanswered() {
    status=0
    (patience=2 && ask https://192.0.2.1/ ip netns exec client) >/dev/null || status=$?
    [ $status = 7 ] || [ $status = 28 ]
}

listens() { [ -n "$(ss -Hltn 'sport = 8443')" ]; }

# everything names all files of this system but those that change by themselves.
everything() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /opt/boot -o -path /var/log \
        -o -path /var/cache -o -path /var/tmp -o -path /var/lib/systemd -o -path /var/lib/boot-test \) -prune -o -print |
        grep -v '^/var/lib/dpkg/.*-old$' | LC_ALL=C sort
}

# serve: a server on 8443, as a unit of its own user; it knows nothing of 443.
serve() {
    useradd --system --no-create-home --shell /usr/sbin/nologin rwserve
    systemctl enable --now rwserve
    within 120 listens || die "the server does not listen: $(systemctl status rwserve 2>&1 | tail -n 5)"
    within 10 expect 192.0.2.2 https://192.0.2.1:8443/ ip netns exec client || die "$(cat /run/boot-unlike)"
    unanswered || die 'a client is answered on 443 before there is a mapping'
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

# vrf: a network card in a VRF. Its addresses are of this host, too, though the main routing table does not have them.
vrf() {
    sysctl -qw net.ipv4.tcp_l3mdev_accept=1 # the server, which knows of no VRF, takes connections from all
    ip netns add tenant
    ip link add blue type vrf table 100
    ip link set blue up
    ip link add blue0 type veth peer name eth0 netns tenant
    ip link set blue0 master blue
    ip address add 198.51.100.1/24 dev blue0
    ip address add 2001:db8:b::1/64 dev blue0 nodad
    ip -n tenant address add 198.51.100.2/24 dev eth0
    ip -n tenant address add 2001:db8:b::2/64 dev eth0 nodad
    ip -n tenant link set eth0 up
    ip link set blue0 up
    within 10 expect 198.51.100.2 https://198.51.100.1:8443/ ip netns exec tenant || die "$(cat /run/boot-unlike)"
}

# reach_vrf: clients in the VRF reach the mapping, and so do all others.
reach_vrf() {
    within 10 all_reach_vrf || die "$(cat /run/boot-unlike)"
    reach 10
}

all_reach_vrf() {
    expect 198.51.100.2 https://198.51.100.1/ ip netns exec tenant &&
        expect 2001:db8:b::2 'https://[2001:db8:b::1]/' ip netns exec tenant
}

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

# restored: after a reboot, the mappings were live before the network was.
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
    reach 20
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

# shut: the port of the server is not open to clients, only the mapping is. firewalld counts as started before its rules are there.
shut() { within 20 closed || die '8443 is open'; }

closed() (
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

# more: clients came through since `moved` began, of both kinds.
more() {
    read -r connected answered </run/boot/load-progress || return 1
    [ "$connected" -ge $((connected0 + 50)) ] && [ "$answered" -ge $((answered0 + 5)) ]
}

moved() {
    read -r connected0 answered0 </run/boot/load-progress
    within 120 more || die "the clients do not get on: $connected0 $answered0, then $(cat /run/boot/load-progress)"
}

# under_load COMMAND...: no client that connects while it runs is refused.
under_load() {
    echo 0 0 >/run/boot/load-progress
    ip netns exec client node load.js 192.0.2.1 >/run/boot/load &
    load=$!
    moved
    "$@"
    moved
    kill "$load"
    wait "$load" || die 'the clients ended by themselves'
    case "$(cat /run/boot/load)" in
    'refused=0 failed=0 '*) echo "NOTE under load: $(cat /run/boot/load)" ;;
    *) die "clients were refused: $(cat /run/boot/load)" ;;
    esac
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

# shellcheck source=integration/boot/guest/pages.sh
. ./pages.sh
# shellcheck source=integration/boot/guest/check.sh
. ./check.sh

mkdir -p /run/boot
"$@"
