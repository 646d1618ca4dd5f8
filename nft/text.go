package nft

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"portmap/rules"

	"github.com/google/nftables"
)

// WriteText writes a Set as a file for `nft -f`. Loaded, it takes the place of whatever the table holds, in one
// transaction, and is what Apply would have made: Live reads it back as the same Set. The error is a
// [*rules.UnsupportedError], or w's.
func WriteText(w io.Writer, set rules.Set) error {
	o, err := encode(set.Mappings())
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "#!/usr/sbin/nft -f\n# %d mappings, by `portmap export --format nft`\n", set.Len())
	fmt.Fprintf(out, "# It takes the place of the table inet %s, whatever that holds.\n\n", tableName)
	fmt.Fprintf(out, "table inet %[1]s\ndelete table inet %[1]s\n\ntable inet %[1]s {\n", tableName)
	writeSet(out, targetSet(), "inet_proto . inet_service", o.target.targetElements())
	for at, p := range maps() {
		_, types := p.keyText()
		writeMap(out, p, at, o)
		writeSet(out, p.tcpSet(), types, tcpElementsOf(o.mapped[at]))
	}
	byChain := map[string][]*rule{}
	for _, list := range [...][]*rule{skeleton(), o.rules, o.texts} {
		for _, r := range list {
			byChain[r.chain] = append(byChain[r.chain], r)
		}
	}
	for _, c := range chains() {
		writeChain(out, c, byChain[c.name])
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}

func writeMap(out *bufio.Writer, p portMap, at int, o objects) {
	_, types := p.keyText()
	fmt.Fprintf(out, "\tmap %s {\n\t\ttype %s : inet_service\n\t\tcounter\n\t\tcomment \"%s\"\n", p.name, types, mark)
	separator := "\t\telements = {"
	for e := range elementsOf(o.mapped[at]) {
		target := binary.BigEndian.Uint16(e.Val)
		fmt.Fprintf(out, "%s\n\t\t\t%s comment \"%s\" : %d", separator, keyValue(e.Key), e.Comment, target)
		separator = ","
	}
	if len(o.mapped[at]) > 0 {
		fmt.Fprint(out, " }\n")
	}
	fmt.Fprint(out, "\t}\n\n")
}

func writeSet(out *bufio.Writer, s *nftables.Set, types string, elements iter.Seq[nftables.SetElement]) {
	fmt.Fprintf(out, "\tset %s {\n\t\ttype %s\n\t\tcomment \"%s\"\n", s.Name, types, mark)
	separator, end := "\t\telements = {", ""
	for e := range elements {
		fmt.Fprintf(out, "%s\n\t\t\t%s", separator, keyValue(e.Key))
		separator, end = ",", " }\n"
	}
	fmt.Fprint(out, end+"\t}\n\n")
}

func writeChain(out *bufio.Writer, c chain, list []*rule) {
	fmt.Fprintf(out, "\tchain %s {\n", c.name)
	if c.hook != nil {
		fmt.Fprintf(out, "\t\t%s\n", c.line())
	}
	for _, r := range list {
		fmt.Fprintf(out, "\t\t%s\n", r.line())
	}
	fmt.Fprint(out, "\t}\n")
}
