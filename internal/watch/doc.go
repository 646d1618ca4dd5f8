// Package watch stays, and keeps what is live as the file says: it puts back what others take out of the kernel, and
// applies the file when it is edited.
//
//	a notification of nf_tables   \
//	the generation, looked at      > pace: when to look -> Repairer: what is missing, put it back -> a line in the log
//	  every few seconds           /
//	an edit of the file, a hangup
//
// How a change is made is not known here: that is package reconcile. Nor is what a mapping means to a packet.
package watch
