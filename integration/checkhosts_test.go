package integration

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"portmap/internal/finding"

	"golang.org/x/sys/unix"
)

// brokenHost is a host with one fault. The zero value of a field is what most of them have.
type brokenHost struct {
	cause  string
	finds  finding.ID         // which check must name first
	breaks func(*checkedHost) // makes the fault
	hand   func(*checkedHost) // cures it, where no command is printed that does
	then   func(*checkedHost) // what a person does after the command, such as to plug in a cable
	on     func() backend     // nft
	add    string             // the mapping: 443:8443
	serve  []string           // servers: on 8443 of all addresses over TCP
	asks   []question         // what clients ask: port 443 of both addresses
	only   []string           // arguments of check
	build  func(*testing.T, brokenHost) *checkedHost
	also   []finding.ID // what is found besides, for the same reason
	now    bool         // the fault is there before anybody is answered
	cutOff bool         // no packet comes in at all
	users  bool         // needs several users
}

// make makes the host, without its fault.
func (h brokenHost) make(t *testing.T) *checkedHost {
	t.Helper()
	if h.on == nil {
		h.on = onTables
	}
	if h.add == "" {
		h.add = "443:8443"
	}
	if h.serve == nil {
		h.serve = []string{"tcp [::]:8443"}
	}
	if h.asks == nil {
		h.asks = []question{ask4, ask6}
	}
	var s *checkedHost
	if h.build != nil {
		s = h.build(t, h)
	} else {
		s = newCheckedHost(t, h.on(), h.add, h.serve)
	}
	s.asks = h.asks
	return s
}

const (
	ask4 question = "tcp 192.0.2.1:443"
	ask6 question = "tcp [2001:db8::1]:443"
)

func onTables() backend   { return backends()[0] }
func onIPTables() backend { return backends()[1] }
func onLegacy() backend   { return legacy() }

// tableOf returns a table of nft with one base chain: its type, hook and priority, and lines with its rules.
func tableOf(table, chain, hook, rules string) string {
	return fmt.Sprintf("table %s {\nchain %s {\ntype %s;\n%s\n}\n}", table, chain, hook, rules)
}

// loaded returns what loads rules of nft.
func loaded(text string) func(*checkedHost) {
	return func(s *checkedHost) { loadText(s.T, s.host, text) }
}

// typed returns what runs commands on the host.
func typed(script string) func(*checkedHost) { return func(s *checkedHost) { s.run(script) } }

// inputOf returns a chain by hand on the way to servers.
func inputOf(policy, rules string) string {
	return tableOf("inet filter", "input", "filter hook input priority filter; policy "+policy,
		"ct state established,related accept\nicmpv6 type != echo-request accept\n"+rules)
}

// brokenHosts is the table. No host of it has a fault that a network namespace cannot have: a full table of
// connection tracking, whose limit is that of the system, or a failed boot unit.
func brokenHosts() []brokenHost {
	var list []brokenHost
	for _, part := range [][]brokenHost{hostsWithoutRules(), hostsWithoutServer(), hostsTranslated(), hostsFiltered(),
		hostsWithFirewalls(), hostsWithSettings(), routers()} {
		list = append(list, part...)
	}
	return list
}

// hostsWithoutRules have lost what portmap put into the kernel.
func hostsWithoutRules() []brokenHost {
	return []brokenHost{
		{cause: "flushed, nft", finds: finding.RulesMissing, breaks: func(s *checkedHost) { s.b.flush(s.host) }},
		{cause: "flushed, iptables-nft", finds: finding.RulesMissing, on: onIPTables,
			breaks: func(s *checkedHost) { s.b.flush(s.host) }},
		{cause: "flushed, and a proxy on the listen port", finds: finding.RulesMissing,
			also:   []finding.ID{finding.ServerShadowed},
			breaks: func(s *checkedHost) { s.b.flush(s.host); s.serve("tcp [::]:443") },
			then:   func(s *checkedHost) { s.endServers(); s.serve("tcp [::]:8443") }},
		{cause: "a rule of the mapping deleted", finds: finding.RulesDamaged,
			breaks: typed("nft flush chain inet portmap prerouting")},
	}
}

