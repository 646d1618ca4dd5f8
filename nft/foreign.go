package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ForeignError says that something of somebody else is in the way: a table of our name, or an object in our
// table. Nothing of it was changed.
type ForeignError struct {
	What string // one phrase
	Fix  string // what to do about it, with the command that deletes it
}

func (e *ForeignError) Error() string { return e.What }

// Remedy returns what to do about it.
func (e *ForeignError) Remedy() string { return e.Fix }

// OwnedError says that another process owns the table, so that the kernel lets nobody else change it (`flags owner`).
type OwnedError struct {
	Port uint32 // the netlink port of that process: mostly its process id
}

func (e *OwnedError) Error() string {
	return fmt.Sprintf("the table inet %s is owned by another process (netlink port %d), which alone may change it",
		tableName, e.Port)
}

// Remedy returns how to find the process.
func (e *OwnedError) Remedy() string {
	return "end that process, or have it delete the table; this shows it beside its port: sudo ss -f netlink -np"
}

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
		what:   "the chain " + name,
		delete: []string{1: "flush chain inet " + tableName + " " + name, 3: "delete chain inet " + tableName + " " + name},
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

// tableInfo is what the kernel says of our table as a whole.
type tableInfo struct {
	there   bool
	dormant bool
	use     uint32 // how many chains, sets, maps and other objects are in it
	owner   uint32 // the netlink port of the process that alone may change it; 0 where there is none
}

// Attributes that package unix lacks (linux/netfilter/nf_tables.h).
const (
	nftaTableOwner     = 7
	nftaFlowtableTable = 1
	nftaFlowtableName  = 2
	nftaSetExpr        = 17
	nftaSetExpressions = 18
	setComment         = 7 // NFTNL_UDATA_SET_COMMENT (libnftnl, include/libnftnl/udata.h)
)

// table looks for our table. One of its name that is somebody else's is a [*ForeignError].
func (b *Backend) table() (tableInfo, error) {
	info, err := b.tableInfo()
	if err != nil || !info.there {
		return tableInfo{}, err
	}
	for _, s := range sets() {
		have, err := b.set(s.Name)
		switch {
		case isAbsent(err):
		case err != nil:
			return tableInfo{}, kernelError(err)
		case have.comment == mark:
			return info, nil
		}
	}
	if again, err := b.tableInfo(); err != nil || !again.there { // it went meanwhile
		return tableInfo{}, err
	}
	if info.owner != 0 {
		return tableInfo{}, &OwnedError{info.owner}
	}
	return tableInfo{}, &ForeignError{
		What: fmt.Sprintf("there is a table inet %s that is not portmap's", tableName),
		Fix:  "give it another name where it is made, or delete it: sudo nft delete table inet " + tableName,
	}
}

func (b *Backend) tableInfo() (info tableInfo, err error) {
	answer, err := b.query(unix.NFT_MSG_GETTABLE, 0, stringAttribute(unix.NFTA_TABLE_NAME, tableName))
	switch {
	case isAbsent(err):
		return tableInfo{}, nil
	case errors.Is(err, unix.EINVAL): // nobody is there to take the message (nfnetlink.c, nfnetlink_rcv_msg)
		return tableInfo{}, ErrMissing
	}
	for _, m := range answer {
		info.there = true
		f := fields(body(m.Data))
		info.dormant = f.number(unix.NFTA_TABLE_FLAGS)&unix.NFT_TABLE_F_DORMANT != 0
		info.use = f.number(unix.NFTA_TABLE_USE)
		info.owner = f.number(nftaTableOwner)
	}
	return info, kernelError(err)
}

// survey is all of the table but the elements of its maps.
type survey struct {
	info   tableInfo
	chains map[string]kernelChain // of ours, those that are there
	sets   []kernelSet            // anonymous ones, too
	rules  []kernelRule
	others []foreignObject // chains and other objects that are not ours; sets and rules are told apart by reading
}

func (b *Backend) survey() (s survey, err error) {
	if s.info, err = b.table(); err != nil || !s.info.there {
		return s, err
	}
	s.chains = map[string]kernelChain{}
	for _, c := range chains() {
		have, err := b.chain(c.name)
		switch {
		case isAbsent(err):
		case err != nil:
			return s, kernelError(err)
		default:
			s.chains[c.name] = have
		}
	}
	if s.sets, err = b.sets(); err != nil {
		return s, kernelError(err)
	}
	if s.rules, err = b.rules(""); err != nil {
		return s, kernelError(err)
	}
	if int(s.info.use) != len(s.chains)+len(s.sets) {
		s.others, err = b.others()
	}
	return s, kernelError(err)
}

// others lists chains, flow tables and stateful objects that are in our table and not ours.
func (b *Backend) others() (list []foreignObject, err error) {
	ours := map[string]bool{}
	for _, c := range chains() {
		ours[c.name] = true
	}
	err = b.inTable(unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_TABLE, func(f attributeMap) {
		if name := f.text(unix.NFTA_CHAIN_NAME); f.text(unix.NFTA_CHAIN_TABLE) == tableName && !ours[name] {
			list = append(list, foreignChain(name))
		}
	})
	if err != nil {
		return nil, err
	}
	err = b.inTable(unix.NFT_MSG_GETFLOWTABLE, nftaFlowtableTable, func(f attributeMap) {
		list = append(list, foreignOther("flowtable", f.text(nftaFlowtableName)))
	})
	if err != nil {
		return nil, err
	}
	err = b.inTable(unix.NFT_MSG_GETOBJ, unix.NFTA_OBJ_TABLE, func(f attributeMap) {
		list = append(list, foreignOther(objectKind(f.number(unix.NFTA_OBJ_TYPE)), f.text(unix.NFTA_OBJ_NAME)))
	})
	return list, err
}

// objectKind is nft's word for a type of stateful object (linux/netfilter/nf_tables.h, NFT_OBJECT_COUNTER and
// following).
func objectKind(kind uint32) string {
	words := [...]string{
		"object", "counter", "quota", "ct helper", "limit", "connlimit", "tunnel", "ct timeout", "secmark", "ct expectation",
		"synproxy",
	}
	return words[min(int(kind), len(words)-1)]
}

// inTable lists objects of one kind in the table.
func (b *Backend) inTable(request uint16, attribute uint16, each func(attributeMap)) error {
	var answer []netlink.Message
	err := again(func() (err error) {
		answer, err = b.query(request, netlink.Dump, stringAttribute(attribute, tableName))
		return err
	})
	for _, m := range answer {
		each(fields(body(m.Data)))
	}
	return err
}

// foreignSets returns those of the sets that have a name which is not one of ours.
func foreignSets(list []kernelSet) (found []foreignObject) {
	for _, s := range list {
		ours := slices.ContainsFunc(sets(), func(own *nftables.Set) bool { return own.Name == s.name })
		if !ours && s.flags&unix.NFT_SET_ANONYMOUS == 0 {
			found = append(found, foreignSet(s))
		}
	}
	return found
}
