package integration

import (
	"fmt"
	"strings"
	"testing"

	"portmap/rules"
)

// longest returns a mapping of exactly as many bytes as there may be, of which the client's network is the last.
func longest(t *testing.T) rules.Mapping {
	t.Helper()
	var line strings.Builder
	line.WriteString("443:8443/tcp --source 10.0.0.0/32")
	for i := 2; line.Len() < rules.MaxText-120; i += 2 {
		fmt.Fprintf(&line, ",10.%d.%d.%d/32", i>>16, i>>8&255, i&255)
	}
	line.WriteString(",192.0.2.0/24")
	text := line.String() + " --name "
	text = strings.Replace(line.String(), "/tcp ", "/tcp --name "+strings.Repeat("n", min(63, rules.MaxText-len(text)))+
		" ", 1)
	m, err := rules.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The longest mapping is live, whole, and is taken away again; a longer one is refused.
func TestLongestMapping(t *testing.T) {
	m := longest(t)
	if len(m.String()) < rules.MaxText-60 {
		t.Fatalf("it has %d bytes", len(m.String()))
	}
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", "192.0.2.1:8443")
		portmap := b.command(t, host)
		portmap.run(append([]string{"add"}, split(m)...)...)
		live := b.live(t, host)
		if live.Damaged != "" || len(live.Mappings) != 1 || !live.Mappings[0].Equal(m) {
			t.Fatalf("%d live, %s", len(live.Mappings), live.Damaged)
		}
		if answer, err := client.Ask("tcp", "", "192.0.2.1:443"); err != nil || answer.Server.Port() != 8443 {
			t.Errorf("%+v, %v", answer, err)
		}
		portmap.run("diff")
		longer := split(m)
		longer[0] = "444:8444"
		for i := range 8 {
			longer = append(longer, fmt.Sprintf("--source=172.16.%d.0/24", i))
		}
		if r := portmap.try(append([]string{"add"}, longer...)...); r.Code != 2 ||
			!strings.Contains(r.Err, "longer than 131071 bytes") {
			t.Errorf("a longer one ends with %d: %.300s", r.Code, r.Err)
		}
		portmap.run("remove", "443")
		if live := b.live(t, host); len(live.Mappings) != 0 || live.Damaged != "" {
			t.Errorf("%d are left, %s", len(live.Mappings), live.Damaged)
		}
	})
}

// split cuts a mapping into arguments that a command line can hold: one has at most 128 KiB (execve(2)).
func split(m rules.Mapping) []string {
	words := strings.Fields(m.String())
	last := len(words) - 1
	sources := strings.Split(strings.ReplaceAll(words[last], "/32", ""), ",") // shorter, and as much is meant
	words = words[:last-1]
	for len(sources) > 0 {
		n := min(1000, len(sources))
		words = append(words, "--source="+strings.Join(sources[:n], ","))
		sources = sources[n:]
	}
	return words
}
