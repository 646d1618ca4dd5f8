// Package boot switches the restoring of mappings at boot on and off, with systemd, else with OpenRC. It knows units
// and scripts, and nothing of packet filters. Where the host's files are, and how programs are run, is handed in.
package boot
