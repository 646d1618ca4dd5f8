package nft

import (
	"bufio"
	"fmt"
	"io"
	"slices"

	"portmap/rules"
	"portmap/rules/ruletext"

	"github.com/google/nftables"
)

// WriteText writes a Set as a file for `nft -f`. Loaded, it takes the place of whatever the table holds, in one
// transaction, and is what Apply would have made: Live reads it back as the same Set. The error is a
// [*rules.UnsupportedError], or w's.
func WriteText(w io.Writer, set rules.Set) error {
	mappings := set.Mappings()
	if err := allSupported(mappings); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "#!/usr/sbin/nft -f\n# Mappings, by `portmap export --format nft`; load them with `nft -f`\n")
	fmt.Fprintf(out, "# It takes the place of the table inet %s, whatever that holds.\n", tableName)
	fmt.Fprintln(out, ruletext.Switches(set.Mappings(), rules.BothFamilies))
	fmt.Fprintf(out, "table inet %[1]s\ndelete table inet %[1]s\n\ntable inet %[1]s {\n", tableName)
	for _, p := range places() {
		switch p.kind {
		case isMap, isSet:
			writeSet(out, &p, mappings)
		case isChain:
			writeChain(out, &p, mappings)
		case isChains:
			for i := range mappings {
				if list := p.rules(&mappings[i]); len(list) > 0 {
					writeChain(out, &place{name: list[0].chain, rules: p.rules}, mappings[i:i+1])
				}
			}
		}
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}

// writeSet writes a map or set.
func writeSet(out *bufio.Writer, p *place, mappings []rules.Mapping) {
	_, types := p.key.text()
	switch {
	case p.verdicts:
		types += " : verdict"
	case p.kind == isMap:
		types += " : " + dataTypeText(p.data) + "\n\t\tcounter"
	}
	fmt.Fprintf(out, "\t%s %s {\n\t\ttype %s\n\t\tcomment \"%s\"\n", p.kind, p.name, types, mark)
	separator, end := "\t\telements = {", ""
	for e := range p.elementsOf(mappings) {
		fmt.Fprintf(out, "%s\n\t\t\t%s", separator, p.key.value(e.Key))
		if p.kind == isMap {
			fmt.Fprintf(out, " comment \"%s\" : %s", e.Comment, leadsTo(e))
		}
		separator, end = ",", " }\n"
	}
	fmt.Fprint(out, end+"\t}\n\n")
}

// leadsTo is the data of an element of a map as nft writes it.
func leadsTo(e nftables.SetElement) string {
	if e.VerdictData != nil {
		return "goto " + e.VerdictData.Chain
	}
	return dataText(e.Val)
}

func writeChain(out *bufio.Writer, p *place, mappings []rules.Mapping) {
	fmt.Fprintf(out, "\tchain %s {\n", p.name)
	if p.hook.at != nil {
		fmt.Fprintf(out, "\t\t%s\n", p.hook.line())
	}
	for _, r := range slices.Concat(p.fixed(), p.rulesOf(mappings)) {
		fmt.Fprintf(out, "\t\t%s\n", r.line())
	}
	fmt.Fprint(out, "\t}\n")
}
