package conf

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

const sample = "# what this host serves\r\n443:8443/tcp,udp --name shop # the shop\n\n\tbackend nft\n" +
	" 80:8080 --source 10.0.0.0/8\n80:8080 --source=10.0.0.0/8\n# end"

// refuseMore stands for a backend that supports neither owners nor what no version can do yet.
func refuseMore(m rules.Mapping) error {
	if m.Owner() != "" {
		return &rules.UnsupportedError{Part: "--owner"}
	}
	return m.Within()
}

var known = Reader{Backends: []string{"nft", "iptables"}}

func read(t testing.TB, content string) Text {
	t.Helper()
	text, err := known.Parse(context.Background(), []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestParse(t *testing.T) {
	text := read(t, sample)
	if got := text.Set(); got.Len() != 2 || text.Backend() != "nft" || text.String() != sample {
		t.Errorf("read %v, backend %q, content %q", got.Mappings(), text.Backend(), text)
	}
	if got := Backend([]byte(sample)); got != "nft" {
		t.Errorf("a look for the backend finds %q", got)
	}
	for _, content := range []string{"", "# backend nft\n", "443:8443 --name backend\n"} {
		if got := Backend([]byte(content)); got != "" {
			t.Errorf("%q: a look for the backend finds %q", content, got)
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for content, want := range map[string]string{
		"\n\n443\n":                          "line 3: 443: no target",
		"443:8443\n444:8443 --name x\n444:1": "line 3: 444:1/tcp: 444/tcp is already taken by 444:8443/tcp --name x",
		"1:2\n#\n2:1\n":                      "line 1: 1:2/tcp: leads back to itself through 2:1/tcp, 1:2/tcp",
		"1:2 3:4":                            "line 1: 1:2: 3:4: a second mapping where one is expected",
		"1:2 --temporary":                    "line 1: 1:2/tcp: --temporary: a temporary mapping is never saved",
		"backend":                            "line 1: backend: takes one word",
		"backend ipfw":                       "line 1: backend: ipfw: not a backend",
		"backend nft\nbackend nft\nbackend iptables": "line 3: backend: iptables: another line says nft",
		"add 443:8443": "line 1: add: 443:8443: a second mapping where one is expected",
		"443:8443\x00": `line 1: "443:8443\x00": "8443\x00": not a port number or service name`,
	} {
		_, err := known.Parse(context.Background(), []byte(content))
		var line *LineError
		if !errors.As(err, &line) || err.Error() != want {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
}

// Without leaves out only the lines that a version does not support.
func TestWithout(t *testing.T) {
	text := read(t, "81:8081\n443:8443 --owner bob\n# more\n82:8082\n444:127.0.0.1:8443\n")
	good, wrong, err := text.Without(context.Background(), refuseMore)
	if err != nil {
		t.Fatal(err)
	}
	if len(wrong) != 1 || wrong[0].Error() != "line 2: 443:8443/tcp: --owner: not supported by this version" {
		t.Errorf("wrong are %v", wrong)
	}
	want := lab.Mappings(t, "81:8081", "82:8082", "444:127.0.0.1:8443")
	if !slices.EqualFunc(good.Set().Mappings(), want, rules.Mapping.Equal) {
		t.Errorf("good are %v", good.Set().Mappings())
	}
	if _, wrong, err := good.Without(context.Background(), refuseMore); wrong != nil || err != nil {
		t.Errorf("wrong are still %v", wrong)
	}
}

func TestEdit(t *testing.T) {
	shop, web := lab.Mappings(t, "443:8443/tcp,udp --name shop")[0], lab.Mappings(t, "80:8080 --source 10.0.0.0/8")[0]
	next, more := lab.Mappings(t, "443:9443")[0], lab.Mappings(t, "81:8081")[0]
	elsewhere := lab.Mappings(t, "81:9081")[0] // live, and not in the file
	for _, c := range []struct {
		what        string
		remove, add []rules.Mapping
		replaced    [][]rules.Mapping
		want        string
	}{
		{"nothing", nil, nil, nil, sample},
		{"one more", nil, []rules.Mapping{more}, nil, sample + "\n81:8081/tcp\n"},
		{"one less", []rules.Mapping{shop}, nil, nil,
			strings.Replace(sample, "443:8443/tcp,udp --name shop # the shop\n", "", 1)},
		{"one that stands twice", []rules.Mapping{web}, nil, nil,
			strings.Replace(sample, " 80:8080 --source 10.0.0.0/8\n80:8080 --source=10.0.0.0/8\n", "", 1)},
		{"one in the place of another", []rules.Mapping{shop}, []rules.Mapping{next}, [][]rules.Mapping{{shop}},
			strings.Replace(sample, "443:8443/tcp,udp --name shop # the shop\n", "443:9443/tcp # the shop\n", 1)},
		{"one in the place of two", []rules.Mapping{shop, web}, []rules.Mapping{next}, [][]rules.Mapping{{shop, web}},
			"# what this host serves\r\n443:9443/tcp # the shop\n\n\tbackend nft\n# end"},
		{"one in the place of one that stands twice", []rules.Mapping{web}, []rules.Mapping{more},
			[][]rules.Mapping{{web}},
			strings.Replace(sample, " 80:8080 --source 10.0.0.0/8\n80:8080 --source=10.0.0.0/8\n", "81:8081/tcp\n", 1)},
		{"one in the place of one that is elsewhere", []rules.Mapping{elsewhere}, []rules.Mapping{more},
			[][]rules.Mapping{{elsewhere}},
			sample + "\n81:8081/tcp\n"},
	} {
		if got := string(read(t, sample).Edit(c.remove, c.add, c.replaced)); got != c.want {
			t.Errorf("%s: got\n%q, want\n%q", c.what, got, c.want)
		}
	}
}

// A file that is read is kept byte for byte, and an edit changes nothing else.
func FuzzFile(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("443:8443\r\n\r\nbackend nft"))
	f.Add([]byte("1-5:2-6 -4\n 7:8 --source ::/0 # x\n#"))
	f.Fuzz(func(t *testing.T, content []byte) {
		text, err := known.Parse(context.Background(), content)
		if err != nil {
			return
		}
		if text.String() != string(content) || string(text.Edit(nil, nil, nil)) != string(content) {
			t.Fatalf("%q is kept as %q", content, text)
		}
		mappings := text.Set().Mappings()
		if len(mappings) == 0 {
			return
		}
		less := read(t, string(text.Edit(mappings[:1], nil, nil)))
		if len(rules.Minus(text.Set().Mappings(), less.Set().Mappings())) != 1 || less.Set().Len() != len(mappings)-1 ||
			less.Backend() != text.Backend() {
			t.Fatalf("%q without %s is %q", content, mappings[0], less)
		}
		again := read(t, string(less.Edit(nil, mappings[:1], nil)))
		if len(rules.Minus(text.Set().Mappings(), again.Set().Mappings())) != 0 {
			t.Fatalf("%q, edited there and back, is %q", content, again)
		}
	})
}
