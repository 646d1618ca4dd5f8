package nft

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// foreignObject is an object of somebody else in our table.
type foreignObject struct {
	what   string
	delete []string // nft commands, each behind those of the same place in other objects' lists
}

// steps is how many commands it takes to delete objects in an order in which none is in use: rules, the rules
// of chains, sets and maps, and what is left.
const steps = 4

func foreignRule(k kernelRule) foreignObject {
	return foreignObject{
		what:   fmt.Sprintf("a rule in chain %s (handle %d)", k.chain, k.handle),
		delete: []string{fmt.Sprintf("delete rule inet %s %s handle %d", tableName, k.chain, k.handle)},
	}
}

func foreignChain(name string) foreignObject {
	return foreignObject{
		what: "the chain " + name,
		delete: []string{1: "flush chain inet " + tableName + " " + name, 3: "delete chain inet " + tableName + " " +
			name},
	}
}

func foreignSet(s kernelSet) foreignObject {
	kind := "set "
	if s.flags&unix.NFT_SET_MAP != 0 {
		kind = "map "
	}
	return foreignObject{
		what:   "the " + kind + s.name,
		delete: []string{2: "delete " + kind + "inet " + tableName + " " + s.name},
	}
}

func foreignOther(kind, name string) foreignObject {
	return foreignObject{
		what:   "the " + kind + " " + name,
		delete: []string{3: "delete " + kind + " inet " + tableName + " " + name},
	}
}

// foreignError is nil where there is nothing of others.
func foreignError(objects []foreignObject) error {
	if len(objects) == 0 {
		return nil
	}
	var commands []string
	for step := range steps {
		for _, o := range objects {
			if step < len(o.delete) && o.delete[step] != "" {
				commands = append(commands, o.delete[step])
			}
		}
	}
	fix := "to take it out: sudo nft '" + strings.Join(commands, "; ") + "'"
	return &ForeignError{What: foreignText(objects), Fix: fix}
}

func foreignText(objects []foreignObject) string {
	text := fmt.Sprintf("the table inet %s has something that is not portmap's: %s", tableName, objects[0].what)
	if more := len(objects) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// foreignSets returns those of the sets whose name is not one of ours.
func foreignSets(list []kernelSet) (found []foreignObject) {
	ours := map[string]bool{}
	for _, p := range sets() {
		ours[p.name] = true
	}
	for _, s := range list {
		if !ours[s.name] && s.flags&unix.NFT_SET_ANONYMOUS == 0 {
			found = append(found, foreignSet(s))
		}
	}
	return found
}
