package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nlenc"
	"golang.org/x/sys/unix"
)

// Kernel tells of changes of nf_tables, by whatever tool: iptables-nft is one of them, iptables-legacy is not.
type Kernel struct {
	notices *netlink.Conn
	queries *netlink.Conn
}

// Notice is a transaction that somebody made.
type Notice struct {
	Generation uint32 // the kernel counts it up with each transaction
	By         string // the name of the process; may be empty
	Lost       bool   // there were others, of which nothing is known
}

const (
	subsystem     = unix.NFNL_SUBSYS_NFTABLES << 8
	newGeneration = subsystem | unix.NFT_MSG_NEWGEN
	answerWithin  = 5 * time.Second
)

// ErrSilent says that the kernel has no nf_tables, and so no notifications.
var ErrSilent = errors.New("this kernel has no nf_tables")

// Listen opens the kernel's notifications, in the network namespace of the thread. It needs CAP_NET_ADMIN. The error is
// [ErrSilent] where the kernel has none.
func Listen() (*Kernel, error) {
	k := &Kernel{}
	var err error
	if k.queries, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
		return nil, listenError(err)
	}
	if _, err = k.Generation(); err == nil { // nfnetlink lets its groups be joined whoever is there to speak
		k.notices, err = subscribe()
	}
	if err != nil {
		k.queries.Close()
		return nil, listenError(err)
	}
	return k, nil
}

// listenError tells a kernel without nf_tables from other trouble: it has no such socket (af_netlink.c,
// netlink_create), or nobody to take the message (nfnetlink.c, nfnetlink_rcv_msg).
func listenError(err error) error {
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		return ErrSilent
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
	kind := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, newGeneration)) // BPF loads big-endian, the header is not
	const typeInHeader = 4                                                                // struct nlmsghdr
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

// Notices hands over the changes until ctx is done or the Kernel is closed. One who does not take them has them pile up in
// the socket, and learns from Lost when it was full.
func (k *Kernel) Notices(ctx context.Context) <-chan Notice {
	notices := make(chan Notice)
	go func() {
		defer close(notices)
		for {
			list, err := k.receive()
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

func (k *Kernel) receive() ([]Notice, error) {
	messages, err := k.notices.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		return []Notice{{Lost: true}}, nil
	}
	list := make([]Notice, 0, len(messages))
	for _, m := range messages {
		n, err := noticeOf(m)
		list = append(list, Notice{Generation: n.Generation, By: n.By, Lost: err != nil})
	}
	return list, err
}

// noticeOf reads a NEWGEN message (linux/netfilter/nf_tables.h, enum nft_gen_attributes).
func noticeOf(m netlink.Message) (n Notice, err error) {
	const header = 4 // struct nfgenmsg
	if m.Header.Type != newGeneration || len(m.Data) < header {
		return Notice{}, fmt.Errorf("nf_tables: an answer of type %#x", m.Header.Type)
	}
	d, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return Notice{}, err
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_GEN_ID:
			n.Generation = d.Uint32()
		case unix.NFTA_GEN_PROC_NAME:
			n.By = nlenc.String(d.Bytes())
		}
	}
	return n, d.Err()
}

// Generation returns the number of the last transaction.
func (k *Kernel) Generation() (uint32, error) {
	_ = k.queries.SetDeadline(time.Now().Add(answerWithin)) // without it the wait is only longer
	answer, err := k.queries.Execute(netlink.Message{
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
	return n.Generation, err
}

// Close ends it. What waits in Notices ends too.
func (k *Kernel) Close() error { return errors.Join(k.notices.Close(), k.queries.Close()) }
