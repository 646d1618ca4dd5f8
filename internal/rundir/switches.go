package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Switch is a setting of the kernel that was changed, and what it was.
type Switch struct {
	Name   string   // the path below /proc/sys/net
	Was    string   // its value
	Except []string // interfaces that had another value of their own
}

// Switches returns the settings that were changed for mappings. None are known where the folder is missing, or cannot
// be trusted.
func (d Dir) Switches() (list []Switch, err error) {
	var content []byte
	if err = d.check(); err == nil {
		content, err = os.ReadFile(d.path("switches"))
	}
	if err != nil {
		if !errors.As(err, new(*fs.PathError)) || errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("which switches were set: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		if words := strings.Fields(line); len(words) >= 2 {
			list = append(list, Switch{words[0], words[1], words[2:]})
		}
	}
	return list, nil
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
