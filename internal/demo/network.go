package demo

import (
	"fmt"
	"net"
	"os/exec"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses of the two hosts: documentation ranges (RFC 5737, RFC 3849), which lead nowhere else.
const (
	hostIPv4   = "192.0.2.1"
	hostIPv6   = "2001:db8::1"
	clientIPv4 = "192.0.2.2"
	clientIPv6 = "2001:db8::2"
)

// Where the demonstration keeps its files: in a file system of its own that hides what is there.
const (
	folder     = "/tmp"
	configFile = folder + "/portmap.conf"
	certFile   = folder + "/certificate.pem"
	keyFile    = folder + "/key.pem"
)

// privateFiles covers folder, and /run, where portmap keeps what it knows of a network, and iptables-legacy its lock,
// with empty file systems, and /proc with that of this PID namespace, for these processes alone.
func privateFiles() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, path := range [...]string{folder, "/run"} {
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, "mode=755,size=16m"); err != nil {
			return fmt.Errorf("mount a file system on %s: %w", path, err)
		}
	}
	// A container may forbid this. Then /proc shows all processes under their outer numbers, which does as well.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}

// newNetwork fails in a network that is in use: only in a new one lo is down (network_namespaces(7)). Whoever starts a
// stage by hand shall not get these addresses and mounts.
func newNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("interface lo: %w", err)
	}
	if lo.Attrs().Flags&net.FlagUp != 0 {
		return errNotByRun
	}
	return nil
}

// connect joins this network namespace and the client's by a veth pair, and brings up this end.
func connect(client *exec.Cmd) error {
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: "eth0"},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsPid(client.Process.Pid),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	return bringUp(hostIPv4+"/24", hostIPv6+"/64")
}

// bringUp makes this namespace's interfaces ready.
func bringUp(addresses ...string) error {
	for _, name := range [...]string{"lo", "eth0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
		if name == "eth0" {
			if err := addAddresses(link, addresses); err != nil {
				return err
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring up %s: %w", name, err)
		}
	}
	return nil
}

func addAddresses(link netlink.Link, addresses []string) error {
	for _, text := range addresses {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD // nobody else is there: no need to wait and see (RFC 4862, 5.4)
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %s: %w", text, err)
		}
	}
	return nil
}
