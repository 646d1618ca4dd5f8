package conf

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// An invalid line is left out, and no other one.
func TestParseGood(t *testing.T) {
	for content, want := range map[string]struct {
		good  string
		wrong []int
	}{
		"":                            {"", nil},
		"443:8443\n80:8080\n":         {"443:8443/tcp 80:8080/tcp", nil},
		"80:eighty\n443:8443\n":       {"443:8443/tcp", []int{1}},
		"443:8443\n443:9443\n80:81":   {"443:8443/tcp 80:81/tcp", []int{2}},
		"backend ipfw\n443:8443\n":    {"443:8443/tcp", []int{1}},
		"1:2\n2:1\n3:4\n5:6 --x\nbad": {"2:1/tcp 3:4/tcp", []int{1, 4, 5}},
		"443:8443 --temporary\n":      {"", []int{1}},
		"nonsense":                    {"", []int{1}},
	} {
		text, wrong, err := known.ParseGood(context.Background(), []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		var good []string
		for _, m := range text.Set().Mappings() {
			good = append(good, m.String())
		}
		var lines []int
		for _, w := range wrong {
			lines = append(lines, w.Line)
		}
		if strings.Join(good, " ") != want.good || fmt.Sprint(lines) != fmt.Sprint(want.wrong) {
			t.Errorf("%q: %v, wrong are lines %v (%v)", content, good, lines, wrong)
		}
	}
}

func TestSetBackend(t *testing.T) {
	for _, c := range []struct{ content, name, want string }{
		{"", "iptables", "backend iptables\n"},
		{"443:8443", "nft", "backend nft\n443:8443"},
		{"443:8443\n", "", "443:8443\n"},
		{"backend nft\n443:8443\n", "nft", "backend nft\n443:8443\n"},
		{"443:8443\n backend  nft # why\n80:81\n", "iptables", "443:8443\nbackend iptables\n80:81\n"},
		{"# all of it\n\n443:8443\n", "nft", "# all of it\nbackend nft\n\n443:8443\n"},
		{"# the shop\n443:8443\n", "nft", "backend nft\n# the shop\n443:8443\n"},
	} {
		got := SetBackend([]byte(c.content), c.name)
		if string(got) != c.want {
			t.Errorf("%q with %s: %q, want %q", c.content, c.name, got, c.want)
		}
		if text, err := known.Parse(context.Background(), got); err != nil || c.name != "" && text.Backend() != c.name {
			t.Errorf("%q: %q, %v", got, text.Backend(), err)
		}
	}
}

func TestWithoutBackend(t *testing.T) {
	for content, want := range map[string]string{
		"":                        "",
		"443:8443 # backend nft":  "443:8443 # backend nft",
		"backend nft\n443:8443\n": "443:8443\n",
		"# top\n\n backend  nft # why\n80:81\nbackend nft": "# top\n\n80:81\n",
	} {
		if got := string(WithoutBackend([]byte(content))); got != want {
			t.Errorf("%q: %q, want %q", content, got, want)
		}
	}
}
