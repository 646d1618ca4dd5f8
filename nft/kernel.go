package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// kernel is a connection to nf_tables.
type kernel struct {
	conn    *nftables.Conn
	socket  *socket
	list    lister
	options []nftables.ConnOption
	users   rules.Users
}

// socket is the netlink socket under google/nftables.
type socket struct{ conn *netlink.Conn }

// bufferSize holds a transaction of 65,535 ports on both protocols with long names. With the default send buffer one of
// 8,000 elements fails (EMSGSIZE). With the default receive buffer more than about 160 acknowledgements overflow it
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

// limitWait sets the deadline for the answers to what is sent next.
func (s *socket) limitWait() {
	if s.conn != nil {
		_ = s.conn.SetReadDeadline(time.Now().Add(answerWithin)) // without it the wait is only longer
	}
}

func (k *kernel) connect() error {
	conn, err := nftables.New(k.options...)
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT): // af_netlink.c, netlink_create
		return ErrMissing
	case err != nil:
		return kernelError(err)
	}
	k.conn = conn
	return nil
}

// reconnect drops what was queued and what the kernel may still answer.
func (k *kernel) reconnect() error {
	_ = k.conn.CloseLasting()
	return k.connect()
}

// Lists are read here and not by google/nftables, for two reasons. It reads 4 kB at a time, and the kernel
// begins each such piece by walking over all it has sent before: 60,000 elements take over a second, with
// pieces of 32 kB a fifth of one, and with 120,000 rules the difference is half a minute. And it does not look at
// NLM_F_DUMP_INTR, by which the kernel says that the list changed while it was read.

// lister asks the kernel for a list and hands over each message of it, without the netlink header.
type lister func(request, answer uint16, body []byte, each func(message []byte)) error

func listKernel(request, answer uint16, body []byte, each func(message []byte)) error {
	req := nl.NewNetlinkRequest(int(request), unix.NLM_F_DUMP)
	req.AddRawData(body)
	return req.ExecuteIter(unix.NETLINK_NETFILTER, answer, func(message []byte) bool {
		each(message)
		return true
	})
}

const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8

// dump reads a list of what is in the table: what to ask for, the kind of message that answers, and the attributes of
// the request. It calls begin before each reading: there may be several.
func (k *kernel) dump(request, answer uint16, attributes []byte, begin func(), each func(message []byte)) error {
	return again(func() error {
		begin()
		return k.list(subsystem|request, subsystem|answer, append(header(), attributes...), func(message []byte) {
			each(body(message))
		})
	})
}

const interruptions = 20

// again repeats a reading that the kernel says was interrupted.
func again(read func() error) error {
	var err error
	for range interruptions {
		if err = read(); !errors.Is(err, vnetlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return fmt.Errorf("the rules changed %d times while they were read: %w", interruptions, err)
}

// query asks for one object, over the connection that is open anyway.
func (k *kernel) query(kind uint16, attributes []byte) ([]netlink.Message, error) {
	k.socket.limitWait()
	return k.socket.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem | kind), Flags: netlink.Request},
		Data:   append(header(), attributes...),
	})
}

// generation returns the number that the kernel counts up with each change of any rule. Lists that were read under the
// same number belong together.
func (k *kernel) generation() (id uint32, err error) {
	answer, err := k.query(unix.NFT_MSG_GETGEN, nil)
	for _, m := range answer {
		attributes(body(m.Data), func(kind uint16, value []byte) {
			if kind == unix.NFTA_GEN_ID && len(value) == 4 {
				id = binary.BigEndian.Uint32(value)
			}
		})
	}
	return id, kernelError(err)
}
