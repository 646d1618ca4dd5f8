// Package fault runs a program and injects a fault at one system call: the N-th one that the program or a process below
// it makes. It is for tests. It stops the program at each call with ptrace(2), so no tool has to be installed, and
// counts the calls of all processes and threads.
//
// The programs of a test often have several threads, so the N-th call is not the same one in each run. A test that
// tries all N of a run without a fault has tried each call about once.
//
// The registers of a call depend on the processor; this package is for amd64.
package fault
