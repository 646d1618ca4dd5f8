// Package trace follows packets through the rules of nf_tables, those of iptables-nft among them. The kernel reports
// each rule that a marked packet meets (nft(8), meta nftrace). The marks come from a table of its own, which belongs to
// a socket of this process: the kernel takes it away with the process, however it ends, from Linux 5.12 on.
package trace
