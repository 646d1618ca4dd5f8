// Package store keeps a small text file that is replaced whole or not at all, under a lock. A change is written and
// fsynced beside the file first, where a full disk shows while nothing has happened yet, and then renamed over it. A
// process that is killed leaves either the old content or the new, never a part; a file that cannot be replaced,
// because it is mounted by itself, is written in place with both contents beside it.
//
// Beside PATH stand PATH.lock, which stays, PATH.old, where the caller wants that, and for the time of a change hidden
// files with names like .NAME.portmap-staged. Where PATH is a symbolic link that is safe to follow, all stand beside
// the file that it leads to.
//
// What the text means is not known here: that is package conf. Nor what else has to change with it: that is package
// reconcile.
package store
