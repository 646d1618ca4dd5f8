package ipt

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// The chains that are always there, and the beginnings of the names of the others. No name is longer than 27 bytes: the
// kernel has room for 28 (XT_EXTENSION_MAXNAMELEN, linux/netfilter/x_tables.h).
const (
	rootChain = "PORTMAP"
	textChain = "PORTMAP-TEXT" // notes: temporary mappings, and pieces of long texts; no packet comes here

	portsOf     = "PORTMAP-P" // the ports of one mapping with several sources
	sourcesOf   = "PORTMAP-S" // its sources
	addressesOf = "PORTMAP-A" // the listen addresses of one port
)

// doors are the chains of others from which a jump leads into ours.
var doors = [...]string{"PREROUTING", "OUTPUT"}

// jump is the one rule that stands in each door.
const jump = "-m addrtype --dst-type LOCAL -j " + rootChain

// hashed names a chain by a kind and by what it is for.
func hashed(kind string, subject ...any) string {
	h := fnv.New64a()
	fmt.Fprintln(h, subject...)
	return fmt.Sprintf("%s%016x", kind, h.Sum64())
}

// ownName reports whether portmap could have given a chain this name.
func ownName(name string) bool {
	switch {
	case name == rootChain, name == textChain:
		return true
	case strings.HasPrefix(name, "PORTMAP-TCP"), strings.HasPrefix(name, "PORTMAP-UDP"):
		rest := name[len("PORTMAP-TCP"):]
		return rest == "" || rest[0] == '-' && strings.Count(rest, "-") == 2 && strings.Trim(rest, "-0123456789") == ""
	}
	for _, kind := range [...]string{portsOf, sourcesOf, addressesOf} {
		if rest, ok := strings.CutPrefix(name, kind); ok && len(rest) == 16 && strings.Trim(rest, "0123456789abcdef") == "" {
			return true
		}
	}
	return false
}

// rule is one line of a chain.
type rule struct {
	text    string // as iptables-save writes it behind `-A CHAIN `
	mapping int    // the number of the mapping whose connections it sends on; -1 for those that only lead there
}

// chain is a list of rules with a name.
type chain struct {
	name  string
	rules []rule
}

// quoted writes a comment as iptables-save does (iptables, libxtables/xtables.c, xtables_save_string).
func quoted(comment string) string {
	if !strings.ContainsAny(comment, `"\'`) {
		return `"` + comment + `"`
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(comment) + `"`
}
