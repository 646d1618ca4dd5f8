// Package fault runs a program and lets one of its system calls go wrong: the N-th one that the program or a process
// below it makes. It is for tests. It stops the program at each call with ptrace(2), so it needs nothing to be
// installed, and counts over all processes and threads.
//
// The programs of a test are often threaded, so the N-th call is not the same one in each run. Whoever tries all N of a
// run without a fault has tried each call about once.
//
// The registers of a call differ from one kind of processor to another: what is here is for amd64.
package fault
