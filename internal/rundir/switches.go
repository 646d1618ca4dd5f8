package rundir

import (
	"os"
	"strings"
)

// Switch is a setting of the kernel that was changed, and what it was.
type Switch struct {
	Name   string   // the path below /proc/sys/net
	Was    string   // its value
	Except []string // interfaces that had another value of their own
}

// Switches returns the settings that were changed for mappings, as far as is known.
func (d Dir) Switches() (list []Switch) {
	if d.check() != nil {
		return nil
	}
	content, err := os.ReadFile(d.path("switches"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(content)) {
		if words := strings.Fields(line); len(words) >= 2 {
			list = append(list, Switch{words[0], words[1], words[2:]})
		}
	}
	return list
}

// KeepSwitches remembers settings in the place of those before.
func (d Dir) KeepSwitches(list []Switch) error {
	if err := d.make(); err != nil {
		return err
	}
	if len(list) == 0 {
		return os.RemoveAll(d.path("switches"))
	}
	var text strings.Builder
	for _, s := range list {
		text.WriteString(strings.Join(append([]string{s.Name, s.Was}, s.Except...), " ") + "\n")
	}
	return d.replace("switches", text.String())
}
