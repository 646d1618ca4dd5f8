// Package rules is the model of portmap: what a mapping is, how it is written, which mappings can stand beside each
// other, and where a packet goes.
//
// A [Mapping] says that packets to a port of this host go to another port. A [Set] is a list of mappings in which every
// packet is claimed by at most one of them. Both are made only by functions that check, so an illegal one cannot exist.
// [Set.Route] is the oracle: the one definition of what a backend must make the kernel do.
//
// The package is pure: it opens nothing, asks nothing of the system and imports the standard library alone. How a Set
// becomes rules of a kernel is the business of the backends, which take a [Change] and give back a [Live].
package rules
