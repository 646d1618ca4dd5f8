// Package ipt puts a set of mappings into the kernel as iptables rules, of IPv4 and IPv6, and reads them back. It runs
// iptables-save to look and iptables-restore to change: one transaction a family, and when the second fails, the first
// is put back. It knows both variants of iptables, the one over nf_tables and the older one (legacy), which are two
// separate rule sets on one host.
//
// What translates stands in chains of its own in the table nat:
//
//	-A PREROUTING -m addrtype --dst-type LOCAL -j PORTMAP   connections of other hosts; again for addresses in a VRF
//	-A OUTPUT     -m addrtype --dst-type LOCAL -j PORTMAP   connections of this host
//	-A PORTMAP -p tcp -m tcp --dport 443 -m comment --comment "443:8443/tcp" -j DNAT --to-destination :8443
//
// iptables tries rule by rule. So with more than a few mappings PORTMAP leads into a tree of chains, each for a part of
// its parent's ports, and a packet passes a number of rules that grows with the logarithm of theirs:
//
//	-A PORTMAP -p tcp -g PORTMAP-TCP
//	-A PORTMAP-TCP -p tcp -m tcp --dport 0:32767 -g PORTMAP-TCP-0-32767
//
// The table mangle has chains of the same kind, PORTMAP-INVALID, PORTMAP-LISTEN and PORTMAP-TARGET. They drop segments
// of mapped ports that connection tracking calls invalid: these are not translated, and would be answered by a reset.
//
// Each rule that maps carries the mapping's text as its comment: the kernel alone tells which mappings are live.
package ipt
