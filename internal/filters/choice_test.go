package filters

import (
	"errors"
	"reflect"
	"testing"

	"portmap/nft"
)

func TestChoose(t *testing.T) {
	unusable := func(err error, cure string) fact { return fact{unusable: &UnusableError{err, cure}} }
	usable, holds, denied := fact{}, fact{holds: true}, fact{denied: true}
	missing := unusable(nft.ErrMissing, "sudo modprobe nf_tables")
	// old is the answer of an old kernel to Try.
	old := unusable(errors.New("nf_tables: operation not supported"), "use a newer kernel")
	without := unusable(errors.New("this host has no iptables"), "install iptables")
	onlyNFT := unusable(errors.New("this host has no iptables-legacy"), "install iptables-legacy")
	stuck := onlyNFT
	stuck.holds = true
	const load = "sudo modprobe nf_tables, or install iptables-legacy"
	both := func(requested string, nft, iptables fact) facts {
		nft.name, iptables.name = "nft", "iptables"
		return facts{requested, []fact{nft, iptables}}
	}
	three := func(requested string, a, b, c fact) facts {
		a.name, b.name, c.name = "a", "b", "c"
		return facts{requested, []fact{a, b, c}}
	}
	const nft, iptables = 0, 1
	use := func(use int, from ...int) choice { return choice{use, from} }
	for _, c := range []struct {
		what string
		facts
		want        choice
		err, remedy string
	}{
		{what: "no request, and nothing is there", facts: both("", usable, usable), want: use(nft)},
		{what: "no request, nft holds", facts: both("", holds, usable), want: use(nft)},
		{what: "no request, iptables holds", facts: both("", usable, holds), want: use(iptables)},
		{what: "no request, both hold", facts: both("", holds, holds), want: use(nft, iptables)},
		{what: "no request, nft is denied", facts: both("", denied, usable), want: use(nft)},
		{what: "no request, no iptables", facts: both("", usable, without), want: use(nft)},
		{what: "no request, no nf_tables", facts: both("", missing, usable), want: use(iptables)},
		{what: "no request, no nf_tables, iptables holds", facts: both("", missing, holds), want: use(iptables)},
		{what: "no request, an old kernel", facts: both("", old, usable), want: use(iptables)},
		{what: "no request, nothing is usable", facts: both("", missing, onlyNFT),
			err: "this kernel has no nf_tables, and this host has no iptables-legacy", remedy: load},
		{what: "no request, an old kernel and nothing else", facts: both("", old, without),
			err:    "nf_tables: operation not supported, and this host has no iptables",
			remedy: "use a newer kernel, or install iptables"},

		{what: "nft", facts: both("nft", usable, usable), want: use(nft)},
		{what: "nft, iptables holds", facts: both("nft", usable, holds), want: use(nft, iptables)},
		{what: "nft, both hold", facts: both("nft", holds, holds), want: use(nft, iptables)},
		{what: "nft, what iptables holds cannot be moved", facts: both("nft", usable, stuck),
			err: "this host has no iptables-legacy"},
		{what: "nft, no nf_tables", facts: both("nft", missing, usable), err: "this kernel has no nf_tables",
			remedy: "sudo modprobe nf_tables, or use iptables: sudo portmap apply --backend iptables"},
		{what: "nft, no nf_tables, iptables holds", facts: both("nft", missing, holds),
			err:    "this kernel has no nf_tables",
			remedy: "sudo modprobe nf_tables, or use iptables: sudo portmap apply --backend iptables"},
		{what: "nft, nothing is usable", facts: both("nft", missing, onlyNFT),
			err: "this kernel has no nf_tables, and this host has no iptables-legacy", remedy: load},

		{what: "iptables", facts: both("iptables", usable, usable), want: use(iptables)},
		{what: "iptables, nft holds", facts: both("iptables", holds, usable), want: use(iptables, nft)},
		{what: "iptables, both hold", facts: both("iptables", holds, holds), want: use(iptables, nft)},
		{what: "iptables, no nf_tables", facts: both("iptables", missing, usable), want: use(iptables)},
		{what: "iptables, there is none", facts: both("iptables", usable, without), err: "this host has no iptables"},
		{what: "iptables, there is none, nft holds", facts: both("iptables", holds, without),
			err: "this host has no iptables"},
		{what: "iptables, nothing is usable", facts: both("iptables", missing, onlyNFT),
			err: "this kernel has no nf_tables, and this host has no iptables-legacy", remedy: load},

		{what: "three, and the last two hold", facts: three("", usable, holds, holds), want: use(1, 2)},
		{what: "three, and two hold beside the one that is requested", facts: three("b", holds, usable, holds),
			want: use(1, 0, 2)},
		{what: "three, and the first two cannot be used", facts: three("", missing, without, usable), want: use(2)},
	} {
		got, err := choose(c.facts)
		if !reflect.DeepEqual(got, c.want) || text(err) != c.err {
			t.Errorf("%s: %+v, %q; want %+v, %q", c.what, got, text(err), c.want, c.err)
		}
		var none *NoneError
		if errors.As(err, &none) != (c.remedy != "") || none != nil && none.Remedy() != c.remedy {
			t.Errorf("%s: the remedy of %v is not %q", c.what, err, c.remedy)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestRequested(t *testing.T) {
	for _, c := range []struct{ flag, saved, want string }{
		{"auto", "", ""}, {"auto", "nft", "nft"}, {"auto", "iptables", "iptables"},
		{"nft", "iptables", "nft"}, {"iptables", "nft", "iptables"},
	} {
		if got, err := Requested(All(nil), c.flag, c.saved); got != c.want || err != nil {
			t.Errorf("--backend %s, and the file says %q: %q, %v", c.flag, c.saved, got, err)
		}
	}
	if _, err := Requested(All(nil), "pf", ""); err == nil {
		t.Error("--backend pf is taken")
	}
}
