package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"portmap/internal/finding"
)

// hostsWithSettings have an interface, an address or a switch that is not as the mapping needs it.
func hostsWithSettings() []brokenHost {
	return []brokenHost{
		{cause: "IPv6 is off", finds: finding.IPv6Off, add: "443:8443 -6", asks: []question{ask6},
			breaks: typed("sysctl -qw net.ipv6.conf.all.disable_ipv6=1"),
			then:   typed("ip address replace 2001:db8::1/64 dev eth0 nodad")},
		{cause: "the interface is gone", finds: finding.InterfaceAbsent, add: "443:8443 --interface eth0",
			asks:   []question{ask4},
			breaks: typed("ip link set eth0 down; ip link set eth0 name eth7; ip link set eth7 up"),
			hand:   typed("ip link set eth7 down; ip link set eth7 name eth0; ip link set eth0 up")},
		{cause: "the interface is down", finds: finding.InterfaceDown, add: "443:8443 --interface eth0",
			asks: []question{ask4}, breaks: typed("ip link set eth0 down"), cutOff: true},
		{cause: "the interface of the listen address is down", finds: finding.InterfaceDown,
			add: "192.0.2.1:443:8443", asks: []question{ask4}, breaks: typed("ip link set eth0 down"), cutOff: true},
		{cause: "the listen address is gone", finds: finding.AddressAbsent, add: "192.0.2.9:443:8443", now: true,
			asks: []question{"tcp 192.0.2.9:443"}, breaks: func(*checkedHost) {},
			hand: typed("ip address add 192.0.2.9/24 dev eth0")},
		{cause: "loopback targets are switched off", finds: finding.SwitchOff, add: "443:127.0.0.1:8443",
			serve: []string{"tcp 127.0.0.1:8443"}, asks: []question{ask4},
			breaks: typed("sysctl -qw net.ipv4.conf.all.route_localnet=0")},
		{cause: "a port for outgoing connections", finds: finding.EphemeralPort, add: "443:40443",
			serve: []string{"tcp [::]:40443"}, breaks: func(*checkedHost) {}},
		{cause: "low ports for everybody", finds: finding.UnprivilegedPorts,
			breaks: typed("sysctl -qw net.ipv4.ip_unprivileged_port_start=0")},
		{cause: "a reverse path", finds: finding.ReversePath, build: triangle, cutOff: true, asks: []question{ask4},
			breaks: func(s *checkedHost) {
				s.run("sysctl -qw net.ipv4.conf.eth0.rp_filter=1")
				s.reached(ask4, silence)
			}},
		{cause: "a server on the listen port", finds: finding.ServerShadowed,
			breaks: func(s *checkedHost) { s.serve("tcp 192.0.2.1:443") }, hand: func(s *checkedHost) {
				s.endServers()
				s.serve("tcp [::]:8443")
			}},
		{cause: "two files", finds: finding.TwoFiles, breaks: twoFiles, hand: func(s *checkedHost) {
			s.more.(portmap).run("remove", "--all")
		}},
	}
}

// twoFiles has another file hold a mapping of the same host.
func twoFiles(s *checkedHost) {
	other := s.p
	other.file = filepath.Join(s.TempDir(), "other.conf")
	other.run("add", "-q", "444:8443")
	s.more = other
}

// triangle makes a host that answers its client by a router:
//
//	client 198.51.100.7 ── eth0 192.0.2.1 host
//	   └──── 203.0.113.2 router 203.0.113.6 ──── eth1
func triangle(t *testing.T, h brokenHost) *checkedHost {
	s := newCheckedHost(t, h.on(), h.add, h.serve)
	router := s.net.Host("router")
	s.net.Link(s.host, "203.0.113.5/30", router, "203.0.113.6/30")
	s.net.Link(router, "203.0.113.2/30", s.client, "203.0.113.1/30")
	s.client.Run("ip", "address", "add", "198.51.100.7/32", "dev", "lo")
	s.client.Run("ip", "address", "del", "192.0.2.2/24", "dev", "eth0")
	s.client.Run("ip", "route", "add", "192.0.2.1", "dev", "eth0", "src", "198.51.100.7")
	s.host.Run("ip", "neighbour", "flush", "all")
	router.Run("sysctl", "-qw", "net.ipv4.ip_forward=1")
	router.Route("198.51.100.0/24", "203.0.113.1")
	s.host.Route("default", "203.0.113.6")
	return s
}

// routers have their server on another host.
func routers() []brokenHost {
	const mapped = "443:10.0.0.5:8443"
	return []brokenHost{
		{cause: "forwarding is off", finds: finding.ForwardingOff, build: router, add: mapped, asks: []question{ask4},
			breaks: typed("sysctl -qw net.ipv4.ip_forward=0")},
		{cause: "Docker's policy for what is forwarded", finds: finding.FirewallDrops, build: router, add: mapped,
			on: onIPTables, asks: []question{ask4}, breaks: typed(docker28)},
		{cause: "ufw's policy for what is forwarded", finds: finding.FirewallDrops, build: router, add: mapped,
			on: onIPTables, asks: []question{ask4}, breaks: ufw, then: ufwAgain},
		{cause: "a policy for what is forwarded, nft", finds: finding.FirewallDrops, build: router, add: mapped,
			asks: []question{ask4}, breaks: loaded(tableOf("inet wall", "forward",
				"filter hook forward priority filter; policy drop", ""))},
		{cause: "the other host refuses", finds: finding.TargetRefuses, build: router, add: mapped,
			asks: []question{ask4}, breaks: func(s *checkedHost) { s.more.(func())() }, hand: (*checkedHost).serveFar},
		{cause: "the other host is silent", finds: finding.TargetSilent, build: router, add: mapped,
			asks: []question{ask4}, breaks: func(s *checkedHost) {
				loadText(s.T, s.far, tableOf("inet wall", "in", "filter hook input priority filter; policy drop",
					"icmpv6 type != echo-request accept"))
			}, hand: func(s *checkedHost) { s.far.Run("nft", "flush", "ruleset") }},
	}
}

// docker28 are rules of Docker 28 for a container, with a server on the port that the mapping leads to.
const docker28 = `iptables-nft-restore <<END
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 8443 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
COMMIT
END`

// router makes a host that sends on to a server.
func router(t *testing.T, h brokenHost) *checkedHost {
	s := newCheckedHost(t, h.on(), "", nil)
	s.far = s.net.Host("far")
	s.net.Link(s.host, "10.0.0.1/24", s.far, "10.0.0.5/24")
	s.host.Run("sysctl", "-qw", forward4+"=1")
	s.serveFar()
	s.p.run(append([]string{"add", "-q"}, strings.Fields(h.add)...)...)
	return s
}

func (s *checkedHost) serveFar() { s.more = s.far.EchoAs(0, "tcp", "10.0.0.5:8443") }
