// Package reconcile is the one place that knows the file, the kernel and the lock: it changes them together, in an
// order in which whatever fails leaves both as they were.
//
//	lock and read the file -> the new Set (validate, conflicts)
//	-> write the new file beside the old (a full disk shows here)
//	-> one transaction in the kernel -> rename over the old file -> connection tracking forgets what is no longer true
//
// A process that dies between the kernel and the rename leaves the new file beside the old; the next change sees it,
// and makes the kernel agree with the file first.
package reconcile
