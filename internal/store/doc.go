// Package store keeps a small text file that is replaced atomically, under a lock. The new content is first written and
// fsynced beside the file, so that a full disk shows before anything has changed, and then renamed over it. A process
// that is killed leaves the old content or the new, never a part. A file that cannot be replaced, because it is mounted
// by itself, is written in place, with both contents beside it.
//
// Beside PATH are PATH.lock, which stays; PATH.old, if the caller wants it; and, during a change, hidden files with
// names like .NAME.portmap-staged. If PATH is a symbolic link that is safe to follow, all are beside its target.
//
// Package conf reads the text. Package reconcile changes the kernel together with the file.
package store
