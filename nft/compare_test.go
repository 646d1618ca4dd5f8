package nft

import "testing"

// A rule in one of our chains is ours by its comment: one that is always there, a mapping's text, or what stands for
// one.
func TestWhoseRule(t *testing.T) {
	for _, c := range []struct {
		chain, comment string
		foreign        bool
	}{
		{chainPrerouting, "connections of other hosts", false},
		{chainMapped, "every address, IPv4 and IPv6", false},
		{chainMapped, "443:8443/tcp --interface eth0", false},
		{chainMapped, "~0123456789abcdef", false},
		{chainTexts, "~0123456789abcdef 1/2 443:8443/tcp --source", false},
		{"mine", "goes with its chain", false},

		{chainMapped, "", true},
		{chainMapped, "mine", true},
		{chainMapped, "443:8443", true}, // we write 443:8443/tcp
		{chainMapped, "443:8443/tcp --mine", true},
		{chainMapped, "~mine", true},
		{chainMapped, "~0123456789abcdefg", true},
		{chainOutput, "connections of other hosts", true}, // in another chain
	} {
		r := newReading(nil)
		r.joinTexts(nil)
		if got := r.isForeign(kernelRule{chain: c.chain, comment: c.comment}); got != c.foreign {
			t.Errorf("%q in chain %s is foreign: %t", c.comment, c.chain, got)
		}
	}
}
