package trace

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Tracer reports the way of packets.
type Tracer struct {
	owner  *netlink.Conn // keeps the table
	events *netlink.Conn
	table  string
	owned  bool               // the kernel takes the table away with its socket
	open   map[uint32]*Packet // by their IDs
	queue  []*Packet          // those that were not handed out yet, the oldest first
	Lost   bool               // the kernel reported more than could be read
}

// tableOwner is NFT_TABLE_F_OWNER (linux/netfilter/nf_tables.h).
const tableOwner = 2

// eventBuffer holds the reports on some thousand packets.
const eventBuffer = 8 << 20

// Open marks the packets that one of the selections picks, and listens. It needs CAP_NET_ADMIN. If this kernel has no
// nf_tables the error is unix.EPROTONOSUPPORT, unix.EINVAL or unix.EOPNOTSUPP.
func Open(selections ...Selection) (*Tracer, error) {
	t := &Tracer{table: fmt.Sprintf("%s%d", tablePrefix, os.Getpid()), open: map[uint32]*Packet{}}
	if err := t.listen(); err != nil {
		_ = t.Close()
		return nil, err
	}
	removeLeftovers(t.owner)
	err := t.mark(selections, tableOwner)
	if t.owned = err == nil; errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) { // Linux before 5.12
		err = t.mark(selections, 0)
	}
	if err != nil {
		_ = t.Close()
		return nil, fmt.Errorf("mark packets: %w", err)
	}
	return t, nil
}

func (t *Tracer) listen() (err error) {
	if t.owner, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
		return err
	}
	if t.events, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
		return err
	}
	_ = t.events.SetReadBuffer(eventBuffer) // without it fewer packets fit
	return t.events.JoinGroup(unix.NFNLGRP_NFTRACE)
}

// mark makes the table.
func (t *Tracer) mark(selections []Selection, flags uint32) error {
	b := batch{table: t.table}
	b.newTable(flags)
	for i, s := range selections {
		chain := fmt.Sprintf("%s%d", s.hookName(), i)
		b.newChain(chain, s.hook(), s.priority())
		for _, match := range s.matches() {
			b.newRule(chain, append(match,
				&expr.Immediate{Register: 1, Data: []byte{1}},
				&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1}))
		}
	}
	b.newChain(endPrefix+"input", unix.NF_INET_LOCAL_IN, last)
	b.newChain(endPrefix+"postrouting", unix.NF_INET_POST_ROUTING, last)
	return b.send(t.owner)
}

// The chains behind all others: a packet that comes to one of them has passed all rules, also those of iptables-legacy,
// which report nothing.
const (
	endPrefix = "end_"
	last      = math.MaxInt32 - 1 // before the end of connection tracking's work (NF_IP_PRI_LAST)
)

// Next returns the next packet whose way is known to the end: it was dropped, or nothing more was reported of it for
// some time. Without one by then the error is that of the context.
func (t *Tracer) Next(ctx context.Context) (*Packet, error) {
	for {
		if p := t.ended(time.Now()); p != nil {
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := t.read(); err != nil {
			return nil, err
		}
	}
}

// Rest returns the packets that were reported so far.
func (t *Tracer) Rest() (packets []*Packet, err error) {
	for more := true; more; {
		if more, err = t.read(); err != nil {
			return packets, err
		}
	}
	packets, t.queue = t.queue, nil
	clear(t.open)
	return packets, nil
}

// rest is after how long nothing more is reported of a packet.
const rest = 50 * time.Millisecond

// ended takes the oldest packet, if it has ended.
func (t *Tracer) ended(now time.Time) *Packet {
	if len(t.queue) == 0 {
		return nil
	}
	first := t.queue[0]
	if !first.over && !first.Dropped() && !first.Arrived.IsValid() && now.Sub(first.last) < rest {
		return nil
	}
	t.queue = t.queue[1:]
	if t.open[first.id] == first {
		delete(t.open, first.id)
	}
	return first
}

// read takes in what the kernel reports within a moment, and returns whether that was anything.
func (t *Tracer) read() (bool, error) {
	if waiting, err := t.waiting(); !waiting || err != nil {
		return false, err
	}
	messages, err := t.events.Receive()
	switch {
	case errors.Is(err, unix.ENOBUFS):
		t.Lost = true
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read the kernel's reports: %w", err)
	}
	for _, m := range messages {
		t.take(m)
	}
	return true, nil
}

// waiting reports whether there is something to read within a moment. It asks poll(2), which looks once more at its
// end: a deadline of the socket can be over on a busy host before anybody has looked.
func (t *Tracer) waiting() (is bool, err error) {
	const moment = 10 // milliseconds
	raw, err := t.events.SyscallConn()
	if err != nil {
		return false, err
	}
	failed := raw.Control(func(fd uintptr) {
		count := -1
		for err = unix.EINTR; errors.Is(err, unix.EINTR); { // a signal of the Go scheduler
			count, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, moment)
		}
		is = count > 0
	})
	return is, errors.Join(failed, err)
}

// Close takes the marks away.
func (t *Tracer) Close() error {
	var errs []error
	if t.owner != nil {
		errs = append(errs, deleteTable(t.owner, t.table), t.owner.Close())
	}
	if t.events != nil {
		errs = append(errs, t.events.Close())
	}
	return errors.Join(errs...)
}
