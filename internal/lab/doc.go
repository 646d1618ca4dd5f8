// Package lab makes hosts for tests: network namespaces joined by veth pairs, with real servers and clients in them.
//
//	n := lab.New(t)
//	host, client := n.Host("host"), n.Host("client")
//	n.Link(host, "192.0.2.1/24", "2001:db8::1/64", client, "192.0.2.2/24", "2001:db8::2/64")
//
//	client  192.0.2.2 ──── eth0 ════ eth0 ──── 192.0.2.1  host
//
// [Host.On] puts a host on a kernel that lacks nf_tables.
//
// [Main] runs the tests of a package inside namespaces of their own. So nothing that they make outlives them, even if
// they are killed, and they cannot change the machine that they run on.
package lab
