// Package switches sets what the kernel needs for targets on other hosts and on loopback addresses, in /proc/sys of
// this network namespace, and puts back what was there when no mapping needs it any more. What was there is remembered
// in [rundir.Dir] before. A switch that was on already is not touched, and neither is one that somebody
// else has set since.
package switches