// hostsWithoutServer have no server that all clients reach.
func hostsWithoutServer() []brokenHost {
	again := func(s *checkedHost) { s.endServers(); s.serve("tcp [::]:8443") }
	instead := func(server string) func(*checkedHost) {
		return func(s *checkedHost) { s.endServers(); s.serve(server) }
	}
	return []brokenHost{
		{cause: "nobody listens", finds: finding.NoServer, breaks: (*checkedHost).endServers, hand: again},
		{cause: "listens on loopback only", finds: finding.LoopbackOnly, breaks: instead("tcp 127.0.0.1:8443"),
			hand: again},
		{cause: "listens on IPv4 only", finds: finding.ServerPartly, breaks: instead("tcp 0.0.0.0:8443"), hand: again},
		{cause: "listens for one protocol only", finds: finding.ServerPartly, add: "443:8443/tcp,udp",
			serve: []string{"tcp [::]:8443", "udp [::]:8443"}, asks: []question{ask4, "udp 192.0.2.1:443"},
			breaks: instead("tcp [::]:8443"), hand: func(s *checkedHost) { s.serve("udp [::]:8443") }},
		{cause: "another user on the target port", finds: finding.ServerBlocked, users: true,
			add: fmt.Sprintf("443:8443 --owner %d", owner), breaks: func(s *checkedHost) {
				s.endServers()
				s.servers = append(s.servers, s.host.EchoAs(squatter, "tcp", "[::]:8443"))
			}, hand: again},
		{cause: "the server does not accept", finds: finding.SocketBacklog, breaks: fullQueue,
			hand: func(s *checkedHost) {
				_ = unix.Close(s.more.(int))
				s.serve("tcp [::]:8443")
			}},
		{cause: "it names its own port", finds: finding.PortLeaked, add: "80:8443",
			asks: []question{"tcp 192.0.2.1:80"}, breaks: leak, hand: again},
	}
}

// fullQueue puts a server in the place of that which is there, which does not take the connections that wait for it.
func fullQueue(s *checkedHost) {
	s.endServers()
	s.host.Do(func() { // not by package net, which accepts as soon as it can and asks for a long queue
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil { // connections of the other one may be in TIME_WAIT
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet6{Port: 8443})
		}
		if err == nil {
			err = unix.Listen(fd, 0)
		}
		if err != nil {
			s.Error(err)
		}
		s.more = fd
	})
	for range 2 {
		_, _ = s.client.AskWithin(silence/3, "tcp", "", "192.0.2.1:443")
	}
}

// leak starts a web server that sends clients to its own port.
func leak(s *checkedHost) {
	s.endServers()
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://example.org:8443/")
		w.WriteHeader(http.StatusFound)
	})}
	s.host.Do(func() {
		listener, err := net.Listen("tcp", "[::]:8443")
		if err != nil {
			s.Error(err)
			return
		}
		go func() { _ = web.Serve(listener) }()
	})
	s.servers = append(s.servers, func() { _ = web.Close() })
	s.Cleanup(func() { _ = web.Close() })
}

