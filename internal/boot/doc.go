// Package boot enables and disables the restore of mappings at boot, with systemd or OpenRC. It writes units and
// scripts and does not use the packet filters. The caller passes the folder of the host's files and a function that
// runs programs.
package boot
