package reconcile

import (
	"errors"
	"fmt"

	"portmap/nft"
	"portmap/rules"
)

// The packet filters, as --backend and the file name them.
const (
	nftName      = "nft"
	iptablesName = "iptables"
)

// facts are what the choice between the packet filters depends on.
type facts struct {
	requested     string // by --backend, else by the file; "" where neither says
	nft, iptables filter
}

// filter is what is known of one packet filter.
type filter struct {
	unusable error // why this host cannot use it; nil where it can
	holds    bool  // it holds mappings
}

// choice is the packet filter to use, and the one from which mappings are to move to it: "" for none.
type choice struct{ use, from string }

// requested returns what --backend says, else what the file says.
func requested(flag, saved string) (string, error) {
	switch flag {
	case "auto":
		return saved, nil
	case nftName, iptablesName:
		return flag, nil
	}
	return "", &rules.InvalidError{
		Mapping: "--backend", Part: flag, Why: "not a backend", Fix: "write auto, nft or iptables",
	}
}

// choose decides. The error is an [*UnusableError], or what is wrong with iptables.
func choose(f facts) (choice, error) {
	c, use, other := choice{nftName, iptablesName}, f.nft, f.iptables
	if f.preferred() == iptablesName {
		c, use, other = choice{iptablesName, nftName}, f.iptables, f.nft
	}
	switch {
	case use.unusable != nil && f.nft.unusable != nil:
		return choice{}, &UnusableError{Nft: f.nft.unusable, Iptables: f.iptables.unusable}
	case use.unusable != nil:
		return choice{}, use.unusable
	case !other.holds:
		c.from = ""
	case other.unusable != nil:
		return choice{}, other.unusable // what is there could be neither read nor moved
	}
	return c, nil
}

// preferred is what was requested, else what holds mappings already, else nft, else iptables.
func (f facts) preferred() string {
	switch {
	case f.requested != "":
		return f.requested
	case f.nft.holds:
		return nftName
	case f.iptables.holds, f.nft.unusable != nil:
		return iptablesName
	}
	return nftName
}

// UnusableError says that this host cannot use nft, and why iptables does not take its place.
type UnusableError struct {
	Nft      error
	Iptables error // nil: it could, and was not requested
}

func (e *UnusableError) Error() string {
	if e.Iptables == nil {
		return e.Nft.Error()
	}
	return fmt.Sprintf("%v, and %v", e.Nft, e.Iptables)
}

// Remedy returns what to load or to install.
func (e *UnusableError) Remedy() string {
	switch {
	case e.Iptables == nil:
		return "sudo modprobe nf_tables, or use iptables: sudo portmap apply --backend iptables"
	case errors.Is(e.Nft, nft.ErrMissing): // iptables-nft would not do either
		return "sudo modprobe nf_tables, or install iptables-legacy"
	}
	return "install iptables; or Linux 5.11 or newer, which has all that nft needs"
}