// hostsTranslated have another rule that takes the packets before the mapping, or does away with it.
func hostsTranslated() []brokenHost {
	elsewhere := func(name, remove string, rules string) brokenHost {
		return brokenHost{cause: "translated first, " + name, finds: finding.ForeignRuleFirst, asks: []question{ask4},
			breaks: loaded(rules), hand: typed(remove)}
	}
	first := func(name, script, remove string) brokenHost {
		return brokenHost{cause: "translated first, " + name, finds: finding.ForeignRuleFirst, on: onIPTables,
			asks: []question{ask4}, breaks: typed(script), hand: typed(remove)}
	}
	return []brokenHost{
		elsewhere("by hand", "nft delete table ip mine", tableOf("ip mine", "pre",
			"nat hook prerouting priority -190", "tcp dport 443 dnat to 10.9.9.9:443")),
		elsewhere("by hand, to this host", "nft delete table inet mine", tableOf("inet mine", "pre",
			"nat hook prerouting priority -150", "tcp dport 443 redirect to :9443")),
		first("Docker", "iptables-nft -t nat -N DOCKER\n"+
			"iptables-nft -t nat -I PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"+
			"iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp --dport 443 -j DNAT --to-destination 172.17.0.2:443",
			"iptables-nft -t nat -F DOCKER"),
		first("kube-proxy", "iptables-nft -t nat -N KUBE-SERVICES\niptables-nft -t nat -N KUBE-NODEPORTS\n"+
			"iptables-nft -t nat -I PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES\n"+
			"iptables-nft -t nat -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"+
			"iptables-nft -t nat -A KUBE-NODEPORTS -p tcp --dport 443 -j DNAT --to-destination 10.244.0.7:8080",
			"iptables-nft -t nat -F KUBE-NODEPORTS"),
		{cause: "translated by firewalld, too", finds: finding.ForeignRuleShadowed,
			breaks: loaded(tableOf("inet firewalld", "nat_PREROUTING", "nat hook prerouting priority dstnat + 10",
				"tcp dport 443 redirect to :9443")),
			hand: typed("nft delete table inet firewalld")},
		{cause: "led back to the listen port", finds: finding.RedirectBack,
			breaks: loaded(tableOf("inet mine", "pre", "nat hook prerouting priority dstnat",
				"tcp dport 8443 redirect to :443")),
			hand: typed("nft delete table inet mine")},
		{cause: "not tracked", finds: finding.Untracked,
			breaks: loaded(tableOf("inet fast", "pre", "filter hook prerouting priority raw", "tcp dport 443 notrack")),
			hand:   typed("nft delete table inet fast")},
	}
}

// hostsFiltered have a rule that drops or rejects.
func hostsFiltered() []brokenHost {
	var list []brokenHost
	for _, h := range []struct {
		cause, rules string
		finds        finding.ID
	}{
		{"a policy to drop, nft", inputOf("drop", ""), finding.FirewallDrops},
		{"a rule that drops, nft", inputOf("accept", "tcp dport 8443 drop"), finding.RuleDrops},
		{"a rule that rejects, nft", inputOf("accept", "tcp dport 8443 reject"), finding.RuleDrops},
		{"a rule for one family, nft", inputOf("accept", "meta nfproto ipv6 tcp dport 8443 drop"), finding.RuleDrops},
		{"a chain that is jumped to, nft", "table ip filter {\nchain deep {\ntcp dport 8000-9000 drop\n}\n}\n" +
			tableOf("ip filter", "input", "filter hook input priority filter", "tcp dport 1024-65535 jump deep"),
			finding.RuleDrops},
		{"dropped before it is translated, nft", tableOf("inet early", "pre",
			"filter hook prerouting priority raw", "tcp dport 443 drop"), finding.RuleDrops},
	} {
		list = append(list, brokenHost{cause: h.cause, finds: h.finds, breaks: loaded(h.rules)})
	}
	for _, h := range []struct {
		cause, script string
		finds         finding.ID
		on            func() backend
	}{
		{"a policy to drop, iptables-nft", "for v in iptables ip6tables; do $v-nft -A INPUT -m conntrack --ctstate " +
			"ESTABLISHED -j ACCEPT; $v-nft -P INPUT DROP; done; ip6tables-nft -A INPUT -p icmpv6 -j ACCEPT",
			finding.FirewallDrops, onIPTables},
		{"a rule that drops, iptables-nft", "for v in iptables ip6tables; do $v-nft -A INPUT -p tcp --dport 8443 " +
			"-j DROP; done", finding.RuleDrops, onIPTables},
		{"a rule that rejects, iptables-nft, beside nft", "iptables-nft -A INPUT -s 192.0.2.77 -j DROP; " +
			"iptables-nft -A INPUT -p tcp --dport 8443 -j REJECT", finding.RuleDrops, onTables},
		{"ip6tables drops", "ip6tables-nft -A INPUT -p tcp --dport 8443 -j DROP", finding.RuleDrops, onIPTables},
		{"a policy to drop, iptables-legacy", "for v in iptables ip6tables; do $v-legacy -A INPUT -m conntrack " +
			"--ctstate ESTABLISHED -j ACCEPT; $v-legacy -P INPUT DROP; done; ip6tables-legacy -A INPUT -p icmpv6 " +
			"-j ACCEPT", finding.FirewallDrops, onLegacy},
		{"a rule that drops, iptables-legacy", "iptables-legacy -A INPUT -p tcp --dport 8443 -j DROP",
			finding.RuleDrops, onLegacy},
		{"a rule that drops, iptables-legacy, beside nft", "iptables-legacy -A INPUT -p tcp --dport 8443 -j DROP",
			finding.RuleDrops, onTables},
		{"answers dropped, iptables-nft", "iptables-nft -A OUTPUT -o lo -j ACCEPT; iptables-nft -P OUTPUT DROP",
			finding.AnswerDropped, onIPTables},
	} {
		list = append(list, brokenHost{cause: h.cause, finds: h.finds, on: h.on, breaks: typed(h.script)})
	}
	return append(list, brokenHost{cause: "answers dropped, nft", finds: finding.AnswerDropped,
		breaks: loaded(tableOf("inet out", "out", "filter hook output priority filter; policy drop",
			"oifname lo accept\nudp dport 53 accept\nicmpv6 type != echo-request accept"))})
}

