// Package rundir keeps, until the next reboot, what portmap knows about one network namespace and no kernel object can
// hold: which files the live mappings come from, whether a watch runs, and who may change the rules just now. It stands
// under /run/portmap, beside nothing else.
//
// Nothing depends on it: where /run cannot be written, nothing is known, and everything else works.
package rundir
