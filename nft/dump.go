package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Maps are listed here and not by google/nftables, for two reasons. It reads 4 kB at a time, and the kernel
// begins each such piece by walking over all elements it has sent before: 60,000 take over a second, with
// pieces of 32 kB a fifth of one. And it does not look at NLM_F_DUMP_INTR, by which the kernel says that the
// list changed while it was read.

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

// header is struct nfgenmsg (linux/netfilter/nfnetlink.h), which begins each message.
func header() []byte { return []byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0} }

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

// query asks for something small, over the connection that is open anyway.
func (b *Backend) query(kind uint16, flags netlink.HeaderFlags, attributes []byte) ([]netlink.Message, error) {
	b.socket.wait()
	answer, err := b.socket.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem | kind), Flags: netlink.Request | flags},
		Data:   append(header(), attributes...),
	})
	for _, m := range answer {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, vnetlink.ErrDumpInterrupted
		}
	}
	return answer, err
}

// body returns a message without its nfgenmsg.
func body(message []byte) []byte { return message[min(len(message), len(header())):] }

// generation returns the number that the kernel counts up with each change of any rule: lists that were read under the
// same number belong together.
func (b *Backend) generation() (id uint32, err error) {
	answer, err := b.query(unix.NFT_MSG_GETGEN, 0, nil)
	for _, m := range answer {
		attributes(body(m.Data), func(kind uint16, value []byte) {
			if kind == unix.NFTA_GEN_ID && len(value) == 4 {
				id = binary.BigEndian.Uint32(value)
			}
		})
	}
	return id, kernelError(err)
}

// attributes calls each for every netlink attribute in b. What does not hold together ends it.
func attributes(b []byte, each func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofNlAttr || length > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:length])
		b = b[min(nlaAlign(length), len(b)):]
	}
}

// attributeMap is a message or a nested attribute, taken apart. Of several of one kind it has the last.
type attributeMap map[uint16][]byte

func fields(b []byte) attributeMap {
	m := attributeMap{}
	attributes(b, func(kind uint16, value []byte) { m[kind] = value })
	return m
}

// number returns an attribute of 32 bits, 0 where it is missing.
func (m attributeMap) number(kind uint16) uint32 {
	if v := m[kind]; len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (m attributeMap) text(kind uint16) string { return unix.ByteSliceToString(m[kind]) }

func nlaAlign(n int) int { return (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }

func stringAttribute(kind uint16, s string) []byte {
	length := unix.SizeofNlAttr + len(s) + 1
	b := make([]byte, nlaAlign(length))
	binary.NativeEndian.PutUint16(b, uint16(length))
	binary.NativeEndian.PutUint16(b[2:], kind)
	copy(b[unix.SizeofNlAttr:], s)
	return b
}

// isAbsent reports whether the kernel has no object of that name.
func isAbsent(err error) bool { return errors.Is(err, unix.ENOENT) }