// ufwRules are those of ufw with its default, as far as a packet to a server meets them.
const ufwRules = `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:ufw%-before-forward - [0:0]
:ufw%-user-forward - [0:0]
:ufw%-before-input - [0:0]
:ufw%-user-input - [0:0]
-A INPUT -j ufw%-before-input
-A FORWARD -j ufw%-before-forward
-A ufw%-before-input -i lo -j ACCEPT
-A ufw%-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw%-before-input -p PING -j ACCEPT
# End required lines
-A ufw%-before-input -j ufw%-user-input
-A ufw%-before-forward -j ufw%-user-forward
-A ufw%-user-input -p tcp --dport 22 -j ACCEPT
COMMIT
`

// hostsWithFirewalls have what firewalls make.
func hostsWithFirewalls() []brokenHost {
	firewalld := tableOf("inet firewalld", "filter_INPUT", "filter hook input priority filter + 10",
		"ct state established,related accept\niifname lo accept\nicmpv6 type { nd-neighbor-solicit, "+
			"nd-neighbor-advert } accept\ntcp dport 22 accept\nreject with icmpx admin-prohibited")
	return []brokenHost{
		{cause: "ufw", finds: finding.FirewallDrops, on: onIPTables, breaks: ufw},
		{cause: "firewalld with StrictForwardPorts", finds: finding.RuleDrops, breaks: loaded(firewalld),
			hand: typed("nft insert rule inet firewalld filter_INPUT ct status dnat accept")},
		{cause: "a ban that is passed by, fail2ban", finds: finding.BansBypassed, on: onIPTables,
			breaks: typed("iptables-nft -N f2b-nginx\niptables-nft -I INPUT -p tcp -m multiport --dports 80,443 " +
				"-j f2b-nginx\niptables-nft -A f2b-nginx -s 192.0.2.66/32 -j REJECT\niptables-nft -A f2b-nginx " +
				"-j RETURN"),
			then: func(s *checkedHost) {
				s.client.Run("ip", "address", "replace", "192.0.2.66/24", "dev", "eth0")
				a, err := s.client.AskWithin(silence, "tcp", "192.0.2.66", "192.0.2.1:443")
				if err == nil && !a.TimedOut {
					s.Errorf("who is banned is answered: %+v", a)
				}
			}},
	}
}

// ufw loads its rules, and lets its files and its reload be in the place of those of this system.
func ufw(s *checkedHost) {
	dir := s.TempDir()
	for version, icmp := range map[string]string{"": "icmp", "6": "icmpv6"} {
		text := strings.NewReplacer("%", version, "PING", icmp).Replace(ufwRules)
		write(s.T, filepath.Join(dir, "before"+version+".rules"), text)
	}
	s.lead = strings.ReplaceAll("sed() { command sed \"$1\" \"$2\" DIR/${3##*/}; }\n"+
		"ufw() { iptables-nft-restore DIR/before.rules; ip6tables-nft-restore DIR/before6.rules; }\n", "DIR", dir)
	s.run("ufw")
}

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
			on: onIPTables, asks: []question{ask4}, breaks: typed("iptables-nft -P FORWARD DROP")},
		{cause: "ufw's policy for what is forwarded", finds: finding.FirewallDrops, build: router, add: mapped,
			on: onIPTables, asks: []question{ask4}, breaks: ufw},
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
