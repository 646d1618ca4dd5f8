// Package rundir keeps facts about one network namespace until the next reboot: which files the live mappings come
// from, whether a watch runs, and the lock for changes of the rules. They are in files under /run/portmap.
//
// Nothing depends on them: if /run cannot be written, nothing is known, and everything else works.
package rundir
