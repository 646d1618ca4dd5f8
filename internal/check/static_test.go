package check

import (
	"context"
	"slices"
	"testing"

	"portmap/internal/boot"
	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/internal/others"
	"portmap/internal/servers"
)

// A healthy host has no findings, and one with several causes all of them.
func TestStaticFindings(t *testing.T) {
	network := lab.New(t)
	host := network.Host("host")
	network.Link(host, "192.0.2.1/24", "2001:db8::1/64", network.Host("client"), "192.0.2.2/24")
	host.Echo("tcp", "[::]:8443", "[::]:45000")
	look := func() (ids []finding.ID) {
		host.Do(func() {
			in := Facts{Mappings: lab.Mappings(t, "443:8443", "444:45000", "[2001:db8::1]:445:8443"),
				Boot: boot.Host{Root: t.TempDir()}}
			var err error
			if in.Servers, err = servers.Find(in.Mappings); err != nil {
				t.Error(err)
			}
			in.Servers.ResolveProcesses()
			if in.Others, err = others.Look(context.Background(), in.Mappings); err != nil {
				t.Error(err)
			}
			for _, f := range staticFindings(context.Background(), in) {
				ids = append(ids, f.ID)
			}
		})
		return ids
	}
	set(t, host, portRange, "50000 60000")
	if got := look(); len(got) > 0 {
		t.Errorf("a healthy host has %q", got)
	}
	set(t, host, portRange, "40000 60000")
	set(t, host, firstFree, "0")
	set(t, host, "ipv6/conf/all/disable_ipv6", "1")
	want := []finding.ID{finding.IPv6Off, finding.EphemeralPort, finding.UnprivilegedPorts}
	if got := look(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
