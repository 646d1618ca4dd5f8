package switches

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"portmap/internal/rundir"
	"portmap/rules"
	"portmap/rules/facts"
)

// The switches, by their paths below /proc/sys/net. Each is 0 or 1 (Documentation/networking/ip-sysctl.rst).
const (
	Forward4 = "ipv4/ip_forward"
	Forward6 = "ipv6/conf/all/forwarding"
	// RouteLocalnet is for every interface, also those that come later: the kernel takes the one of all or its own
	// (linux/inetdevice.h, IN_DEV_NET_ROUTE_LOCALNET).
	RouteLocalnet = "ipv4/conf/all/route_localnet"
)

const folder = "/proc/sys/net"

const on, off = "1", "0"

// Needed returns the switches that mappings need on.
func Needed(mappings []rules.Mapping) (list []string) {
	var loopback bool
	var forward rules.Families
	for i := range mappings {
		m := &mappings[i]
		if facts.Plain(m) {
			continue
		}
		loopback = loopback || facts.ToLoopback(m) && !m.Listen().IsLoopback()
		if m.Forward() {
			forward |= facts.RemoteFamilies(m)
		}
	}
	for _, s := range [...]struct {
		needed bool
		name   string
	}{{loopback, RouteLocalnet}, {forward.Has(rules.IPv4), Forward4}, {forward.Has(rules.IPv6), Forward6}} {
		if s.needed {
			list = append(list, s.name)
		}
	}
	return list
}

// Sysctl returns the name of a switch as sysctl(8) writes it.
func Sysctl(name string) string { return "net." + strings.ReplaceAll(name, "/", ".") }

// Error says that a switch could not be set.
type Error struct {
	Name  string
	Value string
	cause error
}

func (e *Error) Error() string {
	var path *os.PathError
	if errors.As(e.cause, &path) {
		return fmt.Sprintf("set %s to %s: %v", Sysctl(e.Name), e.Value, path.Err)
	}
	return fmt.Sprintf("set %s to %s: %v", Sysctl(e.Name), e.Value, e.cause)
}

func (e *Error) Unwrap() error { return e.cause }

// Remedy returns what to type where the switch can be set from elsewhere, as for a container.
func (e *Error) Remedy() string {
	return "set it where /proc/sys can be written: sudo sysctl -w " + Sysctl(e.Name) + "=" + e.Value
}

// Read returns the value of a switch.
func Read(name string) (string, error) {
	content, err := os.ReadFile(filepath.Join(folder, name))
	return strings.TrimSpace(string(content)), err
}

func write(name, value string) error {
	err := os.WriteFile(filepath.Join(folder, name), []byte(value), 0)
	if err == nil {
		var now string
		if now, err = Read(name); err == nil && now != value {
			err = fmt.Errorf("it is %q all the same", now)
		}
	}
	if err != nil {
		return &Error{name, value, err}
	}
	return nil
}

// set writes a value, and the interfaces that had another one before.
func set(name, value string, except []string) error {
	err := write(name, value)
	for _, iface := range except {
		one := filepath.Join(perInterface(name), iface, "forwarding")
		if now, e := Read(one); e == nil && now == off && err == nil { // else it is gone, or as it was
			err = write(one, on)
		}
	}
	return err
}

// perInterface returns the folder with the settings of each interface that a switch sets, too; "" where there is none
// (net/ipv4/devinet.c, inet_forward_change; net/ipv6/addrconf.c, addrconf_forward_change).
func perInterface(name string) string {
	switch name {
	case Forward4:
		return "ipv4/conf"
	case Forward6:
		return "ipv6/conf"
	}
	return ""
}

// forwarding returns the interfaces that forward by themselves.
func forwarding(name string) (list []string) {
	of := perInterface(name)
	if of == "" {
		return nil
	}
	entries, _ := os.ReadDir(filepath.Join(folder, of))
	for _, e := range entries {
		value, err := Read(filepath.Join(of, e.Name(), "forwarding"))
		if err == nil && value == on && e.Name() != "all" {
			list = append(list, e.Name())
		}
	}
	return list
}

// Step is a change of switches that can be taken back. The zero Step has done nothing.
type Step struct {
	run    rundir.Dir
	before []rundir.Switch // what was remembered
	done   []change
}

// change is what became of one switch.
type change struct {
	name, was string
	except    []string // interfaces that had another value
}

// Raise switches on what is needed.
func Raise(run rundir.Dir, needed []string) (s Step, err error) {
	s = Step{run: run}
	if s.before, err = run.Switches(); err != nil {
		return s, err
	}
	remembered := s.before
	for _, name := range needed {
		was, err := Read(name)
		if err == nil && was == on {
			continue
		}
		if err != nil {
			return s, errors.Join(&Error{name, on, err}, s.Undo())
		}
		except := forwarding(name)
		known := func(r rundir.Switch) bool { return r.Name == name }
		if !slices.ContainsFunc(remembered, known) {
			remembered = append(slices.Clone(remembered), rundir.Switch{Name: name, Was: was, Except: except})
			if err := run.KeepSwitches(remembered); err != nil {
				return s, errors.Join(&Error{name, on, fmt.Errorf("its value cannot be remembered: %w", err)}, s.Undo())
			}
		}
		if err := write(name, on); err != nil {
			return s, errors.Join(err, s.Undo())
		}
		s.done = append(s.done, change{name, was, except})
	}
	return s, nil
}

// Lower puts back what is not needed any more.
func Lower(run rundir.Dir, needed []string) (s Step, err error) {
	s = Step{run: run}
	if s.before, err = run.Switches(); err != nil {
		return s, err
	}
	var kept []rundir.Switch
	for _, r := range s.before {
		if slices.Contains(needed, r.Name) {
			kept = append(kept, r)
			continue
		}
		now, err := Read(r.Name)
		if err != nil { // it is hidden, and may be on
			return s, errors.Join(&Error{r.Name, r.Was, err}, s.Undo())
		}
		if now != on { // somebody else has set it since
			continue
		}
		if err := set(r.Name, r.Was, r.Except); err != nil {
			return s, errors.Join(err, s.Undo())
		}
		s.done = append(s.done, change{name: r.Name, was: now})
	}
	if len(kept) == len(s.before) {
		return s, nil
	}
	if err := run.KeepSwitches(kept); err != nil {
		return s, errors.Join(err, s.Undo())
	}
	return s, nil
}

// Undo takes a Step back.
func (s *Step) Undo() error {
	var errs []error
	for _, c := range slices.Backward(s.done) {
		errs = append(errs, set(c.name, c.was, c.except))
	}
	s.done = nil
	now, err := s.run.Switches()
	if err != nil || !slices.EqualFunc(now, s.before, func(a, b rundir.Switch) bool { return a.Name == b.Name }) {
		errs = append(errs, s.run.KeepSwitches(s.before))
	}
	return errors.Join(errs...)
}

// Off returns those of some switches that are off. One that cannot be read is not among them.
func Off(needed []string) (list []string) {
	for _, name := range needed {
		if value, err := Read(name); err == nil && value != on {
			list = append(list, name)
		}
	}
	return list
}

// Lost reports whether a switch that was set for a mapping is off again.
func Lost(run rundir.Dir) bool {
	known, _ := run.Switches()
	for _, r := range known {
		if value, err := Read(r.Name); err == nil && value != on {
			return true
		}
	}
	return false
}
