package boot

import (
	"os"
	"syscall"

	"portmap/internal/shell"
)

// A Change is what was just done to the mappings of a host, as far as it matters for what becomes of them.
type Change struct {
	File   string // where they are saved
	First  bool   // there were none before in this backend
	Legacy bool   // they are rules of iptables-legacy
	Shared bool   // they are in tables of which others believe that they are theirs alone: those of iptables
}

// Advice returns what a person should do, a line each, so that the mappings last. Where no init system is known, there
// is none.
func (h Host) Advice(c Change) (lines []string) {
	state := h.State(c.Legacy)
	hidden := ""
	if system := h.init(); system != nil {
		hidden = system.hidden(c.File)
	}
	switch {
	case state == Nobody:
		return nil
	case c.File != h.File:
		if c.First {
			lines = append(lines, c.File+" is not restored at boot: only "+h.File+
				" is, the file of commands without --config")
		}
	case state == Masked:
		lines = append(lines, "not restored at boot, since the unit is masked; to change that: "+unmask(unit)+
			" && sudo portmap enable")
	case state == On && hidden != "":
		lines = append(lines, "at boot "+c.File+" cannot be read, since it leads to "+hidden+"; to mend that: "+
			bringBack(c.File))
	case state == Off && (c.First || h.State(false) == On):
		lines = append(lines, "not restored at boot yet; to have that: sudo portmap enable")
	case state == On && !h.readable(c.File):
		lines = append(lines,
			"at boot "+c.File+" cannot be read, since only another user may; to mend that: sudo chmod o+r "+
				shell.Quote(c.File))
	}
	if s, ok := h.init().(systemd); ok && c.First && c.Shared &&
		s.there(etcUnit+"multi-user.target.wants/firewalld.service") && !s.watched() {
		lines = append(lines,
			"firewalld takes these rules away when it is reloaded; to have them back each time: sudo systemctl "+
				"enable --now portmap-watch")
	}
	return lines
}

// readable reports whether the boot unit may read a file: as root, without CAP_DAC_READ_SEARCH (capabilities(7)). One
// that is not there needs not be read.
func (h Host) readable(path string) bool {
	info, err := os.Stat(h.path(path))
	if err != nil {
		return os.IsNotExist(err)
	}
	mode, owner := info.Mode().Perm(), info.Sys().(*syscall.Stat_t)
	switch {
	case owner.Uid == 0:
		return mode&0o400 != 0
	case owner.Gid == 0:
		return mode&0o040 != 0
	}
	return mode&0o004 != 0
}
