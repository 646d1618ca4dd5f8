// Package nft puts a set of mappings into the kernel as one nf_tables table, `inet portmap`, and reads it back.
// It speaks netlink and needs no nft binary.
//
// Ports live in maps, so that a packet pays for one lookup whatever their number, and adding a mapping adds an element:
//
//	table inet portmap {
//		map ports { type inet_proto . inet_service : inet_service; counter; }    every address, IPv4 and IPv6
//		map ports4, ports6                                                       every address, one family
//		map addr4, addr6                                                         one listen address
//		map remote4, loopback4, ...                                              targets with an address
//		map spread, spread4, spread6                                             to the chain of a mapping, see below
//		set tcp_ports, ...                                                       the keys of each map, TCP
//		set targets                                                              target ports, TCP
//		chain prerouting { type nat hook prerouting priority dstnat - 1; }       connections of other hosts
//		chain output { type nat hook output priority -101; }                     connections of this host
//		chain mapped { a lookup in each map, then a rule for each mapping with --source or --interface }
//		chain spread_... { a mapping with several targets: a rule for each }
//		chain guard_prerouting { type filter hook prerouting priority mangle; }  invalid segments to mapped ports
//		chain guard_output { type filter hook output priority mangle; }          invalid segments from target ports
//		chain invalid { a lookup in each set tcp_...; then the same rules as in mapped; each drops }
//		chain texts { texts that no comment can hold, and those of temporary mappings; no packet comes here }
//	}
//
// Each element and rule carries the mapping's text as its comment: the kernel alone tells which mappings are live.
// A table of that name whose sets do not have our comment is somebody else's, and is never changed.
// What a mapping means is said in package rules; what to do about one that is missing, in package reconcile.
package nft
