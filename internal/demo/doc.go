// Package demo is what `portmap demo` runs: a server, a client and a network between them, made for the purpose and
// gone afterwards, in which the real command does its real work.
//
//	Run              the person's process: starts `host` in namespaces of its own and shows what that prints
//	  stage host     init of a PID namespace: makes the network, and goes through the script
//	    stage server     an HTTPS server on 8443, unprivileged, that knows nothing of all this
//	    stage squatter   the same, of another user, in the script of the guards
//	    stage client     another host, at the far end of a veth pair
//	    portmap          add, list, remove: the very command
//
// The stages know each other's processes and pipes; how a mapping gets into the kernel is known to the command alone.
//
// When the first process ends, however it ends, the kernel ends the PID namespace and with it everything else.
package demo
