#!/bin/sh
# clients.sh: what clients on another host and on this one get. It is a part of steps.sh.

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

# others_reach4, others_reach: clients on another host reach the server on 443 and are seen as who they are.
others_reach4() { expect 192.0.2.2 https://192.0.2.1/ ip netns exec client; }

others_reach() { others_reach4 && expect 2001:db8::2 'https://[2001:db8::1]/' ip netns exec client; }

# all_reach: those on this host do, too.
all_reach() {
    others_reach &&
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
