package integration

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
)

// natOfOthers keeps NAT and connection tracking switched on, whatever becomes of portmap's rules.
const natOfOthers = `
table ip others {
	chain nat { type nat hook prerouting priority dstnat; }
	chain tracked { type filter hook input priority filter; ct state established accept; }
}
`

// loadNFT gives the host rules of nftables.
func loadNFT(t testing.TB, h *lab.Host, text string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if r := h.TryCommand(cmd); r.Code != 0 {
		t.Fatalf("nft -f: %s", r.Err)
	}
}

// peer is a client with a TCP connection and a UDP flow to one port.
type peer struct {
	t             testing.TB
	host          *lab.Host // where they are tracked
	source, to    string
	talk          *lab.Talk
	flow          *lab.Flow
	server        uint16 // that answers over UDP
	entries, name string
}

// newPeer is a client that has begun to talk.
func newPeer(t testing.TB, host, client *lab.Host, source, to string) *peer {
	t.Helper()
	for _, timeout := range [...]string{"udp_timeout", "udp_timeout_stream"} { // longer than a slow machine takes
		host.Run("sysctl", "-qw", "net.netfilter.nf_conntrack_"+timeout+"=600")
	}
	p := &peer{t: t, host: host, name: client.Name, source: source, to: to}
	p.talk, p.flow = client.Talk(to), client.Flow("udp", to)
	p.talk.Must(t, "at first")
	answer, err := p.flow.Ask()
	if err != nil {
		t.Fatal(err)
	}
	p.server = answer.Server.Port()
	p.entries = p.tracked("tcp") + " " + p.tracked("udp")
	return p
}

// tracked returns the number of the entry in connection tracking.
func (p *peer) tracked(protocol string) string {
	p.t.Helper()
	address, port, _ := strings.Cut(p.to, ":")
	flow := []string{"-p", protocol, "-s", p.source, "-d", address, "--orig-port-dst", port}
	return id(p.host.Run("conntrack", append([]string{"-L", "-o", "id"}, flow...)...))
}

// undisturbed fails the test where one of the flows has lost its entry, or does not go on. A TCP connection
// that has lost it can seem to go on, since connection tracking picks it up in the middle
// (nf_conntrack_tcp_loose).
func (p *peer) undisturbed(when string) {
	p.t.Helper()
	if now := p.tracked("tcp") + " " + p.tracked("udp"); now != p.entries {
		p.t.Errorf("%s: the entries of %s to %s were %s and are %s", when, p.name, p.to, p.entries, now)
	}
	p.talk.Must(p.t, when)
	if answer, err := p.flow.Ask(); err != nil || answer.Server.Port() != p.server {
		p.t.Errorf("%s: the flow of %s to %s: %+v, %v; want port %d", when, p.name, p.to, answer, err, p.server)
	}
}

// Docker's shape of NAT, to another address and to the very port that a mapping has as its target: its
// clients are nobody's business.
func TestFlowsThatOthersSendToAnotherAddress(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		n := lab.New(t)
		client, host, container := n.Host("client"), n.Host("host"), n.Host("container")
		n.Link(host, "192.0.2.1/24", client, "192.0.2.2/24")
		n.Link(host, "172.17.0.1/16", container, "172.17.0.2/16")
		host.Run("sysctl", "-qw", "net.ipv4.ip_forward=1")
		container.Route("default", "172.17.0.1")
		b.prefer(host)
		loadNFT(t, host, `
table ip docker {
	chain nat {
		type nat hook prerouting priority dstnat;
		fib daddr type local meta l4proto { tcp, udp } th dport 443 dnat to 172.17.0.2:8443
	}
}`)
		container.Chat("172.17.0.2:8443")
		container.Echo("udp", "172.17.0.2:8443")
		p := newPeer(t, host, client, "192.0.2.2", "192.0.2.1:443")
		command := b.command(t, host)
		for _, args := range [][]string{
			{"add", "443:8443/tcp,udp"},
			{"add", "443:9443/tcp,udp", "--replace"},
			{"flush"},
			{"apply"},
			{"remove", "443"},
		} {
			command.run(args...)
			p.undisturbed("after " + strings.Join(args, " "))
		}
	})
}

