// Package filters is the table of the packet filters that portmap can use, and the choice between them on this host.
// What a filter does with mappings is its own package's business; who asks for one by name is above.
package filters
