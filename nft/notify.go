package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"portmap/rules/notify"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nlenc"
	"golang.org/x/sys/unix"
)

// Changes are the kernel's notifications of transactions of nf_tables, by whatever program: iptables-nft is one of
// them, iptables-legacy is not. A mark is a generation, which the kernel counts up with each transaction. It is a
// [notify.Source].
type Changes struct {
	notices *netlink.Conn
	queries *netlink.Conn
}

const newGeneration = subsystem | unix.NFT_MSG_NEWGEN

// Listen opens the notifications, in the network namespace of the thread. It needs CAP_NET_ADMIN. The error is
// [ErrMissing] if the kernel has no nf_tables.
func Listen() (*Changes, error) {
	c := &Changes{}
	var err error
	if c.queries, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
		return nil, listenError(err)
	}
	if _, err = c.Mark(); err == nil { // nfnetlink lets its groups be joined whether nf_tables is there or not
		c.notices, err = subscribe()
	}
	if err != nil {
		c.queries.Close()
		return nil, listenError(err)
	}
	return c, nil
}

// listenError tells a kernel without nf_tables from other trouble: it has no such socket (af_netlink.c,
// netlink_create), or nobody to take the message (nfnetlink.c, nfnetlink_rcv_msg).
func listenError(err error) error {
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		return ErrMissing
	}
	return fmt.Errorf("listen for changes: %w", err)
}

func subscribe() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	if err = onlyGenerations(conn); err == nil {
		err = conn.JoinGroup(unix.NFNLGRP_NFTABLES)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// onlyGenerations has the kernel drop all but the one message that ends the notifications of a transaction: a foreign
// ruleset of 100,000 elements is then one message of some 60 bytes (nf_tables_api.c, nf_tables_gen_notify).
func onlyGenerations(conn *netlink.Conn) error {
	// BPF loads big-endian, the header is not
	kind := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, newGeneration))
	const typeInHeader = 4 // struct nlmsghdr
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: typeInHeader},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(kind), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var attach error
	if err := raw.Control(func(fd uintptr) {
		attach = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	}); err != nil {
		return err
	}
	return attach
}

// Notices hands over the changes until ctx is done or the Changes are closed. One who does not take them has them pile
// up in the socket, and learns from Lost when it was full.
func (c *Changes) Notices(ctx context.Context) <-chan notify.Notice {
	notices := make(chan notify.Notice)
	go func() {
		defer close(notices)
		for {
			list, err := c.receive()
			if err != nil {
				return
			}
			for _, n := range list {
				select {
				case notices <- n:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return notices
}

func (c *Changes) receive() ([]notify.Notice, error) {
	messages, err := c.notices.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		return []notify.Notice{{Lost: true}}, nil
	}
	list := make([]notify.Notice, 0, len(messages))
	for _, m := range messages {
		n, err := noticeOf(m)
		list = append(list, notify.Notice{Mark: n.Mark, By: n.By, Lost: err != nil})
	}
	return list, err
}

// noticeOf reads a NEWGEN message (linux/netfilter/nf_tables.h, enum nft_gen_attributes).
func noticeOf(m netlink.Message) (n notify.Notice, err error) {
	const header = 4 // struct nfgenmsg
	if m.Header.Type != newGeneration || len(m.Data) < header {
		return notify.Notice{}, fmt.Errorf("nf_tables: an answer of type %#x", m.Header.Type)
	}
	d, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return notify.Notice{}, err
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_GEN_ID:
			n.Mark = uint64(d.Uint32())
		case unix.NFTA_GEN_PROC_NAME:
			n.By = nlenc.String(d.Bytes())
		}
	}
	return n, d.Err()
}

// After compares two generations. The kernel's count begins again after its end.
func (c *Changes) After(mark, known uint64) bool { return int32(uint32(mark)-uint32(known)) > 0 }

// Known counts one transaction after the look began as its own.
func (c *Changes) Known(_, before, after uint64, changed bool) uint64 {
	if changed && uint32(after) == uint32(before)+1 {
		return after
	}
	return before
}

// Every returns 0: the kernel tells of each transaction.
func (c *Changes) Every() time.Duration { return 0 }

// Mark returns the number of the last transaction.
func (c *Changes) Mark() (uint64, error) {
	_ = c.queries.SetDeadline(time.Now().Add(5 * time.Second)) // without it the wait is only longer
	answer, err := c.queries.Execute(netlink.Message{
		Header: netlink.Header{Type: subsystem | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return 0, fmt.Errorf("nf_tables: %w", err)
	}
	if len(answer) != 1 {
		return 0, fmt.Errorf("nf_tables: %d answers instead of one", len(answer))
	}
	n, err := noticeOf(answer[0])
	return n.Mark, err
}

// Close ends it, and the notices.
func (c *Changes) Close() error { return errors.Join(c.notices.Close(), c.queries.Close()) }