// A redirect of others keeps the address, too. It is told from a mapping by its port.
func TestFlowsThatOthersSendToAnotherPort(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		loadNFT(t, host, `
table ip redirects {
	chain nat {
		type nat hook prerouting priority dstnat;
		meta l4proto { tcp, udp } th dport 443 redirect to :7443
	}
}`)
		host.Chat("192.0.2.1:7443")
		host.Echo("udp", "192.0.2.1:7443")
		p := newPeer(t, host, client, "192.0.2.2", "192.0.2.1:443")
		command := b.command(t, host)
		for _, args := range [][]string{
			{"add", "443:8443/tcp,udp"},
			{"add", "443:9443/tcp,udp", "--replace"},
			{"add", "80:8080"},
			{"remove", "443"},
		} {
			command.run(args...)
			p.undisturbed("after " + strings.Join(args, " "))
		}
		command.write(b.line() + "80:8080\n443:8443/tcp,udp\n")
		command.run("apply")
		p.undisturbed("after the file was edited by hand")
	})
}

// One port is mapped once for each network card, to one server. Connection tracking does not record the card.
// It is known where the address and the way back agree; the flows that cannot be told apart stay.
func TestFlowsOfAnotherInterface(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		n := lab.New(t)
		host, left, right := n.Host("host"), n.Host("left"), n.Host("right")
		n.Link(host, "192.0.2.1/24", left, "192.0.2.2/24")
		n.Link(host, "198.51.100.1/24", right, "198.51.100.2/24")
		right.Route("192.0.2.0/24", "198.51.100.1")
		b.prefer(host)
		for _, port := range []string{":8443", ":9443"} {
			host.Chat("0.0.0.0" + port)
			host.Echo("udp", "192.0.2.1"+port, "198.51.100.1"+port)
		}
		command := b.command(t, host)
		command.run("add", "443:8443/tcp,udp", "--interface", "eth0", "--name", "left")
		command.run("add", "443:8443/tcp,udp", "--interface", "eth1", "--name", "right")
		of := newPeer(t, host, left, "192.0.2.2", "192.0.2.1:443")
		across := newPeer(t, host, right, "198.51.100.2", "192.0.2.1:443")
		other := newPeer(t, host, right, "198.51.100.2", "198.51.100.1:443")

		command.run("add", "443:9443/tcp,udp", "--interface", "eth1", "--name", "right", "--replace")
		of.undisturbed("after the mapping of the other card changed")
		across.undisturbed("after a change of one card, where the address is of another")
		if answer, err := other.flow.Ask(); err != nil || answer.Server.Port() != 9443 {
			t.Errorf("the flow by the card whose mapping changed: %+v, %v; want port 9443", answer, err)
		}
		if err := other.talk.Say(time.Second); err == nil {
			t.Error("the connection by the card whose mapping changed goes on")
		}
		command.run("remove", "right")
		of.undisturbed("after the removal of the other card's mapping")
		command.run("add", "443:8443/tcp,udp", "--interface", "eth1", "--name", "right")
		of.undisturbed("after the other card's mapping came back")
	})
}

