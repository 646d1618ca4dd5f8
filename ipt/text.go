package ipt

import (
	"bufio"
	"fmt"
	"io"

	"portmap/rules"
	"portmap/rules/ruletext"
)

// WriteText writes the part of a Set that is for one family as input of `iptables-restore --noflush`, or of its twin
// for IPv6. Loaded where nothing of ours is, it is what Apply would have made. The error is a
// [*rules.UnsupportedError], or w's.
func WriteText(w io.Writer, set rules.Set, family rules.Families) error {
	mappings := set.Mappings()
	for i := range mappings {
		if err := supported(&mappings[i]); err != nil {
			return err
		}
	}
	program := "iptables"
	if family == rules.IPv6 {
		program = "ip6tables"
	}
	chains := encode(mappings, family)
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "# %s only, by `portmap export`; load it with `%s-restore --noflush`\n", family, program)
	fmt.Fprint(out, ruletext.Switches(set.Mappings(), family))
	_, _ = out.Write(restoreScript(newState(), wanted(chains, newSaved())).text())
	return out.Flush()
}
