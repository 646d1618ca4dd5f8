package trace

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"

	"portmap/internal/attribute"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// google/nftables does not send the flags of a table, so that the few messages needed here are made by hand.

const (
	subsystem   = unix.NFNL_SUBSYS_NFTABLES << 8
	tablePrefix = "portmap-trace-" // before the process ID
)

// batch is a transaction for one table of the family inet.
type batch struct {
	table    string
	messages []netlink.Message
	err      error
}

func (b *batch) add(kind uint16, flags netlink.HeaderFlags, fill func(*netlink.AttributeEncoder)) {
	encoder := netlink.NewAttributeEncoder()
	encoder.ByteOrder = binary.BigEndian
	fill(encoder)
	attributes, err := encoder.Encode()
	b.err = errors.Join(b.err, err)
	b.messages = append(b.messages,
		message(subsystem|kind, flags|netlink.Acknowledge, unix.NFPROTO_INET, 0, attributes))
}

// message begins with struct nfgenmsg.
func message(kind uint16, flags netlink.HeaderFlags, family byte, resource uint16, attributes []byte) netlink.Message {
	head := binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
		Data:   append(head, attributes...),
	}
}

func (b *batch) newTable(flags uint32) {
	b.add(unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Excl, func(e *netlink.AttributeEncoder) {
		e.String(unix.NFTA_TABLE_NAME, b.table)
		e.Uint32(unix.NFTA_TABLE_FLAGS, flags)
	})
}

func (b *batch) newChain(name string, hook uint32, priority int32) {
	b.add(unix.NFT_MSG_NEWCHAIN, netlink.Create, func(e *netlink.AttributeEncoder) {
		e.String(unix.NFTA_CHAIN_TABLE, b.table)
		e.String(unix.NFTA_CHAIN_NAME, name)
		e.String(unix.NFTA_CHAIN_TYPE, "filter")
		e.Nested(unix.NFTA_CHAIN_HOOK, func(e *netlink.AttributeEncoder) error {
			e.Uint32(unix.NFTA_HOOK_HOOKNUM, hook)
			e.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
			return nil
		})
	})
}

func (b *batch) newRule(chain string, expressions []expr.Any) {
	b.add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, func(e *netlink.AttributeEncoder) {
		e.String(unix.NFTA_RULE_TABLE, b.table)
		e.String(unix.NFTA_RULE_CHAIN, chain)
		e.Nested(unix.NFTA_RULE_EXPRESSIONS, func(e *netlink.AttributeEncoder) error {
			for _, x := range expressions {
				content, err := expr.Marshal(unix.NFPROTO_INET, x)
				if err != nil {
					return err
				}
				e.Bytes(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, content)
			}
			return nil
		})
	})
}

// send waits for all acknowledgements: the first error is that of the whole.
func (b *batch) send(conn *netlink.Conn) error {
	if b.err != nil {
		return b.err
	}
	all := []netlink.Message{message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil)}
	all = append(all, b.messages...)
	all = append(all, message(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil))
	if _, err := conn.SendMessages(all); err != nil {
		return err
	}
	for acknowledged := 0; acknowledged < len(b.messages); {
		messages, err := conn.Receive()
		if err != nil {
			return err
		}
		acknowledged += len(messages)
	}
	return nil
}

func deleteTable(conn *netlink.Conn, table string) error {
	b := batch{table: table}
	b.add(unix.NFT_MSG_DELTABLE, 0, func(e *netlink.AttributeEncoder) { e.String(unix.NFTA_TABLE_NAME, table) })
	if err := b.send(conn); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// removeLeftovers deletes the tables of processes that are gone: a kernel before Linux 5.12 keeps them.
func removeLeftovers(conn *netlink.Conn) {
	tables, err := conn.Execute(message(subsystem|unix.NFT_MSG_GETTABLE, netlink.Dump, unix.NFPROTO_INET, 0, nil))
	if err != nil {
		return
	}
	for _, m := range tables {
		eachAttribute(m.Data, func(kind uint16, value []byte) {
			name := unix.ByteSliceToString(value)
			text, ours := strings.CutPrefix(name, tablePrefix)
			pid, err := strconv.Atoi(text)
			if kind != unix.NFTA_TABLE_NAME || !ours || err != nil {
				return
			}
			if _, err := os.Stat("/proc/" + text); os.IsNotExist(err) || pid == os.Getpid() {
				_ = deleteTable(conn, name)
			}
		})
	}
}

// eachAttribute calls each for the attributes of a message behind its struct nfgenmsg.
func eachAttribute(data []byte, each func(kind uint16, value []byte)) {
	if len(data) < 4 {
		return
	}
	attribute.Each(data[4:], each)
}
