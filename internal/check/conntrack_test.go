package check

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/internal/trace"
	"portmap/rules"
)

// A table that is nearly full, or three quarters full after drops, is told of, with a remedy where it can be typed.
func TestConntrackFull(t *testing.T) {
	const drops = "entries insert_failed drop early_drop\n0000000a 00000005 0000000a 00000000\n0000000a 0 0 00000006\n"
	for _, c := range []struct{ name, count, limit, stat, says string }{
		{"nearly full", "900", "1000", "", "room for 1000 connections, and has 900"},
		{"not full", "899", "1000", "", ""},
		{"it has dropped", "751", "1000", drops, "had no room: it has 751 of 1000"},
		{"it has dropped once", "750", "1000", drops, ""},
		{"it failed to insert", "751", "1000", strings.ReplaceAll(strings.ReplaceAll(drops, "a 00000000\n", "0 0\n"),
			"06\n", "00\n"), ""},
		{"no limit", "501", "0", drops, ""},
		{"no connection tracking", "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := put(t, map[string]string{"proc/sys/net/" + conntrackCount: c.count,
				"proc/sys/net/" + conntrackMax: c.limit, "proc/thread-self/net/stat/nf_conntrack": c.stat})
			id := finding.ConntrackFull
			if c.says == "" {
				id = ""
			}
			got := conntrackFull(kernel(folder))
			expect(t, got, id, c.says)
			if len(got) == 0 {
				return
			}
			if got[0].Remedy != "sudo sysctl -w net.netfilter.nf_conntrack_max=2000" ||
				got[0].Undo != "sudo sysctl -w net.netfilter.nf_conntrack_max=1000" {
				t.Errorf("remedy %q, undo %q", got[0].Remedy, got[0].Undo)
			}
			if c.stat != "" && !strings.HasSuffix(got[0].Seen, "nf_conntrack: 16") {
				t.Errorf("seen by %q", got[0].Seen)
			}
			if err := os.Chmod(folder+"/proc/sys/net/"+conntrackMax, 0o444); err != nil {
				t.Fatal(err)
			}
			if got = conntrackFull(kernel(folder)); got[0].Remedy != "" || !strings.Contains(got[0].Text, "outside") {
				t.Errorf("where the limit cannot be changed: %+v", got)
			}
		})
	}
}

// Drops of connection tracking explain a packet that was not tracked, while there is little room.
func TestConntrackDrops(t *testing.T) {
	to, target := netip.MustParseAddrPort("192.0.2.1:443"), netip.MustParseAddrPort("10.0.0.5:8443")
	packet := func(to netip.AddrPort) *trace.Packet { return &trace.Packet{Hops: []trace.Hop{{To: to}}} }
	for _, c := range []struct {
		name, add string
		out       *trace.Packet
		drops     uint64
		crowded   bool
		id        finding.ID
	}{
		{"not followed", "443:8443", nil, 1, true, finding.ConntrackDrops},
		{"seen before that", "443:8443", packet(to), 1, true, finding.ConntrackDrops},
		{"another host", "443:10.0.0.5:8443", packet(to), 1, true, finding.ConntrackDrops},
		{"another host, and translated", "443:10.0.0.5:8443", packet(target), 1, true, finding.TargetSilent},
		{"arrived", "443:8443", &trace.Packet{Arrived: to}, 1, true, ""},
		{"much room", "443:8443", nil, 1, false, ""},
		{"no drops", "443:8443", nil, 0, true, ""},
	} {
		w := &Way{Mapping: lab.Mappings(t, c.add)[0], Protocol: rules.TCP, To: to, out: c.out}
		seen := counters{kernel: map[string]uint64{noRoom: c.drops}, crowded: c.crowded}
		got := (&Texts{}).explain(t.Context(), w, seen)
		if len(got) > 1 || len(got) == 0 && c.id != "" || len(got) == 1 && got[0].ID != c.id {
			t.Errorf("%s: %+v; want %q", c.name, got, c.id)
		}
	}
}

// The kernel's own files are read: of a new network namespace the table is empty, and the limit is not its own.
func TestConntrackOfThisKernel(t *testing.T) {
	lab.New(t).Host("host").Do(func() {
		_, known := kernel("").number(conntrackCount)
		if limit, _ := kernel("").number(conntrackMax); !known || limit == 0 || kernel("").writable(conntrackMax) {
			t.Errorf("count known: %v, limit %d, writable: %v", known, limit, kernel("").writable(conntrackMax))
		}
		expect(t, conntrackFull(""), "", "")
	})
}
