// Package savefile keeps a small text file that is replaced whole or not at all, under a lock. It knows nothing of what the
// text says.
//
// Beside PATH it uses two names: PATH.lock, an empty file that is locked while a change is made, and PATH.new, the next
// content while the kernel is being changed.
package savefile
