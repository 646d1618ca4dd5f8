package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

var testServices = Services(func(network, name string) (int, error) {
	ports := map[string]int{"tcp/https": 443, "udp/https": 443, "tcp/http-alt": 8080, "tcp/odd": 1, "udp/odd": 2}
	if port, ok := ports[network+"/"+name]; ok {
		return port, nil
	}
	return 0, errors.New("unknown")
})

func parseLine(line string) (Mapping, error) {
	p := Parser{Services: testServices}
	return p.Parse(line)
}

func must(t testing.TB, lines ...string) []Mapping {
	t.Helper()
	var list []Mapping
	for _, line := range lines {
		m, err := parseLine(line)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

// What is read is printed in one canonical form, which is read back to the same.
func TestCanonicalForm(t *testing.T) {
	for line, want := range map[string]string{
		"443:8443":                                          "443:8443/tcp",
		"443:8443/udp":                                      "443:8443/udp",
		"443:8443/udp,tcp":                                  "443:8443/tcp,udp",
		"443:8443/TCP,Udp":                                  "443:8443/tcp,udp",
		"443-443:8443-8443":                                 "443:8443/tcp",
		"https:8443/tcp,udp":                                "443:8443/tcp,udp",
		"80:http-alt":                                       "80:8080/tcp",
		"8000-8010:9000-9010/udp":                           "8000-8010:9000-9010/udp",
		"192.0.2.7:443:8443":                                "192.0.2.7:443:8443/tcp",
		"[2001:DB8:0::7]:443:8443":                          "[2001:db8::7]:443:8443/tcp",
		"443:10.0.0.5:8443":                                 "443:10.0.0.5:8443/tcp",
		"443:[2001:db8::5]:8443":                            "443:[2001:db8::5]:8443/tcp",
		"192.0.2.7:443:10.0.0.5:8443":                       "192.0.2.7:443:10.0.0.5:8443/tcp",
		"443:127.0.0.1:443":                                 "443:127.0.0.1:443/tcp",
		"443:10.0.0.5:8443,10.0.0.6:8444":                   "443:10.0.0.5:8443,10.0.0.6:8444/tcp",
		"443:10.0.0.5,10.0.0.6:8443 --sticky":               "443:10.0.0.5:8443,10.0.0.6:8443/tcp --sticky",
		"443:8443,9443":                                     "443:8443,9443/tcp",
		"443:9443,8443/udp --sticky":                        "443:8443,9443/udp --sticky",
		"80:http-alt,8081":                                  "80:8080,8081/tcp",
		"443:10.0.0.6:1,[2001:db8::5]:1,10.0.0.5:2":         "443:10.0.0.5:2,10.0.0.6:1,[2001:db8::5]:1/tcp",
		"[::1]:443:[::1]:8443":                              "[::1]:443:[::1]:8443/tcp",
		"443:8443 -4":                                       "443:8443/tcp -4",
		"--ipv6 443:8443":                                   "443:8443/tcp -6",
		"192.0.2.7:443:8443 -4":                             "192.0.2.7:443:8443/tcp",
		"443:8443 -4 --source 10.0.0.0/8":                   "443:8443/tcp --source 10.0.0.0/8",
		"443:8443 --source 192.0.2.1":                       "443:8443/tcp --source 192.0.2.1/32",
		"1:2 --source 10.1.0.0/16 --source=::/0,10.0.0.0/8": "1:2/tcp --source 10.0.0.0/8,::/0",
		"1:2 --source 192.168.0.0/16,10.0.0.0/8":            "1:2/tcp --source 10.0.0.0/8,192.168.0.0/16",
		"1:2 --source 10.0.0.0/16 --source 10.0.0.0/8":      "1:2/tcp --source 10.0.0.0/8",
		"1:2 --source ::/0,10.2.0.0/16,10.1.0.0/16,::/0":    "1:2/tcp --source 10.1.0.0/16,10.2.0.0/16,::/0",
		"1:2 --temporary --temporary -4 --ipv4":             "1:2/tcp -4 --temporary",
		"1:2 --interface=-x":                                "1:2/tcp --interface=-x",
		"1:2 --interface=#x":                                "1:2/tcp --interface=#x",
		"1:2 --hide --owner www-data --name a.b-c_9":        "1:2/tcp --name a.b-c_9 --owner www-data --hide",
		"1:2 --hide --owner www-data":                       "1:2/tcp --owner www-data --hide",
		"1:2 --owner 01000":                                 "1:2/tcp --owner 1000",
		"1:10.0.0.5:2 --forward --temporary":                "1:10.0.0.5:2/tcp --forward --temporary",
		"\t443:8443   --name shop # the shop":               "443:8443/tcp --name shop",
		"65535:1":                                           "65535:1/tcp",
	} {
		m, err := parseLine(line)
		if err != nil || m.String() != want {
			t.Errorf("%q: got %q, %v, want %q", line, m, err, want)
			continue
		}
		if again, err := parseLine(want); err != nil || !again.Equal(m) {
			t.Errorf("%q is read back as %q, %v", want, again, err)
		}
	}
}

// Every error says which part is wrong and what would be right.
func TestRefused(t *testing.T) {
	for line, want := range map[string][2]string{ // the error, and a part of the remedy
		"":                      {"no mapping", "443:8443"},
		"443":                   {"443: no target", "443:8443"},
		"443:":                  {"443:: a port is missing", "443:8443"},
		":8443":                 {":8443: a port is missing", "443:8443"},
		"0:8443":                {"0:8443: 0: not a port", "1-65535"},
		"443:65536":             {"443:65536: 65536: not a port", "1-65535"},
		"443:99999999999999999": {"443:99999999999999999: 99999999999999999: not a port", "1-65535"},
		"+443:8443":             {"+443:8443: +443: not a port number or service name", "1-65535"},
		"٤٤٣:8443":              {"٤٤٣:8443: ٤٤٣: not a port number or service name", "1-65535"},
		"0443:8443":             {"0443:8443: 0443: a port has no leading zero", "443"},
		"443:8443/sctp":         {"443:8443/sctp: sctp: not a protocol", "/tcp,udp"},
		"443:8443/TCPX":         {"443:8443/TCPX: TCPX: not a protocol", "/tcp"},
		"443:8443/":             {"443:8443/: not a protocol", "/tcp"},
		"8010-8000:9000-9010": {"8010-8000:9000-9010: 8010-8000: the range runs backwards",
			"8000-8010"},
		"8000-8010:9000": {"8000-8010:9000: 9000: 1 port for 11 ports",
			"8000-8010:9000-9010"},
		"8000-8010:65530":             {"8000-8010:65530: 65530: 1 port for 11 ports", "same number"},
		"443:443":                     {"443:443: maps to itself", "another"},
		"192.0.2.7:443:192.0.2.7:443": {"192.0.2.7:443:192.0.2.7:443: maps to itself", "another"},
		"odd:8443/tcp,udp": {"odd:8443/tcp,udp: odd: has other ports over tcp (1) and udp (2)",
			"number"},
		"nosuch:8443": {"nosuch:8443: nosuch: not a service that this host knows",
			"number"},
		"[::ffff:192.0.2.1]:443:8443": {
			"[::ffff:192.0.2.1]:443:8443: ::ffff:192.0.2.1: an IPv4 address inside an IPv6 one", "192.0.2.1"},
		"[fe80::1%eth0]:443:8443": {
			"[fe80::1%eth0]:443:8443: fe80::1%eth0: a zone is not part of an address", "--interface eth0"},
		"2001:db8::7:443:8443": {"2001:db8::7:443:8443: an IPv6 address without brackets",
			"write [2001:db8::7]:443:8443"},
		"[2001:db8::7:443:8443": {"[2001:db8::7:443:8443: no closing bracket", "[2001:db8::7]:443"},
		"[192.0.2.7]:443:8443": {
			"[192.0.2.7]:443:8443: 192.0.2.7: brackets are for IPv6 addresses, and only for them", ""},
		"0.0.0.0:443:8443":       {"0.0.0.0:443:8443: 0.0.0.0: stands for every address", "-4"},
		"[::]:443:8443":          {"[::]:443:8443: ::: stands for every address", "-6"},
		"224.0.0.1:443:8443":     {"224.0.0.1:443:8443: 224.0.0.1: not an address of a host", ""},
		"192.0.2.300:443:8443":   {"192.0.2.300:443:8443: 192.0.2.300: not an IP address", ""},
		"443:10.0.0.5:8443,8444": {"443:10.0.0.5:8443,8444: 8444: not a target", "ADDRESS:PORT"},
		"443:10.0.0.5": {"443:10.0.0.5: 10.0.0.5: the target's port is missing",
			"10.0.0.5:8443"},
		"1:2 3:4": {"1:2: 3:4: a second mapping where one is expected",
			"one mapping a line"},
		"1:2 --nosuch":                          {"1:2: --nosuch: no such option", "--help"},
		"1:2 -x":                                {"1:2: -x: no such option", "--help"},
		"1:2 --hide=yes":                        {"1:2: --hide: takes no value", "--hide"},
		"1:2 --temporary=no":                    {"1:2: --temporary: takes no value", "--temporary"},
		"1:2 -4=banana":                         {"1:2: -4: takes no value", "-4"},
		"1:2 --interface a --interface b":       {"1:2: --interface: given twice", "once"},
		"1:2 --interface a --interface=a":       {"1:2: --interface: given twice", "once"},
		"--name a 1:2 --name b":                 {"1:2: --name: given twice", "once"},
		"1:2 --owner a --owner b":               {"1:2: --owner: given twice", "once"},
		"1:2 --name":                            {"1:2: --name: its value is missing", "--name NAME"},
		"1:2 --name -x":                         {"1:2: --name -x: not a name", "letter or digit"},
		"1:2 --name " + strings.Repeat("n", 64): {"1:2: --name " + strings.Repeat("n", 64) + ": not a name", "63"},
		"1:2 --interface lo": {
			"1:2: --interface lo: only this host's own connections pass lo, and --interface excludes them",
			"127.0.0.1"},
		"1:2 --interface ..":               {"1:2: --interface ..: not an interface name", "1-15"},
		"1:2 --interface a/b":              {"1:2: --interface a/b: not an interface name", "1-15"},
		"1:2 --interface a:b":              {"1:2: --interface a:b: not an interface name", "1-15"},
		"1:2 --interface a\"b":             {"1:2: --interface a\"b: not an interface name", "1-15"},
		"1:2 --interface eth*":             {"1:2: --interface eth*: wildcards are not taken", "one interface"},
		"1:2 --interface eth+":             {"1:2: --interface eth+: wildcards are not taken", "one interface"},
		"1:2 --interface sixteen-bytes-xx": {"1:2: --interface sixteen-bytes-xx: longer than 15 bytes", "1-15"},
		"1:2 --interface a\u00a0b": {
			`1:2: --interface "a\u00a0b": an interface name has no white space`, "1-15"},
		"1:2 --source 10.0.0.5/8":  {"1:2: --source 10.0.0.5/8: has bits beyond /8", "10.0.0.0/8"},
		"1:2 --source 10.0.0.0/33": {"1:2: --source 10.0.0.0/33: not a network", "10.0.0.0/8"},
		"1:2 --source ::ffff:10.0.0.0/104": {
			"1:2: --source ::ffff:10.0.0.0/104: an IPv4 address inside an IPv6 one", "10.0.0.0/8"},
		"1:2 --source 10.0.0.0/8,": {"1:2: --source: not a network", "10.0.0.0/8"},
		"1:2 --owner a:b":          {"1:2: --owner a:b: not a user", "uid"},
		"1:2 --owner 4294967295":   {"1:2: --owner 4294967295: not a uid", "4294967294"},
		"1:2 --service a":          {"1:2: --service: no such option", "lists the options"},
		"443:8443,10.0.0.5:8444":   {"443:8443,10.0.0.5:8444: 8443: not a target", "ADDRESS:PORT"},
		"443:8443,":                {"443:8443,: a port is missing", "443:8443"},
		"443:[fe80::5]:8443": {"443:[fe80::5]:8443: fe80::5: a link-local address, which is not reached without an " +
			"interface", "another address"},
		"443:8443,8443":             {"443:8443,8443: 8443: given twice", "once"},
		"443:8443,443":              {"443:8443,443: maps to itself", "another one"},
		"443-444:8443-8444,9443":    {"443-444:8443-8444,9443: 9443: 1 port for 2 ports", "443-444:9443-9444"},
		"443:10.0.0.5:1,10.0.0.5:1": {"443:10.0.0.5:1,10.0.0.5:1: 10.0.0.5:1: given twice", "once"},
		"443:[::1]:8443": {"443:[::1]:8443: [::1]:8443: clients on other hosts cannot be sent to [::1], " +
			"and IPv6 has no switch for that", "443:8443"},
		"1:2,3 --forward": {"1:2,3: --forward: the target is on this host", "leave it out"},
		"1:127.0.0.1:2,10.0.0.5:2": {
			"1:127.0.0.1:2,10.0.0.5:2: target: one is on this host and one on another", "kind"},
		"127.0.0.1:1:10.0.0.5:2": {"127.0.0.1:1:10.0.0.5:2: 127.0.0.1: packets to a loopback address cannot be sent " +
			"to another host", "another address"},
		"1:127.0.0.1:2 --forward": {"1:127.0.0.1:2: --forward: the target is on this host", "leave it out"},
		"1:2 -4 -6":               {"1:2: -4 -6: each excludes the other", "leave both out"},
		"192.0.2.7:1:2 -6": {"192.0.2.7:1:2: -6: the mapping's addresses are IPv4",
			"leave it out"},
		"192.0.2.7:1:[2001:db8::5]:2": {
			"192.0.2.7:1:[2001:db8::5]:2: target: is IPv6, the rest of the mapping is IPv4", "one family"},
		"1:2 -4 --source 10.0.0.0/8,2001:db8::/32": {"1:2: --source: has an IPv6 address, the mapping is for IPv4 only",
			"leave that address out"},
		"1:2 --forward":          {"1:2: --forward: the target is on this host", "leave it out"},
		"1:10.0.0.5:2 --sticky":  {"1:10.0.0.5:2: --sticky: there is only one target", "leave it out"},
		"1:10.0.0.5:2 --hide":    {"1:10.0.0.5:2: --hide: the target is on another host", "leave it out"},
		"1:10.0.0.5:2 --owner a": {"1:10.0.0.5:2: --owner: the target is on another host", "leave it out"},
	} {
		_, err := parseLine(line)
		var invalid *InvalidError
		if !errors.As(err, &invalid) || err.Error() != want[0] || !strings.Contains(invalid.Remedy(), want[1]) {
			t.Errorf("%q: got %v (%+v), want %q", line, err, invalid, want)
		}
	}
}

// What is not printable is never shown raw.
func TestErrorsArePrintable(t *testing.T) {
	for _, word := range []string{"4\x1b[2J43:1", "443:8443\n", "a\x00b:1", "\xff:1", strings.Repeat("9", 5000)} {
		var p Parser
		_, err := p.ParseWords([]string{word})
		if err == nil {
			t.Errorf("%q is accepted", word)
			continue
		}
		if text := err.Error(); strings.ContainsAny(text, "\x1b\n\x00") || !utf8.ValidString(text) || len(text) > 1000 {
			t.Errorf("%q: the error is %q", word, text)
		}
	}
}

func TestWords(t *testing.T) {
	for line, want := range map[string]string{
		"":                         "",
		"  # 443:8443":             "",
		"a b\tc\r":                 "a|b|c",
		"a#b #c":                   "a#b",
		"443:8443 --interface=#x#": "443:8443|--interface=#x#",
	} {
		if got := strings.Join(appendWords(nil, line), "|"); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"443:8443", "8000-8010:9000-9010/udp --name x", "[2001:db8::7]:443:10.0.0.5:1,10.0.0.6:2 --sticky",
		"https:1 -4 --source 10.0.0.0/8,::/0",
		"1:2 --interface=#x --temporary", "443:[::1]:8443/tcp,udp --hide", "1:2 --owner a@b",
		"192.0.2.1:1:2 # c",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, err := parseLine(line)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b\x00") {
				t.Errorf("the error is not printable: %q", err)
			}
			return
		}
		if strings.ContainsAny(m.String(), "\"\n\r\t\x00") {
			t.Errorf("the text cannot be quoted: %q", m)
		}
		again, err := parseLine(m.String())
		if err != nil || !again.Equal(m) || again.Spec() != m.Spec() || again.Families() != m.Families() {
			t.Errorf("%q is printed %q, and read back %q, %v", line, m, again, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var p Parser
	for b.Loop() {
		if _, err := p.ParseWords([]string{"8000-8010:9000-9010/tcp", "--name", "shop"}); err != nil {
			b.Fatal(err)
		}
	}
}

// A file can have very many plain mappings: one in canonical form allocates nothing.
func TestPlainAllocatesNothing(t *testing.T) {
	var p Parser
	read := func() {
		if _, err := p.Parse("443:8443/tcp"); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The help and the manual tell of each option whether this version takes it, and Within agrees.
func TestLaterOptionsAreRefused(t *testing.T) {
	for _, option := range Options() {
		words := []string{"443:8443", "--" + option.Name}
		if option.Argument != "" {
			words = append(words, map[string]string{"source": "10.0.0.0/8"}[option.Name])
			if words[2] == "" {
				words[2] = "eth0"
			}
		}
		if option.Name == "forward" || option.Name == "sticky" {
			words[0] = "443:10.0.0.5:8443,10.0.0.6:8443"
		}
		m, err := (&Parser{}).ParseWords(words)
		if err != nil {
			t.Errorf("%v: %v", words, err)
			continue
		}
		if refused := m.Within() != nil; refused != option.Later {
			t.Errorf("%v: refused %v, told %v", words, refused, option.Later)
		}
	}
}

// withSources returns a mapping whose text has about that many bytes.
func withSources(t testing.TB, length int) Mapping {
	t.Helper()
	var line strings.Builder
	line.WriteString("443:8443 --source 10.0.0.0/32")
	for i := 2; line.Len() < length-16; i += 2 {
		fmt.Fprintf(&line, ",10.%d.%d.%d/32", i>>16, i>>8&255, i&255)
	}
	return must(t, line.String())[0]
}

// A mapping may be as long as MaxText, as it is written and as it is printed.
func TestLongest(t *testing.T) {
	m := withSources(t, MaxText-40)
	line := m.String() + " --name "
	m = must(t, line+strings.Repeat("n", MaxText-len(line)))[0]
	var invalid *InvalidError
	if _, err := parseLine(m.String() + " -4"); !errors.As(err, &invalid) ||
		!strings.Contains(err.Error(), "443:8443/tcp: longer than 131071 bytes") || invalid.Remedy() == "" ||
		len(err.Error()) > 300 {
		t.Errorf("one byte more: %.300v", err)
	}
	var short strings.Builder // each gets a /32 when it is printed
	for i := range MaxText / 10 {
		fmt.Fprintf(&short, ",10.%d.%d.%d", i>>14&127, i>>7&127, i&127)
	}
	if line := "443:8443 --source " + short.String()[1:MaxText-20]; len(line) <= MaxText {
		if _, err := parseLine(line[:strings.LastIndex(line, ",")]); !errors.As(err, &invalid) {
			t.Errorf("longer when it is printed: %.300v", err)
		}
	}
	if _, err := parseLine("1:" + strings.Repeat("2", 1<<20)); !errors.As(err, &invalid) {
		t.Errorf("one long word: %.300v", err)
	}
}
