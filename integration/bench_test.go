package integration

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"
)

// New connections a second from one client: to the server itself, through a mapping, and through a mapping over the
// eight addresses of the host, where redirect collapses. One after another, from one thread: the ratios are what
// counts.
func BenchmarkNewConnections(b *testing.B) {
	for _, c := range []struct {
		name      string
		port      int
		addresses int
		others    string // rules in place of a mapping
	}{
		{"direct", 8443, 1, ""}, {"mapped", 443, 1, ""}, {"mapped, 8 addresses", 443, 8, ""},
		{"redirect, 8 addresses", 443, 8, `table inet other {
			chain c { type nat hook prerouting priority dstnat; tcp dport 443 redirect to :8443; }
		}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			host, client := backends()[0].barePair(b)
			var targets []string
			for i := range c.addresses {
				address := fmt.Sprintf("192.0.2.%d", 20+i)
				host.Address("eth0", address+"/24")
				targets = append(targets, fmt.Sprintf("%s:%d", address, c.port))
			}
			client.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000", "net.ipv4.tcp_tw_reuse=1")
			switch {
			case c.others != "":
				backends()[0].load(b, host, []string{c.others})
			case c.port == 443:
				backends()[0].add(b, host, "443:8443")
			}
			host.Echo("tcp", "0.0.0.0:8443")
			client.Do(func() {
				for i := 0; b.Loop(); i++ {
					if err := connectOnce(targets[i%len(targets)]); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connections/s")
		})
	}
}

func connectOnce(address string) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = io.Copy(io.Discard, conn)
	return err
}

// New connections a second through one mapping alone, through the last of 10,000, and through as many flat rules as
// iptables users write them.
func BenchmarkLastOfManyMappings(b *testing.B) {
	const last = 11000
	for _, k := range backends() {
		for _, c := range []string{"one", "last of 10,000", "flat rules"} {
			b.Run(k.name+", "+c, func(b *testing.B) {
				host, client := k.barePair(b)
				client.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65000", "net.ipv4.tcp_tw_reuse=1")
				var lines []string
				for i := range 10000 {
					lines = append(lines, fmt.Sprintf("%d:%d", last-9999+i, last-9999+i+20000))
				}
				switch c {
				case "one":
					k.add(b, host, lines[len(lines)-1])
				case "last of 10,000":
					k.change(b, host, rules.Change{Reset: true, Add: lab.Mappings(b, lines...)})
				case "flat rules":
					k.load(b, host, k.flat(last-9999, last))
				}
				host.Echo("tcp", fmt.Sprintf("0.0.0.0:%d", last+20000))
				client.Do(func() {
					for b.Loop() {
						if err := connectOnce(fmt.Sprintf("192.0.2.1:%d", last)); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connections/s")
			})
		}
	}
}

// New connections a second through a mapping without options, and through one with an owner that hides its target port:
// as the only one, and as the last of 10,000 that all have both. Compare within one run: -count 5.
func BenchmarkOwnerAndHide(b *testing.B) {
	const last = 11000
	for _, k := range backends() {
		for _, count := range []int{1, 10000} {
			for _, options := range []string{"", fmt.Sprintf(" --owner %d --hide", owner)} {
				b.Run(fmt.Sprintf("%s, %d%s", k.name, count, options), func(b *testing.B) {
					needUsers(b)
					host, client := k.barePair(b)
					client.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65000", "net.ipv4.tcp_tw_reuse=1")
					var lines []string
					for port := last - count + 1; port <= last; port++ {
						lines = append(lines, fmt.Sprintf("%d:%d%s", port, port+20000, options))
					}
					k.change(b, host, rules.Change{Reset: true, Add: lab.Mappings(b, lines...)})
					host.EchoAs(owner, "tcp", fmt.Sprintf("0.0.0.0:%d", last+20000))
					client.Do(func() {
						for b.Loop() {
							if err := connectOnce(fmt.Sprintf("192.0.2.1:%d", last)); err != nil {
								b.Fatal(err)
							}
						}
					})
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connections/s")
				})
			}
		}
	}
}

// flat is one rule for each port, one behind the other.
func (b backend) flat(first, last int) []string {
	var text strings.Builder
	if b.name == "nft" {
		text.WriteString("table inet flat {\nchain prerouting {\ntype nat hook prerouting priority dstnat;\n")
	} else {
		text.WriteString("*nat\n")
	}
	for port := first; port <= last; port++ {
		if b.name == "nft" {
			fmt.Fprintf(&text, "tcp dport %d counter dnat to :%d\n", port, port+20000)
		} else {
			fmt.Fprintf(&text, "-A PREROUTING -p tcp -m tcp --dport %d -j DNAT --to-destination :%d\n", port,
				port+20000)
		}
	}
	if b.name == "nft" {
		text.WriteString("}\n}\n")
	} else {
		text.WriteString("COMMIT\n")
	}
	return []string{text.String()}
}

// How long a check takes: of the one mapping of a healthy host, of one of 60,000, and of all of these, of which some
// are tried.
func BenchmarkCheck(b *testing.B) {
	for _, c := range []struct {
		name  string
		count int
		args  []string
	}{
		{"one mapping", 1, nil}, {"one of 60,000", 60000, []string{"1000"}}, {"60,000", 60000, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			host, _ := backends()[0].barePair(b)
			host.Echo("tcp", "[::]:999")
			p := backends()[0].command(b, host)
			apply := p.cmd("apply", "-q", "-f", "-")
			apply.Stdin = strings.NewReader(manyMappings(c.count))
			if r := host.TryCommand(apply); r.Code != 0 {
				b.Fatal(r.Err)
			}
			for b.Loop() {
				p.run(append([]string{"check"}, c.args...)...)
			}
		})
	}
}
