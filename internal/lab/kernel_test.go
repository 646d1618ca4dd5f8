package lab

import (
	"errors"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

// A function and a program of the host see its kernel; all others see the real one.
func TestKernels(t *testing.T) {
	host := New(t).Host("host")
	for kernel, want := range map[Kernel]struct {
		errno error
		says  string
	}{
		Whole:       {nil, ""},
		NoTables:    {unix.EINVAL, "Could not fetch rule set generation id: Invalid argument"},
		NoNfnetlink: {unix.EPROTONOSUPPORT, "Failed to initialize nft: Protocol not supported"},
	} {
		other := host.On(kernel)
		var err error
		other.Do(func() { err = askTables() })
		if !errors.Is(err, want.errno) {
			t.Errorf("kernel %d: %v, want %v", kernel, err, want.errno)
		}
		if r := other.Try("iptables-nft-save"); !strings.Contains(r.Err, want.says) ||
			r.Code == 0 != (want.says == "") {
			t.Errorf("kernel %d: iptables-nft-save: %+v, want %q", kernel, r, want.says)
		}
		other.Run("iptables-legacy", "-t", "nat", "-S")
		host.Do(func() { err = askTables() })
		if err != nil {
			t.Errorf("beside kernel %d: %v", kernel, err)
		}
	}
}

func askTables() error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return err
	}
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	return err
}
