package reconcile

import (
	"errors"
	"testing"

	"portmap/nft"
)

func TestChoose(t *testing.T) {
	lacking := errors.New("nf_tables: operation not supported") // an old kernel's answer to the try
	none := errors.New("this host has no iptables")
	noLegacy := errors.New("this host has no iptables-legacy")
	usable, holds := filter{}, filter{holds: true}
	missing, old := filter{unusable: nft.ErrMissing}, filter{unusable: lacking}
	without, onlyNft := filter{unusable: none}, filter{unusable: noLegacy}
	const load = "sudo modprobe nf_tables, or install iptables-legacy"
	for _, c := range []struct {
		what string
		facts
		want        choice
		err, remedy string
	}{
		{what: "nobody says, and nothing is there", facts: facts{"", usable, usable}, want: choice{use: "nft"}},
		{what: "nobody says, nft holds", facts: facts{"", holds, usable}, want: choice{use: "nft"}},
		{what: "nobody says, iptables holds", facts: facts{"", usable, holds}, want: choice{use: "iptables"}},
		{what: "nobody says, both hold", facts: facts{"", holds, holds}, want: choice{"nft", "iptables"}},
		{what: "nobody says, no iptables", facts: facts{"", usable, without}, want: choice{use: "nft"}},
		{what: "nobody says, no nf_tables", facts: facts{"", missing, usable}, want: choice{use: "iptables"}},
		{what: "nobody says, no nf_tables, iptables holds", facts: facts{"", missing, holds}, want: choice{use: "iptables"}},
		{what: "nobody says, an old kernel", facts: facts{"", old, usable}, want: choice{use: "iptables"}},
		{what: "nobody says, nothing is usable", facts: facts{"", missing, without},
			err: "this kernel has no nf_tables, and this host has no iptables", remedy: load},
		{what: "nobody says, an old kernel and nothing else", facts: facts{"", old, without},
			err:    "nf_tables: operation not supported, and this host has no iptables",
			remedy: "install iptables; or Linux 5.11 or newer, which has all that nft needs"},

		{what: "nft", facts: facts{"nft", usable, usable}, want: choice{use: "nft"}},
		{what: "nft, iptables holds", facts: facts{"nft", usable, holds}, want: choice{"nft", "iptables"}},
		{what: "nft, both hold", facts: facts{"nft", holds, holds}, want: choice{"nft", "iptables"}},
		{what: "nft, what iptables holds cannot be moved", facts: facts{"nft", usable, filter{noLegacy, true}},
			err: noLegacy.Error()},
		{what: "nft, no nf_tables", facts: facts{"nft", missing, usable}, err: "this kernel has no nf_tables",
			remedy: "sudo modprobe nf_tables, or use iptables: sudo portmap apply --backend iptables"},
		{what: "nft, no nf_tables, iptables holds", facts: facts{"nft", missing, holds}, err: "this kernel has no nf_tables",
			remedy: "sudo modprobe nf_tables, or use iptables: sudo portmap apply --backend iptables"},
		{what: "nft, nothing is usable", facts: facts{"nft", missing, onlyNft},
			err: "this kernel has no nf_tables, and this host has no iptables-legacy", remedy: load},

		{what: "iptables", facts: facts{"iptables", usable, usable}, want: choice{use: "iptables"}},
		{what: "iptables, nft holds", facts: facts{"iptables", holds, usable}, want: choice{"iptables", "nft"}},
		{what: "iptables, both hold", facts: facts{"iptables", holds, holds}, want: choice{"iptables", "nft"}},
		{what: "iptables, no nf_tables", facts: facts{"iptables", missing, usable}, want: choice{use: "iptables"}},
		{what: "iptables, there is none", facts: facts{"iptables", usable, without}, err: none.Error()},
		{what: "iptables, there is none, nft holds", facts: facts{"iptables", holds, without}, err: none.Error()},
		{what: "iptables, nothing is usable", facts: facts{"iptables", missing, onlyNft},
			err: "this kernel has no nf_tables, and this host has no iptables-legacy", remedy: load},
	} {
		got, err := choose(c.facts)
		if got != c.want || text(err) != c.err {
			t.Errorf("%s: %+v, %q; want %+v, %q", c.what, got, text(err), c.want, c.err)
		}
		var unusable *UnusableError
		if errors.As(err, &unusable) != (c.remedy != "") || unusable != nil && unusable.Remedy() != c.remedy {
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
		if got, err := requested(c.flag, c.saved); got != c.want || err != nil {
			t.Errorf("--backend %s, and the file says %q: %q, %v", c.flag, c.saved, got, err)
		}
	}
	if _, err := requested("pf", ""); err == nil {
		t.Error("--backend pf is taken")
	}
}
