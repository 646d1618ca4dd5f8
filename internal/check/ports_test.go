package check

import (
	"os"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/rules"
	"portmap/rules/facts"
)

// set sets a setting of the host.
func set(t *testing.T, h *lab.Host, name, value string) {
	t.Helper()
	var err error
	h.Do(func() { err = os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
	if err != nil {
		t.Fatal(err)
	}
}

// A target port that the kernel may give away is told of, and reserved by the remedy beside those that are.
func TestEphemeralPort(t *testing.T) {
	host := lab.New(t).Host("host")
	set(t, host, portRange, "40000 50000")
	look := func(lines ...string) func() []finding.Finding {
		mappings := lab.Mappings(t, lines...)
		return func() []finding.Finding { return ephemeralPort("", mappings) }
	}
	for _, c := range []struct {
		reserved, remedy string
		mappings         []string
	}{
		{"", "", []string{"443:8443", "444:39999", "445:50001", "446:10.0.0.5:40001"}},
		{"", "40001", []string{"443:40001"}},
		{"8080,40000-40001", "", []string{"443:40001"}},
		{"8080,40000", "8080,40000-40001,45000", []string{"443:40001", "444:127.0.0.1:45000"}},
		{"40003", "40000-40004", []string{"100-109:39995-40004"}},
	} {
		set(t, host, reservedPorts, c.reserved+"\n")
		if c.remedy == "" {
			host.Do(func() { expect(t, look(c.mappings...)(), "", "") })
			continue
		}
		host.Do(func() {
			got := look(c.mappings...)()
			expect(t, got, finding.EphemeralPort, "of this host can take port 4")
			if want := "sudo sysctl -w net.ipv4.ip_local_reserved_ports=" + c.remedy; len(got) != 1 ||
				got[0].Remedy != want {
				t.Errorf("%+v, want the remedy %q", got, want)
			}
		})
		cured(t, host, look(c.mappings...))
	}
}

// A limit that was lowered to a listen port, or below, is told of.
func TestUnprivilegedPorts(t *testing.T) {
	host := lab.New(t).Host("host")
	look := func(start, line string) func() []finding.Finding {
		set(t, host, firstFree, start)
		m := lab.Mappings(t, line)
		return func() []finding.Finding { return unprivilegedPorts("", m) }
	}
	for _, c := range []struct{ start, mapping, says string }{
		{"1024", "443:8443", ""}, {"444", "443:8443", ""}, {"80", "2443:8443", ""}, {"2000", "443:8443", ""},
		{"443", "443:8443", "may listen on port 443, "}, {"0", "443:8443", "port 443, "},
		{"442", "440-443:8440-8443", "port 442, "},
	} {
		look := look(c.start, c.mapping)
		if c.says == "" {
			host.Do(func() { expect(t, look(), "", "") })
			continue
		}
		host.Do(func() { expect(t, look(), finding.UnprivilegedPorts, c.says) })
		cured(t, host, look)
	}
}

// A finding about one mapping names it, one about several does not.
func TestOnly(t *testing.T) {
	host := lab.New(t).Host("host")
	set(t, host, firstFree, "0")
	host.Do(func() {
		m := lab.Mappings(t, "443:8443", "80:8080")
		one, two := unprivilegedPorts("", m[:1]), unprivilegedPorts("", m)
		if !one[0].Mapping.Equal(m[0]) || !two[0].Mapping.IsZero() {
			t.Errorf("%+v, %+v", one, two)
		}
	})
}

func TestMerged(t *testing.T) {
	list := []rules.Ports{{First: 9, Last: 9}, {First: 1, Last: 3}, {First: 4, Last: 5}, {First: 2, Last: 3},
		{First: 65535, Last: 65535}, {First: 65534, Last: 65534}}
	if got := portsText(facts.Join(list)); got != "1-5,9,65534-65535" {
		t.Error(got)
	}
}
