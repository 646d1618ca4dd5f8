package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"portmap/internal/lab"
)

// traced is an object that trace -o json prints.
type traced struct {
	Mapping, Protocol, Source, Address, Interface, Result string
	Expected                                              []string
	Path                                                  []struct {
		Place, Text string
		Parts       bool
	}
}

// startTrace starts a trace on the host, and returns when it follows packets: its table is there. Its output ends with
// it.
func (p portmap) startTrace(t testing.TB, host *lab.Host, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := p.cmd(append([]string{"trace"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	host.Start(cmd)
	for range 500 {
		if strings.Contains(host.Run("nft", "list", "tables"), "portmap-trace-") {
			return cmd, out
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("trace does not begin")
	return nil, nil
}

// A trace shows real clients' first packets: those of the mapping, from the networks asked for, once a connection;
// where each goes; and the rule that drops one.
func TestTrace(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			host, client := b.barePair(t)
			host.Echo("tcp", "[::]:8443")
			host.Echo("udp", "[::]:8443")
			p := b.command(t, host)
			p.run("add", "443:8443/tcp,udp", "80:8443")
			host.Run("nft", "add table inet by-hand; add chain inet by-hand c { type filter hook input priority 5; }; "+
				"add rule inet by-hand c ip6 saddr 2001:db8::2 tcp dport 8443 drop")
			cmd, out := p.startTrace(t, host, "443", "--count", "3", "-o", "json")
			for _, way := range []string{"tcp 192.0.2.1:80", "tcp 192.0.2.1:8443", "tcp 192.0.2.1:443",
				"udp 192.0.2.1:443"} {
				network, to, _ := strings.Cut(way, " ")
				if answer, err := client.Ask(network, "", to); err != nil || answer.Refused {
					t.Fatalf("%s: %+v, %v", way, answer, err)
				}
			}
			dropped := "[2001:db8::1]:443"
			client.Do(func() {
				if conn, err := net.DialTimeout("tcp", dropped, 100*time.Millisecond); err == nil {
					conn.Close()
				}
			})
			var got []string
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				var one traced
				if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
					t.Fatalf("%s: %v", lines.Text(), err)
				}
				parts := ""
				for _, step := range one.Path {
					words := strings.HasPrefix(step.Text, "-A ") || strings.HasPrefix(step.Text, "policy ")
					if b.name == "iptables-nft" && !words && !strings.HasPrefix(step.Place, "inet ") {
						t.Errorf("not in the words of iptables: %s: %s", step.Place, step.Text)
					}
					if step.Parts {
						parts = " at " + step.Place + ": " + step.Text
					}
				}
				if len(one.Path) == 0 && b.name != "iptables-legacy" || one.Mapping != "443:8443/tcp,udp" {
					t.Errorf("%+v", one)
				}
				got = append(got, fmt.Sprintf("%s %s on %s: %s%s", one.Protocol, one.Address, one.Interface, one.Result,
					parts))
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			want := []string{
				"tcp 192.0.2.1:443 on eth0: went to 192.0.2.1:8443",
				"udp 192.0.2.1:443 on eth0: went to 192.0.2.1:8443",
				"tcp [2001:db8::1]:443 on eth0: dropped at inet by-hand c: ip6 saddr 2001:db8::2 tcp dport 8443 drop",
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// A trace that ends, by an interrupt or by a kill, leaves no rule, and traffic goes on.
func TestTraceLeavesNothing(t *testing.T) {
	b := backends()[0]
	host, client := b.pair(t)
	host.Echo("tcp", "[::]:8443")
	p := b.command(t, host)
	p.run("add", "443:8443")
	before := host.Run("nft", "list", "tables")
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		cmd, _ := p.startTrace(t, host, "443")
		_ = cmd.Process.Signal(signal)
		if err := cmd.Wait(); (err == nil) != (signal == syscall.SIGINT) {
			t.Errorf("%s: %v", signal, err)
		}
		for i := 0; host.Run("nft", "list", "tables") != before; i++ {
			if i == 200 {
				t.Fatalf("%s leaves %s", signal, host.Run("nft", "list", "tables"))
			}
			time.Sleep(10 * time.Millisecond)
		}
		if answer, err := client.Ask("tcp", "", "192.0.2.1:443"); err != nil || answer.Refused {
			t.Errorf("after it: %+v, %v", answer, err)
		}
	}
}

// How many new connections a second a mapping serves while a trace follows some of them, beside without: in rounds of
// both, since machines are noisy.
func BenchmarkTrace(b *testing.B) {
	k := backends()[0]
	host, client := k.barePair(b)
	client.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65000", "net.ipv4.tcp_tw_reuse=1")
	p := k.command(b, host)
	p.run("add", "443:8443")
	host.Echo("tcp", "0.0.0.0:8443")
	rate := func() float64 {
		const connections = 2000
		began := time.Now()
		client.Do(func() {
			for range connections {
				if err := connectOnce("192.0.2.1:443"); err != nil {
					b.Fatal(err)
				}
			}
		})
		return connections / time.Since(began).Seconds()
	}
	var alone, ratios []float64
	for b.Loop() {
		before := rate()
		cmd, out := p.startTrace(b, host, "443")
		go func() { _, _ = io.Copy(io.Discard, out) }()
		traced := rate()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		alone, ratios = append(alone, before), append(ratios, 2*traced/(before+rate()))
	}
	b.ReportMetric(median(alone), "connections/s")
	b.ReportMetric(median(ratios), "traced/alone")
}
