package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Client is a host that sends to this one.
type Client struct {
	Interface string // this host's end of the veth pair

	work chan func() // runs in the client's namespace
	done chan struct{}
	made bool // the veth pair
	near *netlink.LinkAttrs
	far  *netlink.LinkAttrs
	own  map[netip.Addr]netip.Addr // the client's addresses, by that of the host to which it sends
}

// Open makes a client. It needs CAP_NET_ADMIN and CAP_SYS_ADMIN. The error says which of its parts could not be made.
func Open() (*Client, error) {
	c := &Client{Interface: fmt.Sprintf("pmcheck%d", os.Getpid()), work: make(chan func()), done: make(chan struct{}),
		own: map[netip.Addr]netip.Addr{}}
	made := make(chan error)
	var ns netns.NsHandle
	go func() {
		defer close(c.done)
		runtime.LockOSThread() // and never unlocked: the thread ends, and with it the last that keeps the namespace
		var err error
		ns, err = netns.New()
		if made <- err; err != nil {
			return
		}
		for f := range c.work {
			f()
		}
	}()
	if err := <-made; err != nil {
		if errors.Is(err, unix.ENOSPC) { // unshare(2)
			err = errors.New("there are as many as user.max_net_namespaces allows")
		}
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	err := c.join(ns)
	_ = ns.Close()
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// join makes the veth pair. Its addresses are given, since udev changes those that the kernel has chosen, some time
// after a link was made (systemd.link(5), MACAddressPolicy=persistent), and each end knows that of the other.
func (c *Client) join(ns netns.NsHandle) error {
	const peer = "eth0"
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: c.Interface, HardwareAddr: hardwareAddress()},
		PeerName: peer, PeerHardwareAddr: hardwareAddress(), PeerNamespace: netlink.NsFd(int(ns))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	c.made = true
	var err error
	if c.near, err = bringUp(c.Interface); err != nil {
		return err
	}
	for _, like := range [...]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if err := c.number(like); err != nil && like.Is4() {
			return fmt.Errorf("give %s an address: %w", c.Interface, err)
		}
	}
	c.Do(func() {
		if c.far, err = bringUp(peer); err == nil {
			err = c.routeEverywhere()
		}
	})
	if err == nil {
		err = c.waitUntilUp()
	}
	return err
}

// hardwareAddress returns one that nobody has: the first byte says that it is of one station, and no vendor's.
func hardwareAddress() net.HardwareAddr {
	const local = 2
	return binary.BigEndian.AppendUint32([]byte{local, 0}, rand.Uint32())
}

// waitUntilUp waits until this host's end sends. It came up before the other one was there: only some time after that
// the kernel takes note (net/core/link_watch.c), and until then drops what is sent.
func (c *Client) waitUntilUp() error {
	return until(func() (bool, error) {
		link, err := netlink.LinkByIndex(c.near.Index)
		return err == nil && link.Attrs().OperState == netlink.OperUp, err
	})
}

// until waits, for a second at most.
func until(done func() (bool, error)) error {
	const limit, pause = time.Second, time.Millisecond
	for range limit / pause {
		if is, err := done(); is || err != nil {
			return err
		}
		time.Sleep(pause)
	}
	return fmt.Errorf("not ready after %s", limit)
}

func bringUp(name string) (*netlink.LinkAttrs, error) {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return nil, fmt.Errorf("bring up %s: %w", name, err)
	}
	return link.Attrs(), nil
}

// number gives this host's end an address of one family: rules that redirect send to it.
func (c *Client) number(like netip.Addr) error {
	address, err := unused(like)
	if err != nil {
		return err
	}
	return addAddress(c.near, address)
}

// addAddress gives an interface an address that can be used at once.
func addAddress(on *netlink.LinkAttrs, address netip.Addr) error {
	a := &netlink.Addr{IPNet: alone(address), Flags: unix.IFA_F_NOPREFIXROUTE}
	if address.Is6() {
		a.Flags |= unix.IFA_F_NODAD
	}
	return netlink.AddrAdd(&netlink.GenericLink{LinkAttrs: *on}, a)
}

