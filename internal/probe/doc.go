// Package probe sends what a client of this host would send: from a network namespace of its own, which a veth pair
// joins to the host. The namespace and the pair have no name in the file system and belong to this process: the kernel
// takes both away with it, however it ends.
package probe
