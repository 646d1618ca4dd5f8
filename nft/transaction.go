package nft

import (
	"errors"
	"iter"
	"os"
	"time"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// socket is the netlink socket under google/nftables.
type socket struct{ conn *netlink.Conn }

// bufferSize holds a transaction of 65,535 ports on both protocols with long names. With the default send buffer one of
// 8,000 elements fails (EMSGSIZE); with the default receive buffer more than about 160 acknowledgements overflow it
// (ENOBUFS), though the kernel has committed all.
const bufferSize = 64 << 20

// answerWithin bounds the wait for acknowledgements. The kernel has queued them all when the send returns,
// unless it was out of memory: then it sends one for the whole transaction (net/netfilter/nfnetlink.c,
// nfnetlink_rcv_batch).
const answerWithin = 30 * time.Second

// prepare makes room for large changes. Where that is refused, small ones still go: without CAP_NET_ADMIN in
// the first user namespace the sizes end at the system's limits (net.core.wmem_max, net.core.rmem_max).
func (s *socket) prepare(c *netlink.Conn) error {
	s.conn = c
	_ = c.SetWriteBuffer(bufferSize)
	_ = c.SetReadBuffer(bufferSize)
	return nil
}

func (s *socket) wait() {
	if s.conn != nil {
		_ = s.conn.SetReadDeadline(time.Now().Add(answerWithin)) // without it the wait is only longer
	}
}

// addSkeleton makes the table, which must not exist, its sets, maps, chains and the rules that are always there.
func (b *Backend) addSkeleton() error {
	b.conn.CreateTable(table())
	for _, s := range sets() {
		if err := b.conn.AddSet(s, nil); err != nil {
			return err
		}
	}
	for _, c := range chains() {
		b.conn.AddChain(c.object())
	}
	return b.addRules(skeleton())
}

func (b *Backend) addRules(list []*rule) error {
	for _, r := range list {
		for _, s := range r.sets {
			if err := b.conn.AddSet(s.set, s.elements); err != nil {
				return err
			}
			s.lookup.SetID, s.lookup.SetName = s.set.ID, s.set.Name
		}
		b.conn.AddRule(&nftables.Rule{
			Table:    table(),
			Chain:    &nftables.Chain{Name: r.chain, Table: table()},
			Exprs:    r.exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment),
		})
	}
	return nil
}

func (b *Backend) addObjects(o objects) error {
	for at, p := range maps() {
		if err := sendBoth(p, o.mapped[at], b.conn.SetAddElements); err != nil {
			return err
		}
	}
	if err := inMessages(targetSet(), o.target.targetElements(), b.conn.SetAddElements); err != nil {
		return err
	}
	if err := b.addRules(o.rules); err != nil {
		return err
	}
	return b.addRules(o.texts)
}

// sendSet is a method of google/nftables that takes elements.
type sendSet func(*nftables.Set, []nftables.SetElement) error

// sendBoth sends the elements of a map, and those of the set of its keys for TCP.
func sendBoth(p portMap, mappings []*rules.Mapping, send sendSet) error {
	if err := inMessages(p.set(), elementsOf(mappings), send); err != nil {
		return err
	}
	return inMessages(p.tcpSet(), tcpElementsOf(mappings), send)
}

// deleteElements deletes the elements of the mappings in o, and target ports that are not used any more.
func (b *Backend) deleteElements(o objects, unused *portSet) error {
	if err := inMessages(targetSet(), unused.targetElements(), b.conn.SetDeleteElements); err != nil {
		return err
	}
	for at, p := range maps() {
		if err := sendBoth(p, o.mapped[at], b.conn.SetDeleteElements); err != nil {
			return err
		}
	}
	return nil
}

// deleteRules deletes the rules of the mappings in o. Rules go by their handles, so the chains are read first.
func (b *Backend) deleteRules(o objects) error {
	byChain := map[string][]*rule{}
	for _, list := range [...][]*rule{o.rules, o.texts} {
		for _, r := range list {
			byChain[r.chain] = append(byChain[r.chain], r)
		}
	}
	for _, c := range chains() {
		if len(byChain[c.name]) == 0 {
			continue
		}
		there, err := b.rules(c.name)
		if err != nil {
			return err
		}
		if err := b.deleteCommented(c.name, byChain[c.name], there); err != nil {
			return err
		}
	}
	return nil
}

func (b *Backend) deleteCommented(chain string, gone []*rule, there []kernelRule) error {
	want := map[string]int{}
	for _, r := range gone {
		want[r.comment]++
	}
	for _, k := range there {
		if want[k.comment] == 0 {
			continue
		}
		want[k.comment]--
		err := b.conn.DelRule(&nftables.Rule{
			Table: table(), Chain: &nftables.Chain{Name: chain, Table: table()}, Handle: k.handle,
		})
		if err != nil {
			return err
		}
	}
	for _, missing := range want {
		if missing > 0 {
			return unix.ENOENT
		}
	}
	return nil
}

// maxMessage is how many bytes of elements go into one message, with room for its other attributes: a netlink
// attribute's length has 16 bits, and google/nftables v0.3.0 lets it overflow without a word.
const maxMessage = 60_000

// inMessages sends elements in messages that are cut by their size on the wire.
func inMessages(set *nftables.Set, elements iter.Seq[nftables.SetElement], send sendSet) error {
	var message []nftables.SetElement
	size := 0
	for e := range elements {
		n := sizeOf(&e)
		if size+n > maxMessage {
			if err := send(set, message); err != nil {
				return err
			}
			message, size = message[:0], 0
		}
		message, size = append(message, e), size+n
	}
	if len(message) == 0 {
		return nil
	}
	return send(set, message)
}

// sizeOf returns how many bytes an element takes in a message: nested attributes for the element, its key, its
// value and its comment, each padded to four bytes.
func sizeOf(e *nftables.SetElement) int {
	const header = unix.SizeofNlAttr
	size := header + 2*header + nlaAlign(len(e.Key)) + 2*header + nlaAlign(len(e.Val))
	if e.Comment != "" {
		size += header + nlaAlign(2+len(e.Comment)+1)
	}
	return size
}

// flush sends what was queued as one transaction.
func (b *Backend) flush() error {
	b.socket.wait()
	return b.conn.Flush()
}

// inDoubt reports whether an error leaves open what the kernel did: the answer was lost, not the request. An
// error of recvmsg(2) is one in the way of the answer; one in the answer has no system call (netlink.OpError).
func inDoubt(err error) bool {
	var call *os.SyscallError
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &call) && call.Syscall == "recvmsg"
}
