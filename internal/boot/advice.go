package boot

import (
	"os"
	"syscall"

	"portmap/internal/finding"
	"portmap/internal/shell"
)

// Change is a change of mappings that was just made.
type Change struct {
	File   string // where they are saved
	First  bool   // there were none before in this backend
	Legacy bool   // they are rules of iptables-legacy
	Shared bool   // they are in tables that other tools assume they own: those of iptables

	Switches bool // some need switches of the kernel
}

// Advice returns what a person should do so that the mappings last. Without a known init system it is empty.
func (h Host) Advice(c Change) (advice []finding.Finding) {
	add := func(id finding.ID, text, remedy string) {
		advice = append(advice, finding.Finding{ID: id, Text: text, Remedy: remedy})
	}
	usual := h
	h.Switches = c.Switches
	state := h.State(c.Legacy)
	hidden := ""
	if system := h.init(); system != nil {
		hidden = system.hidden(c.File)
	}
	switch {
	case state == NoInit:
		return nil
	case c.File != h.File:
		if c.First {
			add(finding.BootOtherFile,
				c.File+" is not restored at boot: only "+h.File+" is, the file of commands without --config", "")
		}
	case state == Masked:
		add(finding.BootMasked, "not restored at boot, since the unit is masked",
			unmask(unit)+" && sudo portmap enable")
	case state == On && hidden != "":
		add(finding.BootFileHidden, "at boot "+c.File+" cannot be read, since it leads to "+hidden, bringBack(c.File))
	case state == Off && (c.First || usual.State(false) == On):
		add(finding.BootOff, "not restored at boot yet", "sudo portmap enable")
	case state == On && !h.readable(c.File):
		add(finding.BootFileUnreadable,
			"at boot "+c.File+" cannot be read, since only another user may", "sudo chmod o+r "+shell.Quote(c.File))
	}
	if s, ok := h.init().(systemd); ok && c.First && c.Shared &&
		s.linked(etcUnit+"multi-user.target.wants/firewalld.service") && !s.watched() {
		add(finding.FirewalldReload,
			"firewalld takes these rules away when it is reloaded", "sudo systemctl enable --now portmap-watch")
	}
	return advice
}

// readable reports whether the boot unit may read a file: as root, without CAP_DAC_READ_SEARCH (capabilities(7)). A
// missing file need not be read.
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
