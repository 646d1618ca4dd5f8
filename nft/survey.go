package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

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
func (k *kernel) table() (tableInfo, error) {
	info, err := k.tableInfo()
	if err != nil || !info.there {
		return tableInfo{}, err
	}
	for _, p := range sets() {
		have, err := k.set(p.name)
		switch {
		case isAbsent(err):
		case err != nil:
			return tableInfo{}, kernelError(err)
		case have.comment == mark:
			return info, nil
		}
	}
	if again, err := k.tableInfo(); err != nil || !again.there { // it went meanwhile
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

func (k *kernel) tableInfo() (info tableInfo, err error) {
	answer, err := k.query(unix.NFT_MSG_GETTABLE, stringAttribute(unix.NFTA_TABLE_NAME, tableName))
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
	own    []string               // chains of single mappings
	sets   []kernelSet            // anonymous ones, too
	rules  []kernelRule
	others []foreignObject // chains and other objects that are not ours; the reading finds sets and rules that are not
}

func (k *kernel) survey() (s survey, err error) {
	if s.info, err = k.table(); err != nil || !s.info.there {
		return s, err
	}
	s.chains = map[string]kernelChain{}
	for _, c := range chains() {
		have, err := k.chain(c.name)
		switch {
		case isAbsent(err):
		case err != nil:
			return s, kernelError(err)
		default:
			s.chains[c.name] = have
		}
	}
	if s.sets, err = k.sets(); err != nil {
		return s, kernelError(err)
	}
	if s.rules, err = k.rules(""); err != nil {
		return s, kernelError(err)
	}
	if int(s.info.use) != len(s.chains)+len(s.sets) {
		err = k.others(&s)
	}
	return s, kernelError(err)
}

// others lists chains of single mappings, and chains, flow tables and stateful objects that are in our table and not
// ours.
func (k *kernel) others(s *survey) error {
	ours := map[string]bool{}
	for _, c := range chains() {
		ours[c.name] = true
	}
	err := k.inTable(unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_NEWCHAIN, unix.NFTA_CHAIN_TABLE, func(f attributeMap) {
		name := f.text(unix.NFTA_CHAIN_NAME)
		_, hooked := f[unix.NFTA_CHAIN_HOOK]
		switch {
		case f.text(unix.NFTA_CHAIN_TABLE) != tableName || ours[name]:
		case chainKind(name) == spreadPrefix && !hooked:
			s.own = append(s.own, name)
		default:
			s.others = append(s.others, foreignChain(name))
		}
	})
	if err != nil {
		return err
	}
	err = k.inTable(unix.NFT_MSG_GETFLOWTABLE, unix.NFT_MSG_NEWFLOWTABLE, nftaFlowtableTable, func(f attributeMap) {
		s.others = append(s.others, foreignOther("flowtable", f.text(nftaFlowtableName)))
	})
	if err != nil {
		return err
	}
	return k.inTable(unix.NFT_MSG_GETOBJ, unix.NFT_MSG_NEWOBJ, unix.NFTA_OBJ_TABLE, func(f attributeMap) {
		s.others = append(s.others, foreignOther(objectKind(f.number(unix.NFTA_OBJ_TYPE)), f.text(unix.NFTA_OBJ_NAME)))
	})
}

// objectKind is nft's word for a type of stateful object (linux/netfilter/nf_tables.h, NFT_OBJECT_COUNTER and
// following).
func objectKind(kind uint32) string {
	words := [...]string{
		"object", "counter", "quota", "ct helper", "limit", "connlimit", "tunnel", "ct timeout", "secmark",
		"ct expectation",
		"synproxy",
	}
	return words[min(int(kind), len(words)-1)]
}

// inTable lists objects of one kind in the table: what to ask for, and the kind of message that answers.
func (k *kernel) inTable(request, answer, attribute uint16, each func(attributeMap)) error {
	var list []attributeMap
	err := k.dump(request, answer, stringAttribute(attribute, tableName), func() { list = nil }, func(m []byte) {
		list = append(list, fields(m))
	})
	for _, f := range list {
		each(f)
	}
	return err
}
