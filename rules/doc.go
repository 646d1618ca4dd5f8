// Package rules is the model of portmap: what a mapping is, how it is written, which mappings can stand beside each
// other, and where a packet goes.
//
// A [Mapping] says that packets to a port of this host go to another port. [Parse] makes one from text, [New] from a
// struct. A [Set] is a list of mappings in which at most one claims a packet. Only functions that check make either, so
// an illegal one cannot exist. [Set.Route] is the oracle: the one definition of what a backend must make the kernel do.
//
// The package is pure: it opens nothing, asks nothing of the system and imports only the standard library. A [Backend]
// turns a Set into rules of a kernel: it takes a [Change] and gives back a [Live].
package rules
