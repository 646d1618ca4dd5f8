package servers

import (
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/rules"
)

func TestKernelsThatConfuseSockets(t *testing.T) {
	for release, want := range map[string]bool{
		"6.1.0-18-amd64": true, "6.6.87": true, "5.15.0-91-generic": true, "4.19.0": true,
		"5.14.0-427.el9.x86_64": true,
		"6.7.0":                 false, "6.7-rc1": false, "6.12.41+deb13-amd64": false, "6.18.44": false,
		"10.1.0": false,
		"":       false, "next": false,
	} {
		if got := (Kernel{release, true}).ConfusesSockets(); got != want {
			t.Errorf("%q: %t; want %t", release, got, want)
		}
		if (Kernel{release, false}).ConfusesSockets() {
			t.Errorf("%q confuses sockets without early demux", release)
		}
	}
}

func TestMappingsThatEndAtOnePort(t *testing.T) {
	for _, test := range []struct {
		added, others, want string
	}{
		{"80:8443", "443:8443", "80:8443/tcp and 443:8443/tcp"},
		{"80:8443; 443:8443", "80:8443; 443:8443", "443:8443/tcp and 80:8443/tcp"},
		{"80:8443/tcp,udp", "443:8443", "80:8443/tcp,udp and 443:8443/tcp"},
		{"80:8443", "8000-8010:8440-8450", "80:8443/tcp and 8000-8010:8440-8450/tcp"},
		{"192.0.2.1:80:8443", "443:8443", "192.0.2.1:80:8443/tcp and 443:8443/tcp"},
		{"80:8443 --source 10.0.0.0/8", "443:8443 --source 10.1.0.0/16", "80:8443/tcp and 443:8443/tcp"},
		{"80:8443 --interface eth0", "443:8443", "80:8443/tcp and 443:8443/tcp"},
		{"80:8080", "443:8443", ""},
		{"80:8443", "80:8443", ""},
		{"80:8443/udp", "443:8443/udp", ""},
		{"80:8443/udp", "443:8443", ""},
		{"80:8443 -4", "443:8443 -6", ""},
		{"192.0.2.1:80:8443", "192.0.2.2:443:8443", ""},
		{"80:8443 --source 10.0.0.0/8", "443:8443 --source 192.0.2.0/24", ""},
		{"80:8443 --interface eth0", "443:8443 --interface eth1", ""},
		{"8000-8010:9000-9010", "8000-8010:9000-9010", ""},
		{"", "443:8443", ""},
	} {
		got := SharedTarget(Kernel{"6.1.0-18-amd64", true}, listOf(t, test.added), listOf(t, test.others))
		if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || got[0].ID != finding.SharedTarget ||
			!strings.HasPrefix(got[0].Text, test.want) || !strings.HasPrefix(test.want, got[0].Mapping.Spec())) {
			t.Errorf("added %q to %q: %q; want %q", test.added, test.others, got, test.want)
		}
		if got := SharedTarget(Kernel{"6.12.0", true}, listOf(t, test.added), listOf(t, test.others)); len(got) > 0 {
			t.Errorf("a kernel that confuses nothing: %q", got)
		}
	}
}

func listOf(t *testing.T, text string) []rules.Mapping {
	t.Helper()
	if text == "" {
		return nil
	}
	return lab.Mappings(t, strings.Split(text, "; ")...)
}
