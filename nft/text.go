package nft

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"portmap/rules"
)

// WriteText writes a Set as a file for `nft -f`. Loaded, it takes the place of whatever the table holds, in one transaction,
// and is what Apply would have made: Live reads it back as the same Set. The error is a [*rules.UnsupportedError], or w's.
func WriteText(w io.Writer, set rules.Set) error {
	o, err := encode(set.Mappings())
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "#!/usr/sbin/nft -f\n# %d mappings, by `portmap export --format nft`\n\n", set.Len())
	fmt.Fprintf(out, "table inet %[1]s\ndelete table inet %[1]s\n\ntable inet %[1]s {\n", tableName)
	for at, p := range maps() {
		writeMap(out, p, at, o)
	}
	chains := map[string][]*rule{}
	for _, list := range [...][]*rule{skeleton(), o.rules, o.texts} {
		for _, r := range list {
			chains[r.chain] = append(chains[r.chain], r)
		}
	}
	writeChain(out, chainTexts, "", chains)
	writeChain(out, chainMapped, "", chains)
	writeChain(out, chainPrerouting, "type nat hook prerouting priority dstnat; policy accept;", chains)
	writeChain(out, chainOutput, "type nat hook output priority -100; policy accept;", chains)
	fmt.Fprintln(out, "}")
	return out.Flush()
}

func writeMap(out *bufio.Writer, p portMap, at int, o objects) {
	_, types := p.keyText()
	fmt.Fprintf(out, "\tmap %s {\n\t\ttype %s : inet_service\n\t\tcounter\n", p.name, types)
	separator := "\t\telements = {"
	for e := range elementsOf(o.mapped[at]) {
		fmt.Fprintf(out, "%s\n\t\t\t%s comment \"%s\" : %d", separator, keyValue(e.Key), e.Comment, binary.BigEndian.Uint16(e.Val))
		separator = ","
	}
	if len(o.mapped[at]) > 0 {
		fmt.Fprint(out, " }\n")
	}
	fmt.Fprint(out, "\t}\n\n")
}

func writeChain(out *bufio.Writer, name, hook string, chains map[string][]*rule) {
	fmt.Fprintf(out, "\tchain %s {\n", name)
	if hook != "" {
		fmt.Fprintf(out, "\t\t%s\n", hook)
	}
	for _, r := range chains[name] {
		fmt.Fprintf(out, "\t\t%s\n", r.line())
	}
	fmt.Fprint(out, "\t}\n")
}
