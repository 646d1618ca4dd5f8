// Package rundir keeps, until the next reboot, what portmap knows about one network namespace and no kernel object can hold:
// which files the live mappings come from, and whether a watch runs. It stands under /run/portmap, beside nothing else.
//
// Nothing depends on it: where /run cannot be written, nothing is known, and everything else works.
package rundir
