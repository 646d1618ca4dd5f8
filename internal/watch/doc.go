// Package watch keeps the kernel as the file says. It puts back what others remove, and applies the file when it is
// edited.
//
//	a notification of nf_tables    \
//	the generation, polled          > pace: when to check -> Repairer: find and put back -> a line in the log
//	  every few seconds            /
//	an edit of the file, a hangup
//
// Package reconcile makes the changes.
package watch
