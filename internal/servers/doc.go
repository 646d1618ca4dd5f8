// Package servers finds the processes that stand behind mappings, or in their way: listening sockets by sock_diag(7),
// their processes by one walk over /proc, however many mappings there are. It only looks.
package servers