// A mapping that got only a name, or a sibling, changes no flow's way. A TCP connection to a server on the
// listen port itself stays there.
func TestFlowsThatGoTheSameWay(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		loadNFT(t, host, natOfOthers)
		host.Chat("192.0.2.1:8443")
		host.Chat("192.0.2.1:80")
		host.Echo("udp", "192.0.2.1:8443")
		command := b.command(t, host)
		direct := client.Talk("192.0.2.1:80")
		direct.Must(t, "at first")
		entry := func() string {
			return id(host.Run("conntrack", "-L", "-p", "tcp", "--orig-port-dst", "80", "-o", "id"))
		}
		before := entry()
		command.run("add", "443:8443/tcp,udp")
		p := newPeer(t, host, client, "192.0.2.2", "192.0.2.1:443")
		command.run("add", "443:8443/tcp,udp", "--replace", "--name", "shop")
		p.undisturbed("after it got a name")
		command.run("add", "443:8443/tcp,udp", "--replace", "--source", "192.0.2.0/24,2001:db8::/32")
		p.undisturbed("after it got a source that has the client")
		command.run("add", "443-444:8443-8444/tcp,udp", "--replace")
		p.undisturbed("after it got a sibling")
		command.run("add", "80:8443/tcp,udp")
		p.undisturbed("after another mapping came")
		if after := entry(); after != before {
			t.Errorf("the entry of the connection to port 80 itself was %s and is %s", before, after)
		}
		direct.Must(t, "after its port was mapped")
	})
}

// Others flushed the rules. A flow that a mapping had translated still goes its way, as long as NAT is on,
// and the next change finds nothing in the kernel to remove.
func TestFlowsAfterAFlushByOthers(t *testing.T) {
	for _, change := range []struct {
		name string
		args []string
		file string // written by hand before; empty to leave the file
		want uint16 // the port that answers then; 0 for none
	}{
		{"remove", []string{"remove", "443"}, "", 0},
		{"add --replace", []string{"add", "443:9443/udp", "--replace"}, "", 9443},
		{"flush", []string{"flush"}, "", 0},
		{"apply of an edited file", []string{"apply"}, "443:9443/udp\n", 9443},
		{"apply of another file", []string{"apply", "-f", "new"}, "", 9443},
		{"apply of another file without it", []string{"apply", "-f", "other"}, "", 0},
	} {
		t.Run(change.name, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, b backend) {
				host, client := b.barePair(t)
				host.Echo("udp", "192.0.2.1:8443", "192.0.2.1:9443")
				command := b.command(t, host)
				command.run("add", "443:8443/udp", "80:8080/udp")
				flow := client.Flow("udp", "192.0.2.1:443")
				must := func(when string, want uint16) {
					t.Helper()
					answer, err := flow.Ask()
					if answer.Server.Port() != want || (err == nil) != (want != 0) {
						t.Errorf("%s: %+v, %v; want port %d", when, answer, err, want)
					}
				}
				must("at first", 8443)
				loadNFT(t, host, natOfOthers) // before the flush, so that NAT is never off
				b.flushOurs(host)
				must("after the flush", 8443)
				args := command.files(change.args, map[string]string{"new": "443:9443/udp\n", "other": "80:8080/udp\n"})
				if change.file != "" {
					command.write(b.line() + change.file)
				}
				command.run(args...)
				must("after the change", change.want)
			})
		})
	}
}

// flushOurs flushes portmap's rules together with others of the same tables.
func (b backend) flushOurs(h *lab.Host) {
	if b.name == "nft" {
		h.Run("nft", "delete", "table", "inet", "portmap")
	} else {
		b.flush(h)
	}
}

// write writes the file by hand.
func (p portmap) write(content string) {
	p.t.Helper()
	if err := os.WriteFile(p.file, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// files writes the files that arguments name, and returns the arguments with their paths.
func (p portmap) files(args []string, files map[string]string) []string {
	p.t.Helper()
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = arg
		if content, ok := files[arg]; ok {
			out[i] = p.t.TempDir() + "/" + arg
			if err := os.WriteFile(out[i], []byte(content), 0o644); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	return out
}

// Connections that talk while the rules are gone go on where others keep NAT and connection tracking on:
// README says so.
func TestConnectionsOutliveAFlushBesideOthersNAT(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Chat("192.0.2.1:8443")
		command := b.command(t, host)
		command.run("add", "443:8443")
		loadNFT(t, host, natOfOthers)
		talk := client.Talk("192.0.2.1:443")
		talk.Must(t, "at first")
		b.flushOurs(host)
		talk.Must(t, "while the rules are gone")
		command.run("apply")
		talk.Must(t, "after they are back")
	})
}
