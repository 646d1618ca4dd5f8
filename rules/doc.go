// Package rules is the model of portmap: what a mapping is, how it is written, which mappings can stand beside each
// other, and where a packet goes. It asks nothing of the system, and imports only the standard library.
//
// A [Mapping] says that packets to a port of this host go to another port. [Parse] makes one from text, [New] from a
// struct. A [Set] is a list of mappings of which at most one claims a packet. Both are always valid. [Set.Route] is the
// oracle: it defines what a [Backend] must make the kernel do.
package rules