// routeEverywhere gives the client a route to all addresses, by the veth pair.
func (c *Client) routeEverywhere() error {
	for _, all := range [...]string{"0.0.0.0/0", "::/0"} {
		_, network, _ := net.ParseCIDR(all)
		route := &netlink.Route{LinkIndex: c.far.Index, Dst: network, Scope: netlink.SCOPE_LINK}
		if err := netlink.RouteAdd(route); err != nil && all != "::/0" { // a kernel without IPv6 has IPv4
			return fmt.Errorf("give the client a route: %w", err)
		}
	}
	return nil
}

// Address returns the address from which the client sends to one of the host. It takes a new one for each, and the
// host's route back names the address that was sent to: that is where a server of UDP answers from.
func (c *Client) Address(to netip.Addr) (netip.Addr, error) {
	if own, known := c.own[to]; known {
		return own, nil
	}
	own, err := unused(to)
	if err != nil {
		return own, err
	}
	if err := c.take(own, to); err != nil {
		return own, fmt.Errorf("give the client the address %s: %w", own, err)
	}
	c.own[to] = own
	return own, nil
}

// take gives the client an address. Both ends are told of each other: ARP is nothing that a host must answer, and takes
// its time. The host's route back is in the table that is asked first: policy routing by the source address, as hosts
// with several uplinks have it, would send the answer elsewhere.
func (c *Client) take(own, to netip.Addr) error {
	route := &netlink.Route{LinkIndex: c.near.Index, Dst: alone(own), Src: to.AsSlice(), Scope: netlink.SCOPE_LINK,
		Table: unix.RT_TABLE_LOCAL}
	if to.Is6() {
		allowIPv6(c.near)
	}
	if err := netlink.RouteAdd(route); err != nil {
		return err
	}
	if err := netlink.NeighSet(neighbour(c.near, own, c.far)); err != nil {
		return err
	}
	var err error
	c.Do(func() {
		if to.Is6() {
			allowIPv6(c.far)
		}
		if err = addAddress(c.far, own); err == nil {
			err = netlink.NeighSet(neighbour(c.far, to, c.near))
		}
		if err == nil {
			err = until(func() (bool, error) { return isLocal(own) })
		}
	})
	return err
}

// allowIPv6 switches IPv6 on where new interfaces do not have it. If that cannot be, the next step fails, and says so.
func allowIPv6(on *netlink.LinkAttrs) {
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+on.Name+"/disable_ipv6", []byte("0"), 0)
}

// isLocal reports whether this thread's host takes packets to an address for its own. It does so some time after it got
// one of IPv6 (net/ipv6/addrconf.c, addrconf_dad_work).
func isLocal(address netip.Addr) (bool, error) {
	routes, err := netlink.RouteGet(address.AsSlice())
	return len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL, err
}

// alone returns a network of one address.
func alone(address netip.Addr) *net.IPNet {
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())}
}

// neighbour says on one end that an address is the other one.
func neighbour(on *netlink.LinkAttrs, address netip.Addr, other *netlink.LinkAttrs) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: on.Index, IP: address.AsSlice(), HardwareAddr: other.HardwareAddr,
		State: netlink.NUD_PERMANENT}
}

// Do runs f in the client's namespace. Sockets that f makes stay the client's.
func (c *Client) Do(f func()) {
	done := make(chan struct{})
	c.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Dial connects to an address of the host, as net.Dialer does.
func (c *Client) Dial(ctx context.Context, network string, to netip.AddrPort) (conn net.Conn, err error) {
	own, err := c.Address(to.Addr())
	if err != nil {
		return nil, err
	}
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(own, 0))}
	c.Do(func() { conn, err = d.DialContext(ctx, network, to.String()) })
	if tcp, is := conn.(*net.TCPConn); is && err == nil {
		err = tcp.SetLinger(0) // see socketFor
	}
	return conn, err
}

// Close takes the client away, and waits until its interface is gone.
func (c *Client) Close() error {
	var err error
	if c.made {
		err = netlink.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: c.Interface}})
		if errors.Is(err, unix.ENODEV) {
			err = nil
		}
	}
	close(c.work)
	<-c.done
	return err
}
