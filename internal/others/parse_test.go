package others

import (
	"slices"
	"testing"

	"portmap/rules"
)

// An option that has no value does not swallow the next one.
func TestOptionsWithoutValues(t *testing.T) {
	r := parse(
		split(`-p tcp -m tcp --dport 443 -m socket --transparent -j DNAT --to-destination 192.0.2.9:443 --persistent`))
	if r.action != translate || r.to != "dnat to 192.0.2.9:443" {
		t.Errorf("%+v", r)
	}
	r = parse(split(`-p tcp -m comment --comment "-j" -m socket --nowildcard ! -s 10.0.0.0/8 -j MINE`))
	if r.jump != "MINE" || r.match.from != nil {
		t.Errorf("%+v", r)
	}
}

// Two runs of a set that touch are both read.
func TestRunsThatTouch(t *testing.T) {
	at := func(port byte, end bool) key { return key{value: []byte{1, port}, end: end} }
	got := portsOf([]key{at(189, true), at(188, false), at(187, false), at(188, true)})
	if want := []rules.Ports{{First: 443, Last: 443}, {First: 444, Last: 444}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
