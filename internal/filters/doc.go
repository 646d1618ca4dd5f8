// Package filters holds the table of the packet filters that portmap can use, and chooses between them on this host.
// Packages nft and ipt implement the filters.
package filters
